/**
 * Reads the LUO records of a handover and changes nothing: for the orchestrator, and for tools that
 * only look.
 */
import {
  byteLength,
  KernelError,
  MAX_ORDER,
  PAGE_SIZE,
  physToPfn,
  StructView,
  type Field,
  type PhysAddr,
  checkFunction,
  checkInstance,
  checkObject,
} from '@liveupdate/base';
import { readBlockSet, type Handover, type OnDamage } from '@liveupdate/kho';
import { checkRam, INCOMING_HEAD, type Ram } from '@liveupdate/mm';
import {
  LUO_COMPATIBLE,
  LUO_SUBTREE,
  LuoFileSer,
  LuoFlbHeaderSer,
  LuoFlbSer,
  LuoSer,
  LuoSessionSer,
  MAX_FLBS,
} from './abi.ts';

export interface FileRecord {
  readonly compatible: string;
  readonly data: bigint;
  readonly token: bigint;
}

export interface SessionRecord {
  readonly name: string;
  readonly files: readonly FileRecord[];
}

export interface FlbRecord {
  readonly name: string;
  readonly data: bigint;
  readonly count: bigint;
}

export interface LuoRecords {
  readonly liveupdateNumber: bigint;
  readonly sessions: readonly SessionRecord[];
  readonly flbs: readonly FlbRecord[];
  /** The preserved pages that the records themselves lie in. */
  readonly pages: readonly PhysAddr[];
}

/**
 * All sessions, files and FLBs of a handover.
 *
 * @param onDamage for tools: is told of a session that is damaged, which is left out with all its
 * files, and of damaged FLBs; default: it is thrown
 * @returns undefined where the previous kernel had no LUO
 * @throws KernelError EINVAL: another version, or records that are damaged or contradict themselves
 */
export function readLuo(
  ram: Ram,
  handover: Handover,
  onDamage: OnDamage = (damage) => {
    throw damage;
  },
): LuoRecords | undefined {
  checkFunction(onDamage, 'what is told of damage');
  const readOr = <T>(otherwise: T, read: () => T): T => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      onDamage(error);
      return otherwise;
    }
  };
  checkRam(ram);
  checkObject(handover, 'a handover');
  checkInstance(handover.subtrees, 'the subtrees of a handover', Map);
  const subtree = handover.subtrees.get(LUO_SUBTREE);
  if (!subtree) return undefined;
  const pages = new Set<PhysAddr>();
  const claim = (pa: PhysAddr, what: string): void => {
    const { table } = handover;
    const pfn = physToPfn(pa);
    const preserved =
      pa % PAGE_SIZE === 0 &&
      pfn < table.frames &&
      table.kindOf(pfn) === INCOMING_HEAD &&
      table.orderOf(pfn) <= MAX_ORDER;
    if (!preserved)
      throw new KernelError('EINVAL', `${what} at 0x${pa.toString(16)} is not in preserved memory`);
    if (pages.has(pa)) throw new KernelError('EINVAL', `${what} at 0x${pa.toString(16)} is used twice`);
    pages.add(pa);
  };
  const blockSet = (pa: PhysAddr, size: number, what: string): readonly StructView[] => {
    const { entries, blocks } = readBlockSet(ram, pa, size);
    for (const block of blocks) claim(block, what);
    return entries;
  };

  if (subtree.size < LuoSer.SIZE)
    throw new KernelError('EINVAL', `the LUO record has ${subtree.size} bytes, ${LuoSer.SIZE} expected`);
  claim(subtree.pa, 'the LUO record');
  const ser = new StructView(ram.bytes(subtree.pa, LuoSer.SIZE));
  const compatible = ser.getString(LuoSer.compatible);
  if (compatible !== LUO_COMPATIBLE) {
    throw new KernelError(
      'EINVAL',
      `the sessions are '${compatible}', this reads '${LUO_COMPATIBLE}': open them with the program that knows it`,
    );
  }
  const names = new Set<string>();
  const readSession = (entry: StructView): SessionRecord => {
    const name = text(entry, LuoSessionSer.name, 'a session name');
    if (names.has(name)) throw new KernelError('EINVAL', `two sessions are named '${name}'`);
    names.add(name);
    const files = readFiles(
      blockSet(
        entry.getNumber(LuoSessionSer.files),
        LuoFileSer.SIZE,
        `a block of files of session '${name}'`,
      ),
      name,
    );
    const count = entry.getNumber(LuoSessionSer.count);
    if (files.length !== count)
      throw new KernelError('EINVAL', `session '${name}' counts ${count} files and lists ${files.length}`);
    return { name, files };
  };
  const sessions = blockSet(
    ser.getNumber(LuoSer.sessions),
    LuoSessionSer.SIZE,
    'a block of sessions',
  ).flatMap((entry) => readOr([], () => [readSession(entry)]));
  const flbs = readOr([], () => {
    const pa = ser.getNumber(LuoSer.flbs);
    if (pa === 0) return [];
    claim(pa, 'the FLB record');
    return readFlbs(ram, pa);
  });
  return { liveupdateNumber: ser.getU64(LuoSer.liveupdateNumber), sessions, flbs, pages: [...pages] };
}

/** A string field that must not be empty and must end inside its field. */
function text(entry: StructView, field: Field, what: string): string {
  const value = entry.getString(field);
  if (!entry.isTerminated(field) || byteLength(value) === 0)
    throw new KernelError('EINVAL', `${what} is empty or has no end: the record is damaged`);
  return value;
}

function readFiles(entries: readonly StructView[], session: string): FileRecord[] {
  const tokens = new Set<bigint>();
  return entries.map((entry) => {
    const token = entry.getU64(LuoFileSer.token);
    if (tokens.has(token)) throw new KernelError('EINVAL', `session '${session}' has token ${token} twice`);
    tokens.add(token);
    return {
      compatible: text(entry, LuoFileSer.compatible, 'a compatible string'),
      data: entry.getU64(LuoFileSer.data),
      token,
    };
  });
}

function readFlbs(ram: Ram, pa: PhysAddr): FlbRecord[] {
  const count = new StructView(ram.bytes(pa, LuoFlbHeaderSer.SIZE)).getNumber(LuoFlbHeaderSer.count);
  if (count > MAX_FLBS)
    throw new KernelError('EINVAL', `${count} FLBs are recorded, at most ${MAX_FLBS} can be`);
  const names = new Set<string>();
  return Array.from({ length: count }, (_, i) => {
    const entry = new StructView(ram.bytes(pa + LuoFlbHeaderSer.SIZE + i * LuoFlbSer.SIZE, LuoFlbSer.SIZE));
    const name = text(entry, LuoFlbSer.name, 'an FLB name');
    if (names.has(name)) throw new KernelError('EINVAL', `two FLBs are named '${name}'`);
    names.add(name);
    return { name, data: entry.getU64(LuoFlbSer.data), count: entry.getU64(LuoFlbSer.count) };
  });
}
