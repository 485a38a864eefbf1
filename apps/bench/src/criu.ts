/**
 * CRIU, which writes a whole process to files and brings it back: what needs no change to a program
 * at all. The process holds as many bytes as the others keep, and nothing else. It needs root, and
 * a kernel that CRIU knows.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { KernelError } from '@liveupdate/base';
import { PATIENCE, within } from './patience.ts';

const run = promisify(execFile);

/** Why CRIU cannot be used here; undefined where it says that it can. */
export function missingCriu(): string | undefined {
  const { error, status } = spawnSync('criu', ['check'], {
    stdio: 'ignore',
    timeout: PATIENCE.question,
  });
  if (error) return 'CRIU is not installed; on Debian: apt-get install criu';
  return status === 0 ? undefined : 'CRIU does not work on this machine: criu check says why';
}

/** Fills as many bytes as it is told, says so, and waits. It has no descriptor but /dev/null. */
const HOLDER = `
const bytes = Buffer.alloc(Number(process.argv[1]), 0x5a);
require('node:fs').writeFileSync(process.argv[2], String(bytes.length));
setInterval(() => bytes[0], 1000);
`;

export class Criu implements Disposable {
  readonly #images: string;
  readonly #holder: ChildProcess;
  readonly #kill = (): void => {
    try {
      process.kill(this.#holder.pid!, 'SIGKILL'); // it has the same number after each restore
    } catch {
      // it is gone
    }
  };

  private constructor(directory: string, size: number) {
    this.#images = join(directory, 'criu');
    fs.mkdirSync(this.#images);
    const args = ['-e', HOLDER, String(size), this.#ready];
    this.#holder = spawn(process.execPath, args, { stdio: 'ignore', detached: true });
    process.once('exit', this.#kill);
  }

  get #ready(): string {
    return `${this.#images}.ready`;
  }

  /**
   * Starts a process, and dumps and restores it once.
   *
   * @throws KernelError EIO: CRIU does not manage to
   */
  static async start(directory: string, size: number): Promise<Criu> {
    const criu = new Criu(directory, size);
    try {
      await within(criu.#stands(), PATIENCE.server, 'a process for CRIU does not stand');
      await criu.dumpAndRestore();
      return criu;
    } catch (error) {
      criu[Symbol.dispose]();
      throw error;
    }
  }

  async dumpAndRestore(): Promise<void> {
    await this.#criu('dump', ['-t', String(this.#holder.pid)]);
    await this.#criu('restore', ['-d']);
  }

  async #stands(): Promise<void> {
    while (!fs.existsSync(this.#ready)) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  async #criu(what: 'dump' | 'restore', args: readonly string[]): Promise<void> {
    try {
      await run('criu', [what, ...args, '-D', this.#images], { timeout: PATIENCE.server });
    } catch (error) {
      const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1);
      throw new KernelError('EIO', `criu ${what} fails: ${said ?? String(error)}`, { cause: error });
    }
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#kill);
    this.#kill();
  }
}
