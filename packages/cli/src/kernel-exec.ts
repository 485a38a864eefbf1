/**
 * `liveupdate kernel load` and `exec`: the next kernel, read by kexec_file_load and started by
 * reboot.
 */
import * as fs from 'node:fs';
import { KernelError, Undo } from '@liveupdate/base';
import { checkDevice, findSessions } from '@liveupdate/device';
import { drainOutput, loadKexecKernel, rebootByKexec, unloadKexecKernel } from '@liveupdate/linux';
import { nextIsLoaded } from './kernel-list.ts';
import { printLine } from './output.ts';
import { UsageError } from './usage-error.ts';

export interface LoadOptions {
  readonly initrd?: string | undefined;
  readonly commandLine?: string | undefined;
  readonly unload: boolean;
}

/**
 * Reads the kernel that `exec` starts, or drops it. Returns the exit code.
 *
 * @throws UsageError: no image, or one too many. KernelError: as loadKexecKernel has them, and
 * those of opening files
 */
export function runLoad(image: string | undefined, { initrd, commandLine, unload }: LoadOptions): number {
  if (unload) {
    if (image !== undefined) throw new UsageError('--unload takes no image: it drops the one that is loaded');
    unloadKexecKernel();
    printLine('no kernel is loaded');
    return 0;
  }
  if (image === undefined) throw new UsageError("no image is named: see 'liveupdate kernel load --help'");
  using undo = new Undo();
  const open = (path: string): number => {
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    if (!stat) throw new KernelError('ENOENT', `there is no file '${path}': name the image of a kernel`);
    if (!stat.isFile()) throw new KernelError('EINVAL', `'${path}' is no regular file: name one`);
    const fd = fs.openSync(path, 'r');
    undo.add(() => {
      fs.closeSync(fd);
    });
    return fd;
  };
  const kernel = open(image);
  const disk = initrd === undefined ? {} : { initrd: open(initrd) };
  const line = commandLine ?? runningCommandLine();
  loadKexecKernel({ kernel, ...disk, commandLine: line });
  if (!/(?:^|\s)liveupdate=(?:on|1|y)/i.test(line))
    process.stderr.write(
      'liveupdate: the command line has no liveupdate=on: that kernel will take nothing over\n',
    );
  printLine(`${image} is loaded with '${line}'; liveupdate kernel exec starts it`);
  return 0;
}

/** That of the running kernel, without what the boot loader put before it. */
function runningCommandLine(): string {
  return fs
    .readFileSync('/proc/cmdline', 'utf8')
    .trim()
    .replace(/^BOOT_IMAGE=\S+\s*/, '');
}

/**
 * Replaces the kernel. It does not return.
 *
 * @throws KernelError EINVAL: no kernel is loaded. ENODATA: no session is held, and no force.
 * Others as checkDevice and rebootByKexec have them; then all goes on.
 */
export async function runExec({ force }: { readonly force: boolean }): Promise<number> {
  if (!force) checkDevice();
  if (!nextIsLoaded())
    throw new KernelError('EINVAL', "no kernel is loaded: 'liveupdate kernel load IMAGE' loads one");
  const sessions = findSessions().filter(({ kind }) => kind === 'outgoing');
  if (sessions.length === 0 && !force)
    throw new KernelError(
      'ENODATA',
      "no process holds a session, so nothing would go along: 'liveupdate kernel preserve' makes one, --force goes without",
    );
  process.stderr.write(
    `liveupdate: the kernel is replaced, ${sessions.length === 1 ? '1 session goes' : `${sessions.length} sessions go`} along\n`,
  );
  await drainOutput();
  return rebootByKexec();
}
