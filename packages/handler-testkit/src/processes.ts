/**
 * Real handovers for the suite: the test file is run again, by Node itself, as the generations of a
 * machine in a file of /dev/shm. In such a process `testFileHandler` defines no tests but plays its
 * part.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { checkList, checkOneOf, checkText, KernelError } from '@liveupdate/base';
import type { PreservableFile } from '@liveupdate/luo-core';
import { TestKernel, watchedHandler, type WatchedHandler } from './kernel.ts';
import { neighbourHandler } from './neighbour.ts';
import { checkNothingLeft, finish, incoming, must, preserved, retrieve } from './scenario.ts';
import type { FileHandlerSuite, ProcessRunner } from './suite-options.ts';

/** Environment variable with the part that a process plays. */
const PART = 'LIVEUPDATE_TESTKIT_PART';

interface Part {
  readonly file: string;
  readonly title: string;
  readonly kind: HandoverKind;
  /** Path of the RAM. */
  readonly path: string;
}

/** A process is replaced, or hands over and ends. */
export type HandoverKind = 'exec' | 'processes';

const KINDS: readonly HandoverKind[] = ['processes', 'exec'];

const NAMES: Readonly<Record<HandoverKind, string>> = {
  processes: 'from process to process: files arrive, and arrive again',
  exec: 'a process is replaced by its next generation: files arrive, and arrive again',
};

const RAM_SIZE = '16MiB';
/** Ends a process that hangs: it takes half a second. */
const TIME_LIMIT_MS = 120_000;
const GENERATIONS = 3;

let rams = 0;

/**
 * Handovers from process to process. Needs `@liveupdate/kexec`, Linux, and a test file that Node
 * can run as it is: JavaScript, or TypeScript whose types can be stripped.
 *
 * @param url `import.meta.url` of the test file
 * @param handovers default both; for files that go by exec alone, `['exec']`
 * @throws KernelError EINVAL: no URL of a file, or no such handovers
 */
export function processes(url: string, handovers: readonly HandoverKind[] = KINDS): ProcessRunner {
  const file = pathOf(url);
  for (const kind of checkList(handovers, 'a list of handovers')) checkOneOf(kind, 'a handover', KINDS);
  const text = process.env[PART];
  const given = text === undefined ? undefined : (JSON.parse(text) as Part);
  const part = given?.file === file ? given : undefined;
  return {
    isGeneration: part !== undefined,
    play(suite, title) {
      if (part?.title === title) void play(suite, part).catch(report);
    },
    scenarios: (title) =>
      handovers.map((kind) => ({
        name: NAMES[kind],
        run: () => runGenerations({ file, title, kind }, kind === 'exec' ? 1 : GENERATIONS),
      })),
  };
}

function pathOf(url: string): string {
  try {
    return fileURLToPath(checkText(url, 'the URL of the test file'));
  } catch (cause) {
    if (cause instanceof KernelError) throw cause;
    throw new KernelError('EINVAL', `'${url}' is no URL of a file: pass import.meta.url`, { cause });
  }
}

function report(error: unknown): void {
  console.error(error instanceof Error ? error.stack : error);
  process.exitCode = 1;
}

/**
 * Runs the test file so many times, one process after the other. The last generation says that it
 * got to the end.
 */
async function runGenerations(part: Omit<Part, 'path'>, count: number): Promise<void> {
  const path = `/dev/shm/liveupdate-testkit.${process.pid}-${++rams}`;
  try {
    let output = '';
    for (let i = 0; i < count; i++) output += await runProcess({ ...part, path });
    if (!output.endsWith(END)) throw new Error(`the generations did not get to the end:\n${output}`);
  } finally {
    rmSync(path, { force: true });
  }
}

const END = `generation ${GENERATIONS} found everything\n`;

function runProcess(part: Part): Promise<string> {
  // A test runner's own ways are not for a process that is no test.
  const args = process.execArgv.filter((arg) => !/^--(experimental-)?(test|inspect|watch)/.test(arg));
  const env = { ...process.env, [PART]: JSON.stringify(part), NODE_TEST_CONTEXT: undefined };
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...args, part.file], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIME_LIMIT_MS,
    });
    let output = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(output);
      else
        reject(
          new Error(`a generation ended with ${signal ?? `exit code ${String(code)}`}:\n${errors}${output}`),
        );
    });
  });
}

/** The part of a process, by the generation that it is. */
async function play<F extends PreservableFile>(suite: FileHandlerSuite<F>, part: Part): Promise<void> {
  const { Machine } = await import('@liveupdate/kexec');
  let watched: WatchedHandler<F> | undefined;
  const machine = await Machine.open({
    path: part.path,
    size: suite.ramSize ?? RAM_SIZE,
    handlers: (parts) => {
      watched = watchedHandler(suite, parts);
      return [watched.handler, neighbourHandler()];
    },
  });
  const { luo, ...parts } = machine.kernel;
  const kernel = new TestKernel({ suite, parts, luo, ...watched! });
  if (machine.generation === 1) {
    await preserved(kernel, [0, 1, 2]);
  } else if (machine.generation < GENERATIONS) {
    await passOn(kernel);
  } else {
    await checkLast(kernel);
    machine.remove();
    process.stdout.write(END);
    return;
  }
  await must(kernel, 'freeze', () => (part.kind === 'exec' ? machine.kexec() : machine.handOver()));
}

/** A generation in between: some files are retrieved, changed and preserved again, one is not. */
async function passOn<F extends PreservableFile>(kernel: TestKernel<F>): Promise<void> {
  const { session } = incoming(kernel);
  const files = [await retrieve(kernel, session, 3, 2), await retrieve(kernel, session, 1, 0)];
  await finish(kernel, session);
  for (const file of files) await kernel.suite.change(file);
  const next = await preserved(kernel, [5]);
  for (const [i, file] of files.entries())
    await must(kernel, 'preserve', () => next.session.preserve(file, i + 2));
}

async function checkLast<F extends PreservableFile>(kernel: TestKernel<F>): Promise<void> {
  const { session, before } = incoming(kernel);
  const changes = [5, 3, 1];
  for (const token of [2, 3, 1])
    await kernel.release(await retrieve(kernel, session, token, changes[token - 1]));
  await finish(kernel, session);
  await checkNothingLeft(kernel, before);
}
