/**
 * What the readers' pages show of a terminal, typed as it stands there. Each command prints what
 * the page says, but for numbers of processes, milliseconds, and lines that are left out there
 * (`[...]`). The numbers on the pages are those of the last time that `npm run -s demo-transcript`
 * typed them.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { root } from './check/command.ts';
import { extract } from './check/readme-examples.ts';

/** Whether sources are run, or what was built. */
export type From = 'sources' | 'dist';

/** On the pages: what the service and the RAM are called, and where the service is asked. */
const [SERVICE, RAM, PORT] = ['counter', 'from-linux', '8080'];
const ANSWER =
  'fetch(`http://${process.argv[1]}`).then((got) => got.text()).then((text) => process.stdout.write(text))';
/** Milliseconds until a service serves, and limits of its upgrades: a machine may be busy. */
const PATIENCE = 300_000;
const PATIENT = `--arm-limit ${PATIENCE} --ready-limit ${PATIENCE}`;

/** What differs each time: numbers of processes, and milliseconds. */
const NUMBERS = /(?<=\b(?:pid|supervisor|kill -9) )\d+|\b\d+(?= ms\b)/g;

interface Typed {
  readonly command: string;
  /** What the page says that it prints, a line each. */
  readonly prints: readonly string[];
}

/** A folder in which a page's commands are typed. */
export class Terminal implements AsyncDisposable {
  readonly #folder: string;
  readonly #port: string;
  readonly #name = `pages-${process.pid}`;
  /** Numbers on the page, and what they are here. */
  readonly #numbers = new Map<string, string>();
  #running: ChildProcess | undefined;
  /** When that one has ended, and all that it printed was read. */
  #closed: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, port: string) {
    this.#folder = folder;
    this.#port = port;
  }

  static async open(from: From): Promise<Terminal> {
    fs.mkdirSync(join(root, '.examples'), { recursive: true });
    const folder = fs.mkdtempSync(join(root, '.examples/pages-')); // where packages are found by name
    const node =
      from === 'dist'
        ? process.execPath
        : `${process.execPath} --conditions=@liveupdate/source --no-warnings`;
    const main = join(root, 'packages/cli', from === 'dist' ? 'dist/main.js' : 'src/main.ts');
    const programs = {
      node: `exec ${node}`,
      liveupdate: `if [ "$1" = run ]; then shift; set -- run ${PATIENT} "$@"; fi\nexec ${node} ${main}`,
      npx: 'exec',
      curl: `exec ${process.execPath} -e '${ANSWER}'`, // not every host has one
    };
    fs.mkdirSync(join(folder, 'bin'));
    for (const [name, words] of Object.entries(programs))
      fs.writeFileSync(join(folder, 'bin', name), `#!/bin/sh\n${words} "$@"\n`, { mode: 0o755 });
    fs.symlinkSync(join(root, 'fixtures'), join(folder, 'fixtures'));
    return new Terminal(folder, await freePort());
  }

  /** Types all commands of a page. Returns it with the numbers that they printed. */
  async type(page: string): Promise<string> {
    const path = join(root, page);
    const content = fs.readFileSync(path, 'utf8');
    const first = transcript(content, 'first').at(0);
    let output = '';
    if (first) {
      fs.writeFileSync(join(this.#folder, 'app.ts'), this.#here(frontPageService()));
      this.#running = this.#shell(`exec ${first.command}`);
      this.#closed = once(this.#running, 'close');
      this.#running.stdout!.setEncoding('utf8').on('data', (data: string) => (output += data));
      for (const end = Date.now() + PATIENCE; !output.includes(' serves: ') && Date.now() < end;)
        await delay(20);
    }
    for (const { command, prints } of transcript(content, 'second'))
      this.#note(command, prints, await this.#printed(command));
    if (first) {
      await this.#end();
      this.#note(first.command, first.prints, output);
    }
    return content.replace(/```console\n[^]*?```/g, (block) =>
      block.replace(NUMBERS, (number: string) => this.#numbers.get(number) ?? number),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    for (const ram of [this.#name, `${this.#name}-ram`])
      fs.rmSync(`/dev/shm/liveupdate.${ram}`, { force: true });
    fs.rmSync(this.#folder, { recursive: true });
  }

  async #end(): Promise<void> {
    this.#running?.kill('SIGTERM'); // nothing where it has ended
    this.#running = undefined;
    await this.#closed;
  }

  /** As it is here: another name, another port, other processes. */
  #here(line: string): string {
    return line
      .replaceAll(PORT, this.#port)
      .replaceAll(RAM, `${this.#name}-ram`)
      .replaceAll(new RegExp(`\\b${SERVICE}\\b`, 'g'), this.#name)
      .replace(/^kill -9 (\d+)/, (_, pid: string) => `kill -9 ${this.#numbers.get(pid) ?? 'nobody'}`);
  }

  #shell(command: string): ChildProcess {
    return spawn('sh', ['-c', `exec 2>&1; ${command}`], {
      cwd: this.#folder,
      env: {
        ...process.env,
        PORT: this.#port,
        PATH: `${join(this.#folder, 'bin')}:${process.env.PATH ?? ''}`,
      },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  }

  async #printed(command: string): Promise<string> {
    const child = this.#shell(this.#here(command));
    const [output] = await Promise.all([text(child.stdout!), once(child, 'close')]);
    return output;
  }

  /** Notes what the numbers are here. @throws Error: it printed something else, or other numbers */
  #note(command: string, prints: readonly string[], output: string): void {
    const numbers: string[] = [];
    const pattern = prints.map((line) => {
      if (line.trim() === '[...]') return '(?:.*\\n)*?';
      const words = this.#here(line).replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
      const loose = words.replace(NUMBERS, (number) => {
        numbers.push(number);
        return '(\\d+)';
      });
      return `${loose}\\n`;
    });
    const found = new RegExp(`^${pattern.join('')}$`).exec(output);
    if (!found) throw new Error(`${command}\nprints\n${output}\nand should print\n${prints.join('\n')}`);
    for (const [i, number] of numbers.entries()) {
      const [known = found[i + 1], is] = [this.#numbers.get(number), found[i + 1]];
      if (known !== is) throw new Error(`${command}\nprints ${is} for ${number}, which was ${known}`);
      this.#numbers.set(number, is);
    }
  }
}

/** The service that the front page shows. */
function frontPageService(): string {
  const blocks = extract(fs.readFileSync(join(root, 'README.md'), 'utf8'));
  const service = blocks.find(({ named }) => named === 'app.ts');
  if (!service) throw new Error('the front page has no app.ts');
  return service.code;
}

/** A block of a page, found by the name in the mark above it. */
function transcript(content: string, mark: string): Typed[] {
  const found = new RegExp(`<!-- transcript: ${mark} -->\\s*\`\`\`console\\n([^]*?)\`\`\``).exec(content);
  return (found?.[1] ?? '')
    .split(/^\$ /m)
    .slice(1)
    .map((typed) => typed.trimEnd().split('\n'))
    .map(([command, ...prints]) => ({ command, prints }));
}

async function freePort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}
