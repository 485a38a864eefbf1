/**
 * The demo: files of several kinds carried through generations of one process, nothing copied,
 * every byte proved by its hash.
 *
 * The first generation makes the files and preserves them; each next one retrieves and verifies
 * them, ends the session, and preserves them again for the one after it. What they tell each other
 * is in a preserved file too (demo-ledger.ts).
 */
import * as fs from 'node:fs';
import { assert, codeOf, formatSize, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { Machine, ramPath } from '@liveupdate/kexec';
import { trackWrites } from '@liveupdate/linux';
import type { IncomingSession, OutgoingSession } from '@liveupdate/luo-core';
import { readMemfdRecord, readMemfdRuns } from '@liveupdate/memfd-handler';
import { ShmemFile } from '@liveupdate/shmem';
import { bytesToWrite, hashFile, makeFile, planFiles, type FilePlan, type HugeChoice } from './demo-files.ts';
import { ledgerSize, readLedger, writeLedger, type Ledger, type UpdateFigures } from './demo-ledger.ts';
import { checkRoom, removeLeftovers } from './demo-room.ts';
import { ramSizeFor } from './demo-size.ts';
import { silent, startProgress, type Progress } from './progress.ts';

export interface DemoOptions {
  /** Bytes in all files together. */
  readonly size: number;
  readonly files: number;
  /** Processes in a row, the first included. */
  readonly generations: number;
  readonly huge: HugeChoice;
  readonly json: boolean;
}

const SESSION = 'demo';
const LEDGER_TOKEN = 0n;
/** Environment variable that names the RAM to the next generation. */
const RAM_NAME = 'LIVEUPDATE_DEMO_RAM';
/** Files that are listed one by one. */
const SHOWN_FILES = 8;
/** Files and their ledger, by token: the ledger is 0. */
type Files = ReadonlyMap<bigint, ShmemFile>;

function milliseconds(since: bigint): number {
  return Number(process.hrtime.bigint() - since) / 1e6;
}

/** Ctrl-C and its like remove the RAM file. */
function removeOnSignal(name: string): void {
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.once(signal, () => {
      fs.rmSync(ramPath(name), { force: true });
      process.exit(128 + number);
    });
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function seconds(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/**
 * First generation: makes the files, preserves them, and is replaced: it never returns, and throws
 * on failure.
 */
export async function runDemo(options: DemoOptions): Promise<never> {
  const plan = planFiles(options.size, options.files, options.huge);
  const size = plan.reduce((sum, file) => sum + file.size, 0);
  if (size === 0)
    throw new KernelError(
      'EINVAL',
      `${formatSize(options.size)} are too few for ${options.files} files: give a larger --size`,
    );
  checkRoom(options.size, options.files);
  removeLeftovers();
  const name = `demo-${process.pid}`;
  removeOnSignal(name);
  const machine = await Machine.open({
    name,
    size: ramSizeFor(options.size, options.files),
    onCrash: 'cold',
  });
  try {
    say(
      `liveupdate demo: ${formatSize(size)} in ${options.files} file${options.files === 1 ? '' : 's'}, carried through ${options.generations} generations of process ${process.pid}`,
    );
    say(`RAM: ${ramPath(name)}, ${formatSize(machine.ram.size)}, sparse`);
    say('\ngeneration 1');
    const files = await fill(machine, plan);
    const hashes = await hashAll('hash', plan, files);
    const written = await measureWrites(machine, files);
    return await handOn(machine, name, files, {
      files: plan,
      generations: options.generations,
      json: options.json,
      size,
      ramSize: machine.ram.size,
      hashes,
      written,
      preservedBytes: 0,
      folios: {},
      picture: '',
      updates: [],
    });
  } catch (error) {
    machine.remove();
    throw error;
  }
}

/** Every later generation: retrieves, verifies, finishes, and hands on or reports. */
export async function resumeDemo(): Promise<number> {
  const name = process.env[RAM_NAME] ?? '';
  removeOnSignal(name);
  const machine = await Machine.open({ name });
  try {
    const session = machine.kernel.luo.retrieveSession(SESSION);
    const start = process.hrtime.bigint();
    const files = await retrieveAll(session);
    const retrieve = milliseconds(start);
    readFirstByte(files);
    const blackout = milliseconds(machine.kexecFrozen); // from where serving ended
    const callToFreeze = Number(machine.kexecFrozen - machine.kexecStart) / 1e6;
    const ledger = readLedger(fileAt(files, LEDGER_TOKEN));
    const figures = ledger.updates.at(-1);
    assert(figures !== undefined, 'the generation before noted no handover');
    Object.assign(figures, { retrieve, callToFreeze, blackout });
    say(`generation ${machine.generation} (the same process ${process.pid}), blackout ${seconds(blackout)}`);
    say(`  kexec     ${seconds(callToFreeze)} from the call to the freeze, while all was served`);
    say(`  retrieve  ${ledger.files.length} files in ${seconds(retrieve)}`);
    await verify(ledger, files, figures);
    const finish = process.hrtime.bigint();
    await session.finish();
    figures.finish = milliseconds(finish);
    if (machine.generation < ledger.generations) return await handOn(machine, name, files, ledger);
    const { report } = await import('./demo-report.ts');
    process.stdout.write(report(ledger));
    machine.remove();
    return 0;
  } catch (error) {
    machine.remove();
    throw error;
  }
}

async function fill(machine: Machine, plan: readonly FilePlan[]): Promise<Files> {
  const { shmem } = machine.kernel;
  const start = process.hrtime.bigint();
  const total = plan.reduce((sum, file) => sum + bytesToWrite(file), 0);
  const progress = await startProgress('fill', total);
  const files = new Map<bigint, ShmemFile>();
  const ledger = shmem.memfdCreate('demo-ledger');
  ledger.allocate(0, ledgerSize(plan.length));
  files.set(LEDGER_TOKEN, ledger);
  for (const [i, file] of plan.entries())
    files.set(BigInt(i + 1), await makeFile(shmem, file, i + 1, progress));
  progress.stop();
  say(`  fill      ${formatSize(total)} in ${seconds(milliseconds(start))}`);
  for (const { kind, size, huge } of plan.slice(0, SHOWN_FILES))
    say(`              ${kind.padEnd(7)} ${formatSize(size)}${huge ? ', 2 MiB folios' : ''}`);
  if (plan.length > SHOWN_FILES) say(`              ... and ${plan.length - SHOWN_FILES} more`);
  return files;
}

/** Hashes of all files but the ledger. */
async function hashAll(label: string, plan: readonly FilePlan[], files: Files): Promise<string[]> {
  const start = process.hrtime.bigint();
  const total = plan.reduce((sum, file) => sum + file.size, 0);
  const progress: Progress = total > 0 ? await startProgress(label, total) : silent;
  const hashes: string[] = [];
  for (let i = 0; i < plan.length; i++) hashes.push(await hashFile(fileAt(files, BigInt(i + 1)), progress));
  progress.stop();
  say(`  ${label.padEnd(9)} ${formatSize(total)} in ${seconds(milliseconds(start))}`);
  return hashes;
}

/**
 * Preserves all files once for the sake of measuring what the process writes meanwhile, and takes
 * them back.
 */
async function measureWrites(machine: Machine, files: Files): Promise<Ledger['written']> {
  using tracker = trackWrites(machine.ram);
  const session = await preserveAll(machine, files);
  const { ram, anonymous } = tracker.parts();
  tracker.stop();
  await session.close();
  return { ram, anonymous, method: tracker.method };
}

async function preserveAll(machine: Machine, files: Files): Promise<OutgoingSession> {
  const session = machine.kernel.luo.createSession(SESSION);
  for (const [token, file] of files) await session.preserve(file, token);
  return session;
}

/** Preserves all files, notes the figures and replaces the process. */
async function handOn(machine: Machine, name: string, files: Files, ledger: Ledger): Promise<never> {
  const start = process.hrtime.bigint();
  const session = await preserveAll(machine, files);
  const preserve = milliseconds(start);
  ledger.updates.push({
    preserve,
    callToFreeze: 0,
    blackout: 0,
    retrieve: 0,
    verify: 0,
    finish: 0,
    outside: anonymousMemory(),
  });
  Object.assign(ledger, countFolios(machine, session));
  const { ramPicture } = await import('./ram-picture.ts');
  ledger.picture = ramPicture({ table: machine.kernel.pages.table, width: 64, rows: 16 });
  writeLedger(fileAt(files, LEDGER_TOKEN), ledger);
  const folios = Object.values(ledger.folios).reduce<number>((sum, count) => sum + (count ?? 0), 0);
  say(
    `  preserve  ${formatSize(ledger.preservedBytes)} in ${folios.toLocaleString('en')} folios: ${seconds(preserve)}`,
  );
  say('  kexec     the process replaces itself\n');
  return machine.kexec([...process.execArgv, process.argv[1] ?? '', 'demo', '--resume'], {
    env: { ...process.env, [RAM_NAME]: name },
  });
}

/**
 * Preserved bytes and folios by order, read from the records that the next generation will read.
 */
function countFolios(machine: Machine, session: OutgoingSession): Pick<Ledger, 'preservedBytes' | 'folios'> {
  const { ram, pages } = machine.kernel;
  const folios: Partial<Record<string, number>> = {};
  let preservedBytes = 0;
  for (const { data, compatible } of session.files) {
    const runs = readMemfdRuns(ram, readMemfdRecord(ram, Number(data), compatible), pages.table);
    for (let i = 0; i < runs.length; i++)
      folios[runs.orders[i]] = (folios[runs.orders[i]] ?? 0) + runs.counts[i];
    preservedBytes += runs.pages * PAGE_SIZE;
  }
  return { preservedBytes, folios };
}

async function retrieveAll(session: IncomingSession): Promise<Files> {
  const files = new Map<bigint, ShmemFile>();
  for (const { token } of session.files) {
    files.set(token, await session.retrieve(token, ShmemFile));
  }
  return files;
}

/** What ends the blackout: the first byte of a file, read where it was before. */
function readFirstByte(files: Files): void {
  for (const file of files.values()) file.pread(new Uint8Array(1), 0);
}

async function verify(ledger: Ledger, files: Files, figures: UpdateFigures): Promise<void> {
  const start = process.hrtime.bigint();
  const hashes = await hashAll('verify', ledger.files, files);
  figures.verify = milliseconds(start);
  const wrong = ledger.files.filter((_, i) => hashes[i] !== ledger.hashes[i]).map(({ kind }) => kind);
  if (wrong.length > 0)
    throw new KernelError('EIO', `these files came back with other bytes: ${wrong.join(', ')}`);
}

function fileAt(files: Files, token: bigint): ShmemFile {
  const file = files.get(token);
  assert(file !== undefined, `the demo has no file ${token}`);
  return file;
}

/** Private memory of this process, in bytes: what it uses outside RAM. */
function anonymousMemory(): number {
  try {
    return (
      Number(/^RssAnon:\s+(\d+) kB/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024
    );
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 0;
    throw error;
  }
}
