/**
 * A guest with the systemd of Debian's unstable, which carries the descriptors that units have
 * given it over a kexec; and in it `liveupdate run`, which gives it the memory of its service.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Debugger } from './gdb.ts';
import { bundleCommand, bundleInto, Guest, OVER_9P } from './guest.ts';
import { systemdRoot } from './systemd-root.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const CLI = here('../../../packages/cli/src/main.ts');
/** The first that carries its store of descriptors. */
const LEAST_SYSTEMD = 261;

function unit(root: string, name: string, text: string): void {
  const folder = join(root, 'etc/systemd/system');
  fs.mkdirSync(join(folder, 'multi-user.target.wants'), { recursive: true });
  fs.writeFileSync(join(folder, `${name}.service`), text);
  const link = join(folder, 'multi-user.target.wants', `${name}.service`);
  fs.rmSync(link, { force: true });
  fs.symlinkSync(`../${name}.service`, link);
}

/** Blocks of the guide: the service, for notify-reload, for memory in the store. */
const [SERVICE, RELOAD, STORE] = [
  ...fs.readFileSync(here('../../../docs/deploy.md'), 'utf8').matchAll(/```ini\n([^]*?)```/g),
].map(([, text]) => text);

/** All of them as one unit, with this command; patient, since the processors are emulated. */
const COUNTER_UNIT = (run: string): string =>
  `${SERVICE.replace(/^ExecStart=.*$/m, `ExecStart=${run}`).replace(/^ExecReload=.*\n/m, '')}
${RELOAD}
${STORE}
[Service]
TimeoutStartSec=600
StandardOutput=journal+console
StandardError=journal+console
`;

const ASK_UNIT = (run: string): string => `[Unit]
Description=asks the counter
Requires=counter.service
After=counter.service run-share.mount

[Service]
Type=oneshot
TimeoutStartSec=600
ExecStart=${run}
StandardOutput=journal+console
StandardError=journal+console
`;

/**
 * Runs a service through three kernels under systemd, and looks at what systemd hands over on the
 * way; in the first one systemd reloads it by signal. Returns the exit code.
 */
export async function systemd(): Promise<number> {
  const made = systemdRoot(LEAST_SYSTEMD, 'carries descriptors over a kexec');
  if ('why' in made) {
    console.error(`interop: ${made.why}`);
    return 1;
  }
  const cli = await bundleCommand();
  try {
    return await underSystemd(made.root, cli);
  } finally {
    fs.rmSync(cli.folder, { recursive: true });
  }
}

async function underSystemd(root: string, cli: Awaited<ReturnType<typeof bundleCommand>>): Promise<number> {
  const [counter, ask] = ['counter', 'ask-counter'].map((name) => here(`./guest/${name}.ts`));
  const inGuest = async (program: string): Promise<string> =>
    `/host${await bundleInto(join(cli.folder, 'dist'), program)}`;
  const node = `/host${process.execPath}`;
  const run = `${node} /host${cli.main} run --name counter --arm-limit 600000 --ready-limit 300000 -- ${node} ${await inGuest(counter)}`;
  unit(root, 'counter', COUNTER_UNIT(run));
  unit(root, 'ask', ASK_UNIT(`${node} ${await inGuest(ask)}`));
  for (const folder of ['host', 'run/share']) fs.mkdirSync(join(root, folder), { recursive: true });
  fs.writeFileSync(
    join(root, 'etc/fstab'),
    `host /host 9p ${OVER_9P},ro 0 0\nshare /run/share 9p ${OVER_9P.replace('loose', 'none')} 0 0\n`,
  );
  await using guest = await Guest.start({
    program: ask,
    root,
    memory: 1024,
    processors: 2,
    env: { GUEST_STAGE: 1 },
    append: 'systemd.show_status=0 systemd.log_target=console systemd.unit=multi-user.target',
  });
  const wanted = [
    ['1 1', '2 1', '3 1'],
    ['6 3', '7 3', '8 3'],
    ['9 4', '10 4', '11 4'],
  ];
  for (const [i, answers] of wanted.entries()) {
    const told = await guest.until('answered');
    console.log(`kernel ${i + 1}: the service answers ${String(told.answers)}`);
    if (JSON.stringify(told.answers) !== JSON.stringify(answers)) {
      console.error(`interop: it should answer ${answers.join()}`);
      return 1;
    }
    if (i === 0 && !(await reloads(guest))) return 1;
    if (i + 1 === wanted.length) continue;
    await guest.until('loaded');
    const debug = await Debugger.attach(join(guest.folder, 'gdb'));
    await debug.runToNextKernel(guest.serial, () => {
      fs.writeFileSync(join(guest.share, `go-${i + 1}`), '');
    });
    if (i === 0) console.log(inspected(guest.memory));
    debug.resume();
    debug[Symbol.dispose]();
  }
  return 0;
}

/** Whether `systemctl reload` by signal upgrades, and what the unit says where that fails. */
async function reloads(guest: Guest): Promise<boolean> {
  const wanted = [
    { says: /^StatusText=generation 2 .* took over from 1 /, answer: '4 2' },
    { says: /^StatusText=EIO: the new version ended with code 1 /, answer: '5 2' },
  ];
  for (const { says, answer } of wanted) {
    const told = await guest.until('reloaded');
    const [state, text] = told.unit as string[];
    console.log(`systemctl reload: exit code ${String(told.status)}, ${text}`);
    // Exit code 0 for both: a reload by signal cannot tell systemd that it has failed.
    const isRight = told.status === 0 && state === 'ActiveState=active' && says.test(text);
    if (isRight && told.answer === answer) continue;
    console.error(`interop: it should say ${says.source}, and then answer ${answer}`);
    return false;
  }
  return true;
}

/** What `liveupdate inspect` sees in the memory at the moment when the next kernel begins. */
function inspected(memory: string): string {
  const words = ['--conditions=@liveupdate/source', '--no-warnings', CLI, 'inspect', memory];
  const { stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  return stdout + stderr;
}
