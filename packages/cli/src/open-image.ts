/**
 * Opens what `inspect` reads: a RAM file of liveupdate, or an image of a machine's memory, each of
 * them also as a gzip file; or the memory of the running kernel. It finds out which, where the
 * handover in it begins, and how large its RAM is. Nothing is locked, nothing is written.
 */
import * as fs from 'node:fs';
import { formatSize, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { hasBootPage, readBootPage, type BootPage } from '@liveupdate/kexec';
import type { EntryRecord } from '@liveupdate/kho';
import { isLockedByOther } from '@liveupdate/linux';
import { openMemoryImage, WindowRam, type ImageKind, type MemoryImage } from '@liveupdate/memory-image';
import { SparseRam, type Ram, type RamPiece } from '@liveupdate/mm';
import { checkWholeSource, KCORE, openSource, type ByteSource, type OpenSource } from './image-source.ts';
import { findMoment, type MomentFound } from './moment.ts';
import { silent, startProgress, type Progress } from './progress.ts';
import { openRunningKernel } from './kcore.ts';
import { AREA_BYTES, areasAt, MOST_AREAS, survey, type Findings } from './survey.ts';

/** What the caller knows better than the image. */
export interface ImageHints {
  /** Where the handover begins; a scratchSize of 0: as many areas as there are. */
  readonly entry?: EntryRecord | undefined;
  /** Bytes of RAM in the machine that the image was taken of. */
  readonly ramSize?: number | undefined;
}

export interface OpenImage extends Disposable {
  readonly path: string;
  readonly kind: 'RAM file' | ImageKind | 'running kernel';
  readonly compressed: boolean;
  readonly ram: Ram;
  /** Where the handover begins; undefined in a RAM that is not handed over: see its live record. */
  readonly entry: EntryRecord | undefined;
  readonly entryFrom: 'boot page' | MomentFound['entryFrom'];
  /** Of an image of memory: when it was taken, and what was found in it. */
  readonly moment: MomentFound | undefined;
  /** What of the file itself is damaged, as far as it was read. */
  readonly fileDamage: () => readonly KernelError[];
  /** Only of a RAM file. */
  readonly page: BootPage | undefined;
  /**
   * Who owns a RAM file: nobody, since it is handed over or its owner died; or somebody who goes
   * on. `'unknown'`: it is a copy that was made while its owner ran, or after it died.
   */
  readonly owner: 'none' | 'died' | 'lives' | 'unknown';
  /** An ELF core says where memory is, not how much the machine had. */
  readonly isRamSizeGuessed: boolean;
  /** What was read of it until now is read again when it is looked at next. */
  refresh(): void;
  /** Tells the published states of a RAM file from each other. */
  published(): string;
  /**
   * To be called when all is read. @throws KernelError EBUSY: the RAM was handed over, or the next
   * generation took it over
   */
  checkUnchanged(): void;
}

/** Of an image that nobody writes to. */
const UNCHANGING = {
  refresh: (): void => undefined,
  published: (): string => '',
  checkUnchanged: (): void => undefined,
};

/** Of a live record: up to the numbers of the changes that are published and logged. */
const PUBLISHED_BYTES = 24;
/** Linux on x86-64 counts memory in sections of 128 MiB. */
const SECTION = 128 * 2 ** 20;
const DIRECTORY = '/dev/shm';
/**
 * Addresses that are searched: a core that claims more is of a very large machine, or damaged. A
 * GiB takes seconds, and how far it is is shown.
 */
const MAX_SEARCHED = 2 ** 40;
/** Where a PC has its firmware: behind a hole, up to 4 GiB. */
const FIRMWARE_END = 2 ** 32;
const FIRMWARE = 16 * 2 ** 20;
/** Bytes below which nobody waits long enough to be shown progress. */
const SHOWN_FROM = 256 * 2 ** 20;

/** Progress on a terminal; logs get none. */
export async function progressOnTerminal(label: string, total: number): Promise<Progress> {
  return process.stderr.isTTY && total >= SHOWN_FROM ? startProgress(label, total) : silent;
}

/**
 * The file that a command line names: a path, or the name of a RAM where there is no such file.
 *
 * @throws KernelError ENOENT: neither
 */
export function resolveImagePath(given: string): string {
  if (given.includes('/') || fs.existsSync(given)) return given;
  const rams = ramFiles();
  const ram = rams.find(({ name }) => name === given);
  if (ram) return ram.file.toString();
  const names = rams.map(({ name }) => name).join(', ');
  const there = rams.length === 0 ? `there is no RAM in ${DIRECTORY}` : `RAM in ${DIRECTORY}: ${names}`;
  throw new KernelError(
    'ENOENT',
    `there is no file '${given}' and no RAM of that name: give a path or a name (${there})`,
  );
}

/** A file that is called like a RAM. */
export interface RamName {
  /** What comes behind 'liveupdate.'; bytes that are no text are replaced. */
  readonly name: string;
  /** Its path, whatever bytes it has. */
  readonly file: Buffer;
}

const PREFIX = Buffer.from('liveupdate.');

/** Files of this host that are called like RAMs, by name. */
export function ramFiles(): RamName[] {
  let files: Buffer[];
  try {
    files = fs.readdirSync(DIRECTORY, { encoding: 'buffer' });
  } catch {
    return [];
  }
  return files
    .filter((file) => file.subarray(0, PREFIX.length).equals(PREFIX))
    .map((file) => ({
      name: file.subarray(PREFIX.length).toString(),
      file: Buffer.concat([Buffer.from(`${DIRECTORY}/`), file]),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Opens an image.
 *
 * @throws KernelError ENODATA: a RAM that is empty. EINVAL: neither RAM file nor an image with a
 * handover, or damaged, or of another version. EOPNOTSUPP: a kdump that is compressed with lzo.
 * ENODEV: the running kernel has no KHO. ENOENT, EACCES, ENOMEM and others: see openSource.
 */
export async function openImage(path: string, hints: ImageHints = {}): Promise<OpenImage> {
  const open = await openSource(path, (total) => progressOnTerminal('unpack', total));
  try {
    const { source } = open;
    if (path === KCORE)
      return asImage(path, open, 'running kernel', await openRunningKernel(source, search), false);
    const head = new Uint8Array(PAGE_SIZE);
    source.read(head, 0);
    const image = openMemoryImage(source);
    if (image.kind !== 'raw image') return await openSearched(path, open, image, hints);
    if (hints.entry) return await openSearched(path, open, image, hints);
    if (hasBootPage(head)) {
      checkWholeSource(source);
      return openRamFile(path, open);
    }
    return await openRaw(path, open, image, hints);
  } catch (error) {
    open[Symbol.dispose]();
    throw error;
  }
}

/** The bytes of a source from physical address 0 on. */
export function sourceRam(source: ByteSource, size: number): WindowRam {
  return new WindowRam(
    () =>
      new SparseRam(size, (block, pa) => {
        source.read(block, pa);
      }),
  );
}

/**
 * A RAM file as an image.
 *
 * @throws KernelError ENODATA: it is empty. EINVAL: its boot page is damaged, or of another version
 */
export function openRamFile(path: string, open: OpenSource): OpenImage {
  const { source } = open;
  const bootPage = (): BootPage => {
    const firstPage = new Uint8Array(PAGE_SIZE);
    source.read(firstPage, 0);
    return readBootPage(firstPage, source.size);
  };
  const page = bootPage();
  if (page.state === 'empty')
    throw new KernelError(
      'ENODATA',
      `this RAM is empty: generation ${page.generation} ended without handing anything over, and the next one boots cold`,
    );
  let ram = sourceRam(source, page.ramSize);
  return {
    path,
    kind: 'RAM file',
    compressed: source.compressed,
    get ram() {
      return ram;
    },
    entry: page.state === 'handed-over' ? page.entry : undefined,
    entryFrom: 'boot page',
    moment: undefined,
    fileDamage: () => [],
    page,
    owner: ownerOf(page, open),
    isRamSizeGuessed: false,
    refresh: () => {
      ram = sourceRam(source, page.ramSize);
    },
    published: () => {
      const header = new Uint8Array(PUBLISHED_BYTES);
      source.read(header, page.live);
      return Buffer.from(header).toString('hex');
    },
    checkUnchanged: () => {
      const now = bootPage();
      if (now.state === page.state && now.generation === page.generation) return;
      const how = now.state === 'running' ? 'took over' : 'let go of';
      throw new KernelError(
        'EBUSY',
        `generation ${now.generation} (pid ${now.ownerPid}) ${how} this RAM while it was read: try again`,
      );
    },
    [Symbol.dispose]: () => {
      open[Symbol.dispose]();
    },
  };
}

function ownerOf({ state, ownerPid }: BootPage, { source, fd }: OpenSource): OpenImage['owner'] {
  if (state === 'handed-over') return 'none';
  if (source.compressed) return 'unknown';
  return isOwned(fd, ownerPid) ? 'lives' : 'died';
}

/** Whether somebody holds the owner's lock, which is asked for and not taken. */
export function isOwned(fd: number, pid: number): boolean {
  try {
    return isLockedByOther(fd);
  } catch {
    return fs.existsSync(`/proc/${pid}`); // without koffi: a live process of that number is likely the one
  }
}

/** Scratch areas at an address: the array lies within one page. At most `most` of them. */
function scratchAreas(ram: Ram, addr: number, most: number): ReturnType<typeof areasAt> {
  const length = Math.min(most * AREA_BYTES, PAGE_SIZE - (addr % PAGE_SIZE), Math.max(0, ram.size - addr));
  return length > 0 ? areasAt(ram.bytes(addr, length), 0, PAGE_SIZE) : [];
}

/** The entry with as many scratch areas as stand in memory, where the caller gave no number. */
function completeEntry(ram: Ram, entry: EntryRecord): EntryRecord {
  if (entry.scratchSize > 0) return entry;
  const areas = scratchAreas(ram, entry.scratchAddr, MOST_AREAS);
  if (areas.every(({ size }) => size === 0))
    throw new KernelError(
      'EINVAL',
      `there is no scratch array at 0x${entry.scratchAddr.toString(16)}: check the second address of --entry`,
    );
  return { ...entry, scratchSize: areas.length * AREA_BYTES };
}

/** What a memory and the moment in it are as an image. */
function asImage(
  path: string,
  open: OpenSource,
  kind: OpenImage['kind'],
  { ram, moment, damage }: { ram: Ram; moment: MomentFound; damage: readonly KernelError[] },
  isRamSizeGuessed: boolean,
): OpenImage {
  const { source } = open;
  return {
    path,
    kind,
    compressed: source.compressed,
    ram,
    entry: moment.handover.entry,
    entryFrom: moment.entryFrom,
    moment,
    fileDamage: () => (source.damage ? [source.damage, ...damage] : damage),
    page: undefined,
    owner: 'none',
    isRamSizeGuessed,
    ...UNCHANGING,
    [Symbol.dispose]: () => {
      open[Symbol.dispose]();
    },
  };
}

/** A file that is nothing else that is known, and may be a raw image. */
async function openRaw(
  path: string,
  open: OpenSource,
  image: MemoryImage,
  hints: ImageHints,
): Promise<OpenImage> {
  try {
    return await openSearched(path, open, image, hints);
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== 'EINVAL') throw error;
    if (open.source.damage) throw open.source.damage;
    const why = error.message.replace(/^EINVAL: /, '');
    throw new KernelError(
      'EINVAL',
      `'${path}' is neither a RAM file of liveupdate nor an ELF core or a kdump, and as a raw image of memory: ${why}${why.includes('--entry') ? '' : ' (--entry fdtAddr,scratchAddr chooses)'}`,
      { cause: error },
    );
  }
}

function tooSmall(given: number, covered: number): KernelError {
  return new KernelError(
    'EINVAL',
    `the image covers ${formatSize(covered)} (${covered} bytes) of memory, --ram-size gives ${given}: leave it out, or give the size of the machine`,
  );
}

/** An image that is searched for what a kernel left in it. */
async function openSearched(
  path: string,
  open: OpenSource,
  image: MemoryImage,
  hints: ImageHints,
): Promise<OpenImage> {
  const covered = memoryEnd(image);
  if (hints.ramSize !== undefined && hints.ramSize < covered) throw tooSmall(hints.ramSize, covered);
  const isExact = image.kind === 'raw image';
  const round = (end: number): number => (isExact ? end : Math.ceil(end / SECTION) * SECTION);
  const narrow = image.ram(round(covered));
  const found = await search(narrow, image.pieces);
  const entry = hints.entry && completeEntry(narrow, hints.entry);
  const likely = isExact ? [] : likelyEnds(narrow, found, entry);
  const size = hints.ramSize ?? round(Math.max(covered, ...likely));
  let ram = image.ram(size);
  let moment = findMoment(ram, found, entry);
  if (hints.ramSize === undefined && !isExact) {
    const ends = moment.handover.scratch.map(({ addr, size }) => addr + size);
    const machine = round(Math.max(covered, ...ends));
    if (machine !== size) {
      ram = image.ram(machine);
      moment = findMoment(ram, found, entry);
    }
  }
  const isGuessed = hints.ramSize === undefined && !isExact;
  return asImage(path, open, image.kind, { ram, moment, damage: image.damage }, isGuessed);
}

/** Where memory ends, the firmware of a PC below 4 GiB left out. */
function memoryEnd({ pieces, covered }: MemoryImage): number {
  const last = pieces.at(-1);
  const before = pieces.at(-2);
  if (!last || !before) return covered;
  const isFirmware = last.pa + last.length === FIRMWARE_END && last.pa >= FIRMWARE_END - FIRMWARE;
  const end = before.pa + before.length;
  return isFirmware && end < last.pa ? Math.ceil(end / PAGE_SIZE) * PAGE_SIZE : covered;
}

async function search(ram: Ram, pieces: readonly RamPiece[]): Promise<Findings> {
  if (ram.size > MAX_SEARCHED)
    throw new KernelError(
      'EINVAL',
      `this core spans ${formatSize(ram.size)} of addresses, too much to search for the handover: say where it begins, with --entry fdtAddr,scratchAddr`,
    );
  const total = pieces.reduce((sum, { length }) => sum + length, 0);
  const progress = await progressOnTerminal('search', total);
  try {
    return await survey(ram, pieces, progress);
  } finally {
    progress.stop();
  }
}

/**
 * Where scratch areas end that may be those of the machine: pages that an image leaves out at the
 * end of RAM are not seen. One that claims several times the memory is something else.
 */
function likelyEnds(ram: Ram, found: Findings, entry: EntryRecord | undefined): number[] {
  const named = (entry ? [entry] : found.records).flatMap(({ scratchAddr, scratchSize }) =>
    scratchAreas(ram, scratchAddr, scratchSize / AREA_BYTES),
  );
  const likely = entry ? [] : [...found.arrays.values()].flatMap(({ areas }) => areas);
  return [...named, ...likely].map(({ addr, size }) => addr + size).filter((end) => end <= 4 * ram.size);
}
