/**
 * A Linux in QEMU whose root is this machine's, read-only, and whose programs are run by this
 * Node.js: what a test brings is bundled into one file. Guest and host share a folder; there a
 * program reports, a line of JSON each.
 *
 * Memory is a file of the host. It outlives the guest, and can be looked at while the guest stands.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { BootImage } from '@liveupdate/boot-image';
import { build } from 'esbuild';

const QEMU = 'qemu-system-x86_64';
const MiB = 2 ** 20;
/** What the tests run in, where nothing else is said. */
const GIVEN_KERNEL = fileURLToPath(new URL('../../../../shared/linux-7.3/bzImage', import.meta.url));
/** In this package, so that koffi is found from there. */
const BUNDLES = fileURLToPath(new URL('../.vitest', import.meta.url));
const INIT = fileURLToPath(new URL('./guest/init.sh', import.meta.url));
/** How a guest mounts what does not change behind it. */
export const OVER_9P = 'trans=virtio,version=9p2000.L,cache=loose,msize=512000';
/** Software emulation on a busy machine. */
const PATIENCE = 300_000;
const LOOK_MS = 25;

/** The kernel that guests run: a path. Undefined where there is none. */
export function kernelPath(): string | undefined {
  const path = process.env.LIVEUPDATE_KERNEL ?? GIVEN_KERNEL;
  return fs.existsSync(path) ? path : undefined;
}

/** Why no guest can be started here; undefined where one can. */
export function whyNoGuest(): string | undefined {
  if (process.arch !== 'x64') return 'the guests are x86 PCs, and their programs this Node.js: x64 is needed';
  if (spawnSync(QEMU, ['--version']).status !== 0)
    return `${QEMU} is not installed; on Debian: apt-get install qemu-system-x86`;
  if (kernelPath() === undefined)
    return 'there is no kernel: give a bzImage with LUO and 9p in LIVEUPDATE_KERNEL (apps/interop/build-kernel.sh makes one)';
  return undefined;
}

/** What a program in a guest reports. */
export type GuestEvent = { readonly event: string } & Record<string, unknown>;

export interface GuestOptions {
  /** A program in TypeScript: a path. It is run by init, and again by that of the next kernel. */
  readonly program: string;
  /** Modules that the program imports by these names: paths. */
  readonly modules?: Readonly<Record<string, string>>;
  /** What it finds in its environment. Names in capitals, values without blanks. */
  readonly env?: Readonly<Record<string, string | number>>;
  /** MiB. Default 512. */
  readonly memory?: number;
  /** A handover to boot from. Default: the guest boots cold. */
  readonly image?: BootImage;
  /**
   * A folder that is its root, which it may write to; its init is started, and not the program. It
   * mounts `host` and `share` itself. Default: the root of the host.
   */
  readonly root?: string;
  /** More of the kernel's command line. */
  readonly append?: string;
  readonly processors?: number;
}

/** A guest that runs. Disposing of it ends it, and nothing of it is left. */
export class Guest implements AsyncDisposable {
  readonly folder: string;
  /** The folder that it shares: a path on the host. */
  readonly share: string;
  /** Its memory, where it booted cold or keeps it: a file of the host. */
  readonly memory: string;
  /** The words that its kernel was started with, for the next kernel. */
  readonly commandLine: string;
  readonly #qemu: ChildProcess;
  readonly #ended: Promise<unknown>;
  #hasEnded = false;
  /** What QEMU itself had to say. */
  #said = '';
  #seen = 0;

  private constructor(folder: string, memory: string, commandLine: string, args: readonly string[]) {
    this.folder = folder;
    this.share = join(folder, 'share');
    this.memory = memory;
    this.commandLine = commandLine;
    this.#qemu = spawn(QEMU, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    this.#qemu.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    this.#ended = once(this.#qemu, 'close').then(() => {
      this.#hasEnded = true;
      this.#said = said;
    });
  }

  static async start(options: GuestOptions): Promise<Guest> {
    const {
      program,
      env = {},
      modules = {},
      memory = 512,
      image,
      root,
      append = '',
      processors = 1,
    } = options;
    const kernel = kernelPath();
    const why = whyNoGuest();
    if (kernel === undefined || why !== undefined) throw new Error(why);
    const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-guest-'));
    const share = join(folder, 'share');
    fs.mkdirSync(share);
    const bundle = await bundleInto(join(BUNDLES, basename(folder)), program, modules);
    const words = {
      GUEST_NODE: process.execPath,
      GUEST_PROGRAM: bundle,
      GUEST_KERNEL: kernel,
      ...env,
    };
    const commandLine = [
      // Where the host is busy, an emulated timer ticks too late for the test that ends in a panic.
      'console=ttyS0 no_timer_check panic=-1 oops=panic',
      `kho=on liveupdate=on rootfstype=9p rootflags=${OVER_9P}`,
      root === undefined ? `root=host ro init=${INIT}` : 'root=root rw init=/sbin/init',
      append,
      ...Object.entries(words).map(([name, value]) => `${name}=${value}`),
    ].join(' ');
    const ramFile = image?.memory ?? join(folder, 'memory');
    const guest = new Guest(folder, ramFile, commandLine, [
      ...(image?.machine ?? [
        ...['-machine', 'pc-i440fx-7.1,memory-backend=ram', '-m', `${memory}M`],
        ...['-object', `memory-backend-file,id=ram,size=${memory * MiB},mem-path=${ramFile},share=on`],
        ...['-kernel', kernel],
      ]),
      ...['-accel', 'tcg', '-cpu', 'max', '-smp', `${processors}`],
      ...['-nographic', '-nodefaults', '-no-reboot', '-serial', `file:${join(folder, 'serial')}`],
      ...['-qmp', `unix:${join(folder, 'qmp')},server=on,wait=off`],
      ...['-gdb', `unix:${join(folder, 'gdb')},server=on,wait=off`],
      ...['-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap'],
      ...['-virtfs', `local,path=${share},mount_tag=share,security_model=none`],
      ...(root === undefined ? [] : ['-virtfs', `local,path=${root},mount_tag=root,security_model=none`]),
      ...['-append', commandLine],
    ]);
    fs.writeFileSync(join(share, 'command-line'), commandLine);
    return guest;
  }

  /** All that its programs have reported until now. */
  get events(): GuestEvent[] {
    const path = join(this.share, 'events');
    const lines = fs.existsSync(path) ? fs.readFileSync(path, 'utf8').split('\n') : [];
    return lines.slice(0, -1).map((line) => JSON.parse(line) as GuestEvent);
  }

  /** What its kernels have said. */
  get serial(): string {
    const path = join(this.folder, 'serial');
    return fs.existsSync(path) ? fs.readFileSync(path, 'utf8') : '';
  }

  /**
   * Waits for a report.
   *
   * @param patience milliseconds
   * @throws Error the guest ended before, its kernel gave up, or it takes too long: all it said
   */
  async until(event: string, patience = PATIENCE): Promise<GuestEvent> {
    const end = Date.now() + patience;
    while (Date.now() < end) {
      const hadEnded = this.#hasEnded || this.hasPanicked;
      for (const told of this.events.slice(this.#seen)) {
        this.#seen += 1;
        if (told.event === event) return told;
        if (told.event === 'ended') throw this.#gone(`its program ended with code ${String(told.code)}`);
      }
      if (hadEnded) throw this.#gone(this.hasPanicked ? 'its kernel gave up' : 'QEMU ended');
      await pause(LOOK_MS);
    }
    throw this.#gone(`no report in ${patience / 1000} s`);
  }

  /** Whether its kernel has given up. */
  get hasPanicked(): boolean {
    return this.panic !== undefined;
  }

  /** What its kernel has said when it gave up. */
  get panic(): string | undefined {
    return /Kernel panic.*/.exec(this.serial)?.[0];
  }

  #gone(why: string): Error {
    const output = join(this.share, 'output');
    const said = fs.existsSync(output) ? fs.readFileSync(output, 'utf8') : '';
    return new Error(
      `${why}. Reports: ${JSON.stringify(this.events)}\nThe program said:\n${said}\nThe kernel said:\n${this.serial.slice(-3000)}\n${this.#said}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#qemu.kill('SIGKILL');
    await this.#ended;
    fs.rmSync(this.folder, { recursive: true });
    fs.rmSync(join(BUNDLES, basename(this.folder)), { recursive: true });
  }
}

/** A program and what it imports, as few files. Returns its path. */
export async function bundleInto(
  folder: string,
  program: string,
  modules: Readonly<Record<string, string>> = {},
): Promise<string> {
  await build({
    entryPoints: [program],
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true, // what a program imports later is loaded later
    platform: 'node',
    format: 'esm',
    target: 'node24',
    conditions: ['@liveupdate/source'],
    alias: { ...modules },
    logLevel: 'error',
  });
  return join(folder, `${basename(program, '.ts')}.mjs`);
}

/** The command `liveupdate` for guests: made anew, in a folder that the caller removes. */
export async function bundleCommand(): Promise<{ readonly folder: string; readonly main: string }> {
  const cli = fileURLToPath(new URL('../../../packages/cli/', import.meta.url));
  fs.mkdirSync(BUNDLES, { recursive: true });
  const folder = fs.mkdtempSync(join(BUNDLES, 'liveupdate-'));
  fs.chmodSync(folder, 0o755); // also for who is not root in the guest
  const main = await bundleInto(join(folder, 'dist'), join(cli, 'src/main.ts'));
  fs.copyFileSync(join(cli, 'package.json'), join(folder, 'package.json')); // its version
  return { folder, main };
}
