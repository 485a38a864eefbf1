/** The command line as people see it: commands, options, help. */
import * as fs from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import type { HugeChoice } from './demo-files.ts';
import { DEMO_FILES } from './demo-size.ts';
import {
  countValue,
  entryValue,
  fileName,
  flbValue,
  imageFile,
  ramSizeValue,
  sizeValue,
  wordValue,
  type ImageFlb,
} from './option-values.ts';
import { KERNEL_COMMANDS, kernelCommand } from './kernel-program.ts';
import type { ImageHints } from './open-image.ts';
import { printable } from './output.ts';
import { UsageError } from './usage-error.ts';

interface DemoFlags {
  readonly size: number;
  readonly files: number;
  readonly generations: number;
  readonly huge: HugeChoice;
  readonly json?: boolean;
}

interface DemoUpgradeFlags {
  readonly size: number;
  readonly clients: number;
  readonly upgrades: number;
  readonly role?: 'service' | 'clients';
  readonly json?: boolean;
}

interface InspectFlags extends ImageHints {
  readonly json?: boolean;
  readonly html?: boolean;
  readonly hash?: boolean;
  readonly all?: boolean;
}

interface ExportFlags extends ImageHints {
  readonly force?: boolean;
  readonly unfinished?: boolean;
}

interface ImportFlags {
  readonly size?: number;
  readonly huge?: boolean;
}

interface MakeImageFlags {
  readonly kernel: string;
  readonly memory?: number;
  readonly flb: readonly ImageFlb[];
  readonly huge?: boolean;
  readonly json?: boolean;
}

interface RunFlags {
  readonly name?: string;
  readonly json?: boolean;
  readonly armLimit?: number;
  readonly readyLimit?: number;
}

const COMMANDS = [
  'run',
  'upgrade',
  'status',
  'stop',
  'demo',
  'demo-upgrade',
  'list',
  'inspect',
  'check',
  'export',
  'import',
  'remove',
  'make-image',
  'doctor',
  'kernel',
  'compat',
];

const ABOUT = 'Memory and open files that survive the replacement of the program that owns them.';

const EXIT_CODES = `
Exit codes: 0 fine, 1 failed, 2 wrong use. Results go to standard output, all
else to standard error.`;

const EXAMPLES = `
Examples:
  $ liveupdate doctor                     what this host offers, and what to do
  $ liveupdate demo                       2 GiB through 3 generations
  $ liveupdate demo --size 512MiB --json  a smaller one, its figures as JSON
  $ liveupdate list                       the RAMs of this host
  $ liveupdate inspect my-service         what the RAM of that name holds
  $ liveupdate inspect vmcore.gz          the same for the memory of a Linux
  $ liveupdate check my-service           whether all of that is whole
  $ liveupdate export my-service service/1 state.bin  a file of it, to disk
  $ liveupdate import my-service service/2 more.bin   and one from disk to it
  $ liveupdate remove my-service          the RAM and all that is in it goes
  $ liveupdate run -- node app.js         a service, kept alive and upgraded
  $ liveupdate upgrade counter            its clients notice nothing
  $ liveupdate stop counter               its memory stays for the next start
  $ liveupdate kernel list                live updates of Linux itself
  $ liveupdate compat running bzImage     would an update lose something?
${EXIT_CODES}`;

const RUN_EXAMPLES = `
Runs a service and stays: the process that everyone knows (PID 1 in a container,
the main process of a systemd unit). It keeps the listening sockets, starts the
service again when it dies, and upgrades it: SIGUSR2, or 'liveupdate upgrade'.
All other signals go to the service; the exit code is the service's.

What happens is told on standard error, a line each. systemd is told when the
service is ready (Type=notify), and sockets that it passes are listened on.

Examples:
  $ liveupdate run -- node app.js
  $ liveupdate run --name counter --json -- node /srv/current/app.js`;

const UPGRADE_EXAMPLES = `
Starts the new version of a service that 'liveupdate run' runs beside the old
one, and lets it take over memory, sockets and connections. Returns when it
serves. Where it fails, at whatever step, the old version goes on, and the
reason is told.

With --supervisor 'liveupdate run' itself is replaced by what is installed now,
with the same pid. The service goes on, and its clients notice nothing.

Examples:
  $ liveupdate upgrade counter
  $ liveupdate upgrade counter --json | jq .ok
  $ liveupdate upgrade counter --supervisor

Exit codes: 0 the new version serves, 1 it did not take over (the reason is
told), 2 wrong use.`;

const STATUS_EXAMPLES = `
In JSON 'servicePid' is the process of the service, 'pid' that of its supervisor.

Examples:
  $ liveupdate status
  $ liveupdate status counter --json | jq .generation

Exit codes: 0 fine, 1 no such service runs, 2 wrong use.`;

const STOP_EXAMPLES = `
The service gets SIGTERM and ends as it likes; 'liveupdate run' ends with it.
Returns when both are gone; after 10 s it tells what ends the service at once.
Memory with a name stays for the next start: 'liveupdate remove' gives it back,
by the name that the program gave ('liveupdate list').

Examples:
  $ liveupdate stop counter
  $ liveupdate stop counter && liveupdate remove counter

Exit codes: 0 it has ended, 1 no such service runs, 2 wrong use.`;

const DEMO_UPGRADE_EXAMPLES = `
A service with its state in memory is upgraded again and again while clients ask
it; then a bad version is refused, and then it is killed. Every answer is looked
at. Exit code 1 where a client noticed an upgrade.

Examples:
  $ liveupdate demo-upgrade
  $ liveupdate demo-upgrade --size 8GiB --clients 200 --upgrades 20
  $ liveupdate demo-upgrade --json > figures.json
${EXIT_CODES}`;

const DEMO_EXAMPLES = `
Each generation is the same process (the pid stays) that has replaced itself:
it retrieves the files and compares the SHA-256 of every byte. RAM is a sparse
file in /dev/shm and is removed in the end.

Examples:
  $ liveupdate demo
  $ liveupdate demo --size 8GiB --huge always
  $ liveupdate demo --files 100 --generations 5 --json > figures.json
${EXIT_CODES}`;

const LIST_EXAMPLES = `
RAMs by name, in /dev/shm: how large, how much memory each takes now, and
whether a program owns it, has handed it over, or died in it. What one that died
had preserved is there: its program goes on with it when it is started again.

Examples:
  $ liveupdate list
  $ liveupdate list --json | jq -r '.[] | select(.state == "dead").name'
${EXIT_CODES}`;

const REMOVE_EXAMPLES = `
<ram> is a RAM file of liveupdate, by path (with a /) or by name. One that a
program owns just now is left alone. Of one whose owner died it is said what is
lost with it.

Examples:
  $ liveupdate remove my-service
${EXIT_CODES}`;

const INSPECT_EXAMPLES = `
<image> is one of these, as it is or compressed with gzip:
  a RAM file of liveupdate, by path or by name ('x' is /dev/shm/liveupdate.x)
  an ELF core or a kdump of a machine's memory, as QEMU's dump-guest-memory and
  makedumpfile write them (zlib, zstd, snappy)
  a raw image of memory, from physical address 0 on, as pmemsave writes it
  /proc/kcore: the kernel that runs, as root
It is only read: nothing is locked, nothing is changed, however large it is.

An image may be of any moment. Of a kernel at work it is shown what is preserved
so far, of the kernel after a handover what is still there, with how far to
trust it. Files without a session are named @memfd and by the address of their
record, for export too.

Of a RAM whose owner died, all that it had preserved is shown; of one whose
owner goes on, what it published last (contents may be torn). Of two sessions of
one name the newer comes last; the older one was not finished. What is damaged
is said, and the exit code is 1; all the rest is shown.

Examples:
  $ liveupdate inspect my-service
  $ liveupdate inspect --hash --all vmcore.gz
  $ liveupdate inspect --entry 0x4d8000,0xf3f0000 memory.raw
  $ liveupdate inspect --json vmcore | jq '.sessions[].name'
  $ liveupdate inspect --html vmcore > memory.html
  $ sudo liveupdate inspect /proc/kcore
${EXIT_CODES}`;

const CHECK_EXAMPLES = `
<ram> is a RAM file of liveupdate, by path or by name, as it is or compressed
with gzip: handed over, of an owner that died, empty, or (as last published) of
one that goes on. The boot page, the live record, the handover, sessions and
files are each looked at, and that no page is in two files. Nothing is changed.
Where something is damaged, the files that can still be exported are listed.

Examples:
  $ liveupdate check my-service
  $ liveupdate check --json my-service | jq -r '.damage[].what'

Exit codes: 0 whole, 1 damaged or not to be read, 2 wrong use.`;

const EXPORT_EXAMPLES = `
<image> is what inspect reads, and it is only read. <session>/<token> is the
file's name in it, as inspect lists them; <file> is written on disk, with holes
where the file has nothing but zeros that take no memory. It appears under its
name when all of it is there. With - the bytes go to standard output.

From a RAM whose owner goes on the file may be torn between two of its writes:
standard error says so. Of two sessions of one name the newer is meant, with
--unfinished an older one, which a program that died had not finished.

Examples:
  $ liveupdate export my-service service/1 state.bin
  $ liveupdate export --force vmcore.gz vm/0x10 guest-memory.bin
  $ liveupdate export my-service service/1 - | gzip > state.gz
${EXIT_CODES}`;

const IMPORT_EXAMPLES = `
<ram> is a RAM file of liveupdate, by path (with a /) or by name, that no
program owns just now: it was handed over, or its owner died. With --size it is
made where there is none, and one that is smaller is enlarged. The file becomes
part of the handover that the next owner boots from, beside what is in it.
<file> is a file on disk, or - for standard input.

Examples:
  $ liveupdate import my-service service/2 more.bin
  $ liveupdate import --size 4GiB --huge fresh vm/1 guest-memory.bin
  $ zcat state.gz | liveupdate import my-service service/3 -
${EXIT_CODES}`;

const MAKE_IMAGE_EXAMPLES = `
Puts files into sessions of a handover, and writes it as a folder from which
QEMU boots a real Linux (an x86 bzImage with CONFIG_LIVEUPDATE): the memory of
the machine, the kernel, and run.sh, to which you add what Linux needs for its
programs. There they are retrieved from /dev/liveupdate. Linux with its FLB test
built in (CONFIG_LIVEUPDATE_TEST) wants the three FLBs of the second example.

Examples:
  $ liveupdate make-image guest --kernel bzImage vm/1=state.bin vm/2=more.bin
  $ liveupdate make-image guest --kernel bzImage vm/1=state.bin \\
      --flb liveupdate-test-flb-v0=0xfeedf00dcafebee0 \\
      --flb liveupdate-test-flb-v1=0xfeedf00dcafebee1 \\
      --flb liveupdate-test-flb-v2=0xfeedf00dcafebee2
  $ guest/run.sh -initrd initrd.img
${EXIT_CODES}`;

const COMPAT_EXAMPLES = `
Whether the new side of an update reads what the old one writes. Each side is
  running       the kernel of this machine (root)
  an image      of a kernel: bzImage, vmlinuz, vmlinux; gzip, xz or zstd in it
  a handover    or a RAM: what is in it, as inspect reads it
  a program     .js or .ts that opens a machine, or the words that start one. It
                is started, and ends where it would open its RAM.

Examples:
  $ liveupdate compat running /boot/vmlinuz-7.4
  $ liveupdate compat my-service dist/app.js
  $ liveupdate compat my-service -- node --import tsx app.ts
  $ liveupdate compat old/bzImage new/bzImage --json | jq .fits

Exit codes: 0 it fits, 1 something would be lost, or it failed, 2 wrong use.`;

const DOCTOR_EXAMPLES = `
A line for each thing: ok, note (it works, with a limit) or missing, and what to
do about it. Nothing is changed.

Examples:
  $ liveupdate doctor
  $ liveupdate doctor --json | jq '.checks[] | select(.status != "ok")'

Exit codes: 0 live updates can run here, 1 they cannot, 2 wrong use.`;

function version(): string {
  const text = fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** What commander would say, as one sentence that says where to look. */
function usageError(error: CommanderError, argv: readonly string[]): UsageError {
  const [first, ...rest] = error.message
    .replace(/^error: /, '')
    .replace(/\.$/, '')
    .split('\n');
  const suggestion = rest.map((line) => line.trim().replace(/^\((.*)\)$/, ' ($1)')).join('');
  const at = argv.findIndex((word) => COMMANDS.includes(word));
  const inner = argv[at] === 'kernel' && KERNEL_COMMANDS.includes(argv[at + 1]) ? argv[at + 1] : undefined;
  const help = ['liveupdate', argv[at], inner, '--help'].filter((word) => word !== undefined).join(' ');
  return new UsageError(`${first}${suggestion}: see '${help}'`);
}

/**
 * Runs a command line.
 *
 * @throws UsageError: it is none. Whatever the command throws.
 */
export async function runProgram(argv: readonly string[]): Promise<number> {
  const topic = argv.at(1);
  if (argv[0] === 'help' && topic !== undefined && !COMMANDS.includes(topic))
    throw new UsageError(`there is no command '${topic}' to help with: see 'liveupdate --help'`);
  let exitCode = 0;
  const program = new Command('liveupdate')
    .description(ABOUT)
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', EXAMPLES)
    .configureHelp({ showGlobalOptions: false, subcommandTerm: (command) => command.name() })
    .configureOutput({ outputError: () => undefined }) // told by our caller, in one sentence
    .enablePositionalOptions()
    .exitOverride();

  program
    .command('run')
    .description('run a service, keep it alive, and upgrade it without its clients noticing')
    .argument('<command...>', 'the program and its arguments, behind --')
    .option('--name <name>', 'by which upgrade, status and stop know it; default: what its program says')
    .option('--json', 'tell what happens as JSON, a line each')
    .option(
      '--arm-limit <ms>',
      'how long a version may take to start; default 60000',
      countValue('--arm-limit', 1),
    )
    .option(
      '--ready-limit <ms>',
      'and then to be ready, while clients wait; default 3000',
      countValue('--ready-limit', 1),
    )
    .addOption(
      new Option('--takes-over <format>', 'for a supervisor that asks its next version')
        .argParser(countValue('--takes-over', 1))
        .hideHelp(),
    )
    .addHelpText('after', RUN_EXAMPLES)
    .passThroughOptions()
    .action(async (command: string[], flags: RunFlags) => {
      exitCode = await (await import('./run.ts')).runService(command, flags);
    });

  program
    .command('upgrade')
    .description('let the new version of a service take over')
    .argument('<name>', 'of the service', wordValue('<name>'))
    .option('--supervisor', "the process of 'liveupdate run' itself; the service goes on")
    .option('--json', 'print how it went as JSON')
    .addHelpText('after', UPGRADE_EXAMPLES)
    .action(
      async (
        name: string,
        { json = false, supervisor = false }: { json?: boolean; supervisor?: boolean },
      ) => {
        exitCode = await (await import('./run.ts')).runUpgrade(name, { json, supervisor });
      },
    );

  program
    .command('status')
    .description('tell how services do that are run by liveupdate')
    .argument('[name]', 'of a service; default: all', wordValue('<name>'))
    .option('--json', 'print it as JSON')
    .addHelpText('after', STATUS_EXAMPLES)
    .action(async (name: string | undefined, { json = false }: { json?: boolean }) => {
      exitCode = await (await import('./run.ts')).runStatus(name, { json });
    });

  program
    .command('stop')
    .description("end a service, and the 'liveupdate run' that runs it")
    .argument('<name>', 'of the service', wordValue('<name>'))
    .option('--json', 'print how it went as JSON')
    .addHelpText('after', STOP_EXAMPLES)
    .action(async (name: string, { json = false }: { json?: boolean }) => {
      exitCode = await (await import('./run.ts')).runStop(name, { json });
    });

  program
    .command('demo')
    .description('carry files in memory through generations of a process and prove every byte')
    .addOption(
      new Option('--size <size>', 'bytes in all files together')
        .argParser(sizeValue('--size'))
        .default(2 * 2 ** 30, '2GiB'),
    )
    .option('--files <n>', 'number of files', countValue('--files', 1), DEMO_FILES)
    .option('--generations <n>', 'processes in a row, at least 2', countValue('--generations', 2), 3)
    .addOption(
      new Option('--huge <choice>', 'which files get 2 MiB folios')
        .choices(['auto', 'always', 'never'])
        .default('auto', 'auto'),
    )
    .option('--json', 'print the figures as JSON')
    .addHelpText('after', DEMO_EXAMPLES)
    .action(async ({ json = false, ...flags }: DemoFlags) => {
      exitCode = await (await import('./demo.ts')).runDemo({ ...flags, json });
    });

  program
    .command('demo-upgrade')
    .description('upgrade a service under load and prove that its clients notice nothing')
    .addOption(
      new Option('--size <size>', 'bytes of state').argParser(sizeValue('--size')).default(2 ** 30, '1GiB'),
    )
    .option('--clients <n>', 'connections that are kept alive', countValue('--clients', 1), 50)
    .option('--upgrades <n>', 'in a row', countValue('--upgrades', 1), 3)
    .addOption(
      new Option('--role <role>', 'of a process of the demo').choices(['service', 'clients']).hideHelp(),
    )
    .option('--json', 'print the figures as JSON')
    .addHelpText('after', DEMO_UPGRADE_EXAMPLES)
    .action(async ({ json = false, role, ...flags }: DemoUpgradeFlags) => {
      if (role === 'service') await (await import('./demo-upgrade-service.ts')).serveNumbers();
      else if (role === 'clients') await (await import('./demo-upgrade-clients.ts')).runClients();
      else exitCode = await (await import('./demo-upgrade.ts')).runDemoUpgrade({ ...flags, json });
    });

  program
    .command('list')
    .description('list the RAMs of this host')
    .option('--json', 'print the list as JSON')
    .addHelpText('after', LIST_EXAMPLES)
    .action(async ({ json = false }: { json?: boolean }) => {
      exitCode = (await import('./rams.ts')).runList({ json });
    });

  program
    .command('inspect')
    .description('show what a RAM or a handover holds: sessions, files, preserved memory')
    .argument('<image>', 'a file, or the name of a RAM', wordValue('<image>'))
    .option('--json', 'print all of it as JSON, with the SHA-256 of every file')
    .addOption(new Option('--html', 'print a page with a map of physical memory').conflicts('json'))
    .option('--hash', 'print the SHA-256 of every file')
    .option('--all', 'print long lists in full')
    .option(
      '--entry <addresses>',
      'where the handover begins: fdtAddr,scratchAddr[,scratchSize]',
      entryValue('--entry'),
    )
    .option('--ram-size <size>', 'RAM of the machine that the image was taken of', ramSizeValue('--ram-size'))
    .addHelpText('after', INSPECT_EXAMPLES)
    .action(async (image: string, flags: InspectFlags) => {
      const { json = false, html = false, hash = false, all = false, ...hints } = flags;
      const options = { ...hints, json, html, hash, all };
      exitCode = await (await import('./inspect.ts')).runInspect(image, options);
    });

  program
    .command('check')
    .description('verify a RAM: what is damaged, and what can still be exported')
    .argument('<ram>', 'a RAM file, or the name of a RAM', wordValue('<ram>'))
    .option('--json', 'print all of it as JSON')
    .addHelpText('after', CHECK_EXAMPLES)
    .action(async (ram: string, { json = false }: { json?: boolean }) => {
      exitCode = await (await import('./check.ts')).runCheck(ram, { json });
    });

  program
    .command('export')
    .description('write a preserved file to disk')
    .argument('<image>', 'a file, or the name of a RAM', wordValue('<image>'))
    .argument('<session/token>', 'which file')
    .argument('<file>', 'where to; - for standard output', wordValue('<file>'))
    .option('--force', 'write over a file that is there')
    .option('--unfinished', 'look in the older sessions of that name')
    .option(
      '--entry <addresses>',
      'where the handover begins: fdtAddr,scratchAddr[,scratchSize]',
      entryValue('--entry'),
    )
    .option('--ram-size <size>', 'RAM of the machine that the image was taken of', ramSizeValue('--ram-size'))
    .addHelpText('after', EXPORT_EXAMPLES)
    .action(async (image: string, which: string, file: string, flags: ExportFlags) => {
      const { force = false, unfinished = false, ...hints } = flags;
      exitCode = await (
        await import('./export.ts')
      ).runExport(image, fileName(which), file, { ...hints, force, unfinished });
    });

  program
    .command('import')
    .description('put a file from disk into a handover; holes in it become zeros that take memory')
    .argument('<ram>', 'a RAM file, or the name of a RAM')
    .argument('<session/token>', 'which file it becomes')
    .argument('<file>', 'where from; - for standard input', wordValue('<file>'))
    .option('--size <size>', 'bytes of RAM, where there is none yet or a smaller one', ramSizeValue('--size'))
    .option('--huge', 'use 2 MiB folios')
    .addHelpText('after', IMPORT_EXAMPLES)
    .action(async (ram: string, which: string, file: string, flags: ImportFlags) => {
      exitCode = await (await import('./import.ts')).runImport(ram, fileName(which), file, flags);
    });

  program
    .command('remove')
    .description('remove a RAM that no program owns, with all that is in it')
    .argument('<ram>', 'a RAM file, or the name of a RAM')
    .addHelpText('after', REMOVE_EXAMPLES)
    .action(async (ram: string) => {
      exitCode = (await import('./rams.ts')).runRemove(ram);
    });

  program
    .command('make-image')
    .description('write files as a handover from which QEMU boots a real Linux')
    .argument('<folder>', 'that is made', wordValue('<folder>'))
    .argument('<session/token=file...>', 'which file becomes what')
    .requiredOption('--kernel <bzImage>', 'the kernel that boots from it')
    .option('--memory <size>', 'of the machine; default: what the files need', sizeValue('--memory'))
    .option('--flb <name=data>', 'state that the files share; may be given often', flbValue('--flb'), [])
    .option('--huge', 'give the files 2 MiB folios')
    .option('--json', 'print what was written as JSON')
    .addHelpText('after', MAKE_IMAGE_EXAMPLES)
    .action(async (folder: string, files: string[], flags: MakeImageFlags) => {
      const { flb: flbs, json = false, huge = false, ...rest } = flags;
      const { runMakeImage } = await import('./make-image.ts');
      exitCode = await runMakeImage(folder, files.map(imageFile), { ...rest, flbs, json, huge });
    });

  program
    .command('doctor')
    .description('say what this host offers, and what to do about the rest')
    .option('--json', 'print the checks as JSON')
    .addHelpText('after', DOCTOR_EXAMPLES)
    .action(async ({ json = false }: { json?: boolean }) => {
      exitCode = (await import('./doctor.ts')).runDoctor({ json });
    });

  program
    .command('compat')
    .description('say whether an update would lose something, before it is made')
    .argument('<from>', 'running, an image, a handover or a RAM', wordValue('<from>'))
    .argument('<to...>', 'running, an image, or a program')
    .option('--json', 'print it as JSON')
    .addHelpText('after', COMPAT_EXAMPLES)
    .action(async (from: string, to: string[], { json = false }: { json?: boolean }) => {
      exitCode = await (await import('./compat.ts')).runCompat(from, to.map(wordValue('<to>')), { json });
    });

  const kernel = kernelCommand((code) => {
    exitCode = code;
  });
  program.addCommand(kernel.copyInheritedSettings(program));
  for (const command of kernel.commands) command.copyInheritedSettings(kernel);

  dropOutputQuietly();
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0; // help or version
    if (error.code === 'commander.help') return 2; // no command: the help went to standard error
    throw usageError(error, argv);
  }
  return exitCode;
}

/**
 * A reader that has seen enough (`| head`) is no failure; a full disk is one, told in a sentence.
 */
function dropOutputQuietly(): void {
  if (process.stdout.listenerCount('error') > 0) return;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    process.stderr.write(
      `liveupdate: ${error.code ?? 'EIO'}: standard output cannot be written: ${printable(error.message)}\n`,
    );
    process.exit(1);
  });
}
