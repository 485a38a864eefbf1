/**
 * Opens what `inspect` reads: a RAM file of liveupdate, an ELF core or a raw image, each of them
 * also as a gzip file. It finds out which, where the handover in it begins, and how large its RAM
 * is. Nothing is locked, nothing is written.
 */
import * as fs from 'node:fs';
import { formatSize, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { hasBootPage, readBootPage, type BootPage } from '@liveupdate/kexec';
import type { EntryRecord } from '@liveupdate/kho';
import { isLockedByOther } from '@liveupdate/linux';
import { ElfCoreRam, isElf, SparseRam, type Ram } from '@liveupdate/mm';
import { AREA_BYTES, areasAt, findEntry, MOST_AREAS } from './find-entry.ts';
import { openSource, type ByteSource, type OpenSource } from './image-source.ts';
import { silent, startProgress, type Progress } from './progress.ts';
import { WindowRam } from './window-ram.ts';

/** What the caller knows better than the image. */
export interface ImageHints {
  /** Where the handover begins; a scratchSize of 0: as many areas as there are. */
  readonly entry?: EntryRecord | undefined;
  /** Bytes of RAM in the machine that the image was taken of. */
  readonly ramSize?: number | undefined;
}

export interface OpenImage extends Disposable {
  readonly path: string;
  readonly kind: 'RAM file' | 'ELF core' | 'raw image';
  readonly compressed: boolean;
  readonly ram: Ram;
  /** Where the handover begins; undefined in a RAM that is not handed over: see its live record. */
  readonly entry: EntryRecord | undefined;
  readonly entryFrom: 'boot page' | 'setup_data' | 'search' | 'option';
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
 * Address space in which an entry is searched: a minute or two of work. A core that claims more is
 * of a very large machine, or damaged.
 */
const MAX_SEARCHED = 64 * 2 ** 30;
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
 * @throws KernelError ENODATA: a RAM that is empty. EINVAL: neither RAM file nor core, damaged, of
 * another version, or nothing to be found in it. ENOENT, EACCES, ENOMEM and others: see openSource.
 */
export async function openImage(path: string, hints: ImageHints = {}): Promise<OpenImage> {
  const open = await openSource(path, (total) => progressOnTerminal('unpack', total));
  try {
    const head = new Uint8Array(PAGE_SIZE);
    open.source.read(head, 0);
    if (isElf(head)) return await openCore(path, open, hints);
    if (hints.entry) return openRaw(path, open, hints, hints.entry);
    if (hasBootPage(head)) return openRamFile(path, open);
    throw new KernelError(
      'EINVAL',
      `'${path}' is neither a RAM file of liveupdate nor an ELF core: if it is a raw image of memory, say where its handover begins, with --entry fdtAddr,scratchAddr`,
    );
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

function wholePages(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
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

function openRaw(path: string, open: OpenSource, hints: ImageHints, entry: EntryRecord): OpenImage {
  const size = wholePages(open.source.size);
  if (hints.ramSize !== undefined && hints.ramSize < size) throw tooSmall(hints.ramSize, size);
  const ram = sourceRam(open.source, hints.ramSize ?? size);
  return {
    path,
    kind: 'raw image',
    compressed: open.source.compressed,
    ram,
    entry: completeEntry(ram, entry),
    entryFrom: 'option',
    page: undefined,
    owner: 'none',
    isRamSizeGuessed: false,
    ...UNCHANGING,
    [Symbol.dispose]: () => {
      open[Symbol.dispose]();
    },
  };
}

function tooSmall(given: number, covered: number): KernelError {
  return new KernelError(
    'EINVAL',
    `the image covers ${formatSize(covered)} (${covered} bytes) of memory, --ram-size gives ${given}: leave it out, or give the size of the machine`,
  );
}

async function openCore(path: string, open: OpenSource, hints: ImageHints): Promise<OpenImage> {
  const file = open.source.readAll();
  const covered = new ElfCoreRam(file).size;
  if (hints.ramSize !== undefined && hints.ramSize < covered) throw tooSmall(hints.ramSize, covered);
  const window = (size: number): WindowRam => new WindowRam(() => new ElfCoreRam(file, size));
  const narrow = window(covered);
  const reopen = (entry: EntryRecord): WindowRam =>
    window(hints.ramSize ?? machineSize(narrow, entry, covered));
  const found = hints.entry
    ? { entry: completeEntry(narrow, hints.entry), how: 'option' as const }
    : await search(narrow, reopen);
  return {
    path,
    kind: 'ELF core',
    compressed: open.source.compressed,
    ram: reopen(found.entry),
    entry: found.entry,
    entryFrom: found.how,
    page: undefined,
    owner: 'none',
    isRamSizeGuessed: hints.ramSize === undefined,
    ...UNCHANGING,
    [Symbol.dispose]: () => {
      open[Symbol.dispose]();
    },
  };
}

async function search(ram: Ram, reopen: (entry: EntryRecord) => Ram): ReturnType<typeof findEntry> {
  if (ram.size > MAX_SEARCHED)
    throw new KernelError(
      'EINVAL',
      `this core spans ${formatSize(ram.size)} of addresses, too much to search for the handover: say where it begins, with --entry fdtAddr,scratchAddr`,
    );
  const progress = await progressOnTerminal('search', ram.size);
  try {
    return await findEntry(ram, reopen, progress);
  } finally {
    progress.stop();
  }
}

/**
 * RAM that the core covers and the scratch areas lie in, rounded up to a section: pages that a core
 * leaves out at the end of RAM are not seen.
 */
function machineSize(ram: Ram, { scratchAddr, scratchSize }: EntryRecord, covered: number): number {
  const areas = scratchAreas(ram, scratchAddr, scratchSize / AREA_BYTES);
  const end = Math.max(covered, ...areas.map(({ addr, size }) => addr + size));
  return Math.ceil(end / SECTION) * SECTION;
}
