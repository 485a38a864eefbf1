/**
 * What the kill storm knows of a RAM: which files must be found under which session and token, and
 * every byte in them, whatever killed the owner. It is told of each operation before it begins and
 * after it resolved, and knows nothing of how the RAM keeps its promise.
 *
 * Between the two an operation may have happened or not: a dead owner leaves one of a few worlds. A
 * report of the next owner must be one of them.
 */
import { crc32 } from 'node:zlib';
import { PAGE_SIZE } from '@liveupdate/base';

/** Repeatable numbers; each draw below `end`. */
export type Draw = (end: number) => number;

export function drawing(seed: number): Draw {
  let state = seed | 0;
  return (end) => {
    state = (state + 0x6d2b_79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % end;
  };
}

/** The bytes of a seed: no two pages of a storm are alike. */
export function bytesOf(seed: number, length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let x = Math.imul(seed, 0x9e37_79b1) | 1;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** An operation of a worker, as it is told of. */
export type Operation =
  | readonly ['session', session: string, name: string]
  | readonly ['preserve', session: string, files: readonly (readonly [token: number, file: number])[]]
  | readonly ['unpreserve', session: string, token: number]
  | readonly ['close', session: string]
  | readonly ['finish', session: string]
  | readonly ['retrieve', session: string, token: number]
  | readonly ['create', file: number, isHuge: boolean]
  | readonly ['write', file: number, at: number, length: number, seed: number]
  | readonly ['truncate', file: number, size: number]
  | readonly ['punch', file: number, at: number, length: number]
  | readonly ['drop', file: number]
  | readonly ['seal', how: 'kexec' | 'handOver' | 'refused'];

/** A line of a worker. */
export type Line =
  | readonly ['open']
  | readonly ['opened', generation: number, origin: string, end: string | undefined]
  | readonly ['found', sessions: readonly FoundSession[]]
  | readonly ['work']
  | readonly ['intent', n: number, operation: Operation]
  | readonly ['turn', n: number]
  | readonly ['ack', n: number]
  | readonly ['refused', n: number, code: string]
  | readonly ['wrong', what: string]
  | readonly ['end', how: string]
  | readonly ['audit', usage: Usage];

/** Pages in use when nothing is preserved: they must not become more. */
export interface Usage {
  readonly taken: number;
  readonly record: number;
  readonly map: number;
}

/** A session as the next owner finds it; its place in the list is its name: `in0`, `in1`. */
export interface FoundSession {
  readonly name: string;
  readonly files: readonly FoundFile[];
}

export interface FoundFile {
  readonly token: number;
  /** Undefined where it was not retrieved. */
  readonly content?: {
    readonly size: number;
    /** Of each page, as far as the file goes. */
    readonly sums: readonly number[];
    /** Pages that were asked for in full, in base64. */
    readonly pages: Readonly<Record<number, string>>;
  };
}

/** Bytes that a page may hold in place of what it must: those that were being written. */
interface Maybe {
  readonly from: number;
  readonly bytes: Uint8Array;
}

/** A page of memory, whichever files and records it is part of. */
class Page {
  readonly bytes = new Uint8Array(PAGE_SIZE);
  maybe: Maybe[] = [];
  /**
   * A page of a record that this one may be still: it was taken out of its file, but a large folio
   * that a record names is not split. Then it is zeros there, and whatever is written later.
   */
  readonly #mayBe: Page | undefined;
  #sum: number | undefined;

  constructor(mayBe?: Page) {
    this.#mayBe = mayBe;
  }

  sum(length: number): number {
    if (length < PAGE_SIZE) return crc32(this.bytes.subarray(0, length));
    return (this.#sum ??= crc32(this.bytes));
  }

  begin(from: number, bytes: Uint8Array): void {
    this.maybe.push({ from, bytes });
    this.#mayBe?.begin(from, bytes);
  }

  /** What was begun is done. */
  store(from: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, from);
    this.#sum = undefined;
    const end = from + bytes.length;
    this.maybe = this.maybe.flatMap(({ from: at, bytes: other }) => {
      const before = { from: at, bytes: other.subarray(0, Math.max(0, from - at)) };
      const behind = Math.max(end, at);
      const after = { from: behind, bytes: other.subarray(Math.max(0, end - at)) };
      return [before, after].filter((part) => part.bytes.length > 0);
    });
  }

  /** How many of these bytes cannot be; where all can, they are what it holds from now on. */
  settle(found: Uint8Array): number {
    let wrong = 0;
    for (const [i, byte] of found.entries()) {
      if (byte === this.bytes[i]) continue;
      if (!this.maybe.some(({ from, bytes }) => i >= from && bytes[i - from] === byte)) wrong += 1;
    }
    if (wrong === 0) this.store(0, found);
    return wrong;
  }
}

/** A file as its worker sees it. */
interface OpenFile {
  size: number;
  readonly pages: Page[];
  /** Of one with large folios: pages that were cut off, and may come back. */
  readonly cut: (Page | undefined)[];
}

/** A file as a record names it. */
interface Content {
  readonly file: number;
  readonly size: number;
  readonly pages: readonly Page[];
}

interface Session {
  readonly id: string;
  readonly name: string;
  /** Left by an owner before this one. */
  readonly isOld: boolean;
  readonly files: ReadonlyMap<number, Content>;
}

/** Sessions, older first. */
type World = readonly Session[];

/** An operation that changes which files are found. */
interface Change {
  readonly n: number;
  readonly apply: (world: World) => World;
  /** `'held'`: it must not be seen yet. */
  state: 'held' | 'begun' | 'done';
}

export interface Findings {
  filesFound: number;
  pagesCompared: number;
  filesLost: number;
  filesTooMany: number;
  foundTwice: number;
  wrongBytes: number;
}

export class Model {
  readonly findings: Findings = {
    filesFound: 0,
    pagesCompared: 0,
    filesLost: 0,
    filesTooMany: 0,
    foundTwice: 0,
    wrongBytes: 0,
  };
  #world: World = [];
  #changes: Change[] = [];
  /** Files that the worker has open. */
  readonly #open = new Map<number, OpenFile>();
  /** Files that may have large folios. */
  readonly #huge = new Set<number>();
  readonly #fileOf = new Map<number, number>();
  readonly #intents = new Map<number, Operation>();

  /** How many files every next owner must find. */
  get fileCount(): number {
    return this.#world.reduce((sum, { files }) => sum + files.size, 0);
  }

  /** Pages that may hold one thing or another: the next owner is asked for all their bytes. */
  get doubts(): string[] {
    const worlds = [this.#world, ...this.#worlds()];
    const names = worlds.flatMap((world) =>
      world.flatMap(({ files }) =>
        [...files].flatMap(([token, { pages }]) =>
          pages.flatMap(({ maybe }, i) => (maybe.length > 0 ? [`${token}:${i}`] : [])),
        ),
      ),
    );
    return [...new Set(names)];
  }

  intent(n: number, operation: Operation): void {
    this.#intents.set(n, operation);
    const apply = this.#changeOf(operation);
    // What is finished is there until the event loop turns.
    const state = operation[0] === 'finish' ? 'held' : 'begun';
    if (apply) this.#changes.push({ n, apply, state });
    if (operation[0] === 'seal') for (const change of this.#changes) this.turn(change.n);
    this.#begin(operation);
  }

  /** The event loop turns: what was finished before may be gone. */
  turn(n: number): void {
    for (const change of this.#changes) if (change.n === n && change.state === 'held') change.state = 'begun';
  }

  ack(n: number): void {
    const operation = this.#intents.get(n);
    if (!operation) throw new Error(`an operation ${n} that was never begun`);
    this.#intents.delete(n);
    for (const change of this.#changes) if (change.n === n) change.state = 'done';
    while (this.#changes.at(0)?.state === 'done')
      this.#world = this.#changes.shift()?.apply(this.#world) ?? [];
    this.#done(operation);
  }

  /** It failed: everything is as before. */
  refused(n: number): void {
    this.#intents.delete(n);
    this.#changes = this.#changes.filter((change) => change.n !== n);
  }

  /**
   * The next owner: nothing is open. What it finds must be one of the worlds that may be.
   *
   * @returns what is wrong
   */
  found(sessions: readonly FoundSession[]): string[] {
    this.#open.clear();
    this.#intents.clear();
    const worlds = this.#worlds();
    const seen = shapeOf(
      sessions.map(({ name, files }) => ({ name, tokens: files.map(({ token }) => token) })),
    );
    const world = worlds.find((each) => shapeOfWorld(each) === seen);
    if (!world) return this.#explain(worlds, sessions);
    this.#changes = [];
    this.#world = world.map((session) => ({ ...session, isOld: true }));
    return this.#takeOver(sessions);
  }

  /** Sessions get the names by which this owner speaks of them; contents are compared. */
  #takeOver(sessions: readonly FoundSession[]): string[] {
    const wrong: string[] = [];
    const rest = [...this.#world];
    const named = new Map<Session, string>();
    for (const [i, { name, files }] of sessions.entries()) {
      // Those of one name come older first, as in the world.
      const session = rest.find((each) => each.name === name);
      if (!session) throw new Error('a session that matched is not there');
      rest.splice(rest.indexOf(session), 1);
      named.set(session, `in${i}`);
      for (const file of files) {
        const content = session.files.get(file.token);
        if (content && file.content) wrong.push(...this.#compare(name, file, content));
        this.findings.filesFound += 1;
      }
    }
    this.#world = this.#world.map((session) => ({ ...session, id: named.get(session) ?? '' }));
    for (const [i, { files }] of sessions.entries())
      for (const { token, content } of files) if (content) this.#retrieve(`in${i}`, token);
    return wrong;
  }

  #compare(name: string, { token, content }: FoundFile, { file, size, pages }: Content): string[] {
    const what = `file ${file} (session '${name}', token ${token})`;
    if (!content) return [];
    if (content.size !== size) {
      this.findings.wrongBytes += 1;
      return [`${what} has ${content.size} bytes, and had ${size}`];
    }
    return content.sums.flatMap((sum, i) => {
      this.findings.pagesCompared += 1;
      const page = pages[i];
      const length = Math.min(PAGE_SIZE, size - i * PAGE_SIZE);
      const all = content.pages[i] as string | undefined;
      const wrong =
        all === undefined
          ? sum === page.sum(length)
            ? 0
            : length
          : page.settle(Buffer.from(all, 'base64').subarray(0, length));
      this.findings.wrongBytes += wrong;
      return wrong === 0 ? [] : [`${what} has ${wrong} wrong bytes in page ${i}: ${this.#whose(sum)}`];
    });
  }

  /** Whose page has this checksum. */
  #whose(sum: number): string {
    const zeros = crc32(new Uint8Array(PAGE_SIZE));
    if (sum === zeros) return 'zeros';
    for (const { files } of this.#world)
      for (const [token, { pages }] of files)
        for (const [i, page] of pages.entries())
          if (page.sum(PAGE_SIZE) === sum) return `they are page ${i} of token ${token}`;
    return 'nobody knows them';
  }

  /** Why what was found is none of the worlds. */
  #explain(worlds: readonly World[], sessions: readonly FoundSession[]): string[] {
    const wrong: string[] = [];
    const found = sessions.flatMap(({ name, files }) => files.map(({ token }) => ({ name, token })));
    const ids = found.map(({ token }) => this.#fileOf.get(token));
    for (const [i, { name, token }] of found.entries()) {
      if (ids.indexOf(ids[i]) < i) {
        this.findings.foundTwice += 1;
        wrong.push(`file ${ids[i]} is found twice, once more in session '${name}' under token ${token}`);
      }
    }
    const inAll = (worlds[0] ?? []).flatMap(({ name, files }) =>
      [...files.keys()].map((token) => ({ name, token })),
    );
    for (const { name, token } of inAll) {
      const isThere = (tokens: readonly { name: string; token: number }[]): boolean =>
        tokens.some((each) => each.name === name && each.token === token);
      const isInEach = worlds.every((world) =>
        isThere(
          world.flatMap((each) => [...each.files.keys()].map((key) => ({ name: each.name, token: key }))),
        ),
      );
      if (!isInEach || isThere(found)) continue;
      this.findings.filesLost += 1;
      wrong.push(`file ${this.#fileOf.get(token)} is lost: session '${name}', token ${token}`);
    }
    for (const { name, token } of found) {
      const mayBe = worlds.some((world) => world.some((each) => each.name === name && each.files.has(token)));
      if (mayBe) continue;
      this.findings.filesTooMany += 1;
      wrong.push(
        `file ${this.#fileOf.get(token)} is there, and must not be: session '${name}', token ${token}`,
      );
    }
    const shapes = worlds.map((world) => shapeOfWorld(world));
    const seen = shapeOf(
      sessions.map(({ name, files }) => ({ name, tokens: files.map(({ token }) => token) })),
    );
    return [...wrong, `found:    ${seen}`, ...shapes.map((shape) => `may be:   ${shape}`)];
  }

  /** All that a dead owner may have left: each operation that was not over has happened or not. */
  #worlds(): World[] {
    let worlds = [this.#world];
    for (const { apply, state } of this.#changes) {
      if (state === 'held') continue;
      const after = worlds.map(apply);
      worlds = state === 'done' ? after : [...worlds, ...after];
    }
    return worlds;
  }

  #changeOf(operation: Operation): ((world: World) => World) | undefined {
    switch (operation[0]) {
      case 'session': {
        const [, session, name] = operation;
        return (world) => [...world, { id: session, name, isOld: false, files: new Map() }];
      }
      case 'preserve': {
        const [, session, files] = operation;
        const contents = files.map(([token, file]): [number, Content] => {
          const { size, pages } = this.#file(file);
          this.#fileOf.set(token, file);
          return [token, { file, size, pages: pages.slice() }];
        });
        return (world) => preserve(world, session, contents);
      }
      case 'unpreserve': {
        const [, session, token] = operation;
        return (world) => without(world, (each, key) => each.id === session && key === token, false);
      }
      case 'close':
      case 'finish': {
        const [, session] = operation;
        return (world) => world.filter(({ id }) => id !== session);
      }
      case 'seal':
        return oneOfEachName; // where it is not refused: others are in the way
      default:
        return undefined;
    }
  }

  // ---- Contents ---------------------------------------------------------------------------------

  #file(id: number): OpenFile {
    const file = this.#open.get(id);
    if (!file) throw new Error(`file ${id} is not open`);
    return file;
  }

  #retrieve(session: string, token: number): void {
    const content = this.#world.find(({ id }) => id === session)?.files.get(token);
    if (!content) throw new Error(`token ${token} is not in session ${session}`);
    this.#open.set(content.file, { size: content.size, pages: content.pages.slice(), cut: [] });
  }

  #begin(operation: Operation): void {
    if (operation[0] === 'write') {
      const [, id, at, length, seed] = operation;
      eachPart(this.#file(id).pages, at, bytesOf(seed, length), (page, from, bytes) =>
        page.begin(from, bytes),
      );
    } else if (operation[0] === 'punch') {
      const [, id, at, length] = operation;
      eachPart(this.#file(id).pages, at, new Uint8Array(length), (page, from, bytes) => {
        if (bytes.length < PAGE_SIZE || this.#huge.has(id)) page.begin(from, bytes);
      });
    } else if (operation[0] === 'truncate') {
      const [, id, size] = operation;
      const { pages } = this.#file(id);
      // What is cut in a page may be zero, and in a large folio, which is not split.
      const end = (this.#huge.has(id) ? pages.length : Math.ceil(size / PAGE_SIZE)) * PAGE_SIZE;
      if (end > size)
        eachPart(pages, size, new Uint8Array(end - size), (page, from, bytes) => {
          page.begin(from, bytes);
        });
    }
  }

  #done(operation: Operation): void {
    switch (operation[0]) {
      case 'retrieve':
        if (!this.#isOpenFrom(operation[2])) this.#retrieve(operation[1], operation[2]);
        return;
      case 'create':
        this.#open.set(operation[1], { size: 0, pages: [], cut: [] });
        if (operation[2]) this.#huge.add(operation[1]);
        return;
      case 'drop':
        this.#open.delete(operation[1]);
        return;
      case 'write': {
        const [, id, at, length, seed] = operation;
        const file = this.#file(id);
        grow(file, Math.max(file.size, at + length));
        eachPart(file.pages, at, bytesOf(seed, length), (page, from, bytes) => {
          page.store(from, bytes);
        });
        return;
      }
      case 'punch': {
        const [, id, at, length] = operation;
        const { pages } = this.#file(id);
        eachPart(pages, at, new Uint8Array(length), (page, from, bytes, i) => {
          if (bytes.length < PAGE_SIZE) page.store(from, bytes);
          else pages[i] = new Page(this.#huge.has(id) ? pages[i] : undefined);
        });
        return;
      }
      case 'truncate': {
        const [, id, size] = operation;
        const file = this.#file(id);
        if (size > file.size) grow(file, size);
        const keep = Math.ceil(size / PAGE_SIZE);
        const cut = file.pages.splice(keep);
        if (this.#huge.has(id)) for (const [i, page] of cut.entries()) file.cut[keep + i] = page;
        file.size = size;
      }
    }
  }

  #isOpenFrom(token: number): boolean {
    return this.#open.has(this.#fileOf.get(token) ?? 0);
  }
}

/** New bytes are zeros, also those of the page that the file ended in. */
function grow(file: OpenFile, size: number): void {
  const last = file.size % PAGE_SIZE;
  if (size > file.size && last > 0) file.pages.at(-1)?.store(last, new Uint8Array(PAGE_SIZE - last));
  while (file.pages.length < Math.ceil(size / PAGE_SIZE))
    file.pages.push(new Page(file.cut.at(file.pages.length)));
  file.size = size;
}

function eachPart(
  pages: readonly Page[],
  at: number,
  bytes: Uint8Array,
  visit: (page: Page, from: number, bytes: Uint8Array, i: number) => void,
): void {
  for (let done = 0; done < bytes.length;) {
    const i = Math.floor((at + done) / PAGE_SIZE);
    const from = (at + done) % PAGE_SIZE;
    const length = Math.min(PAGE_SIZE - from, bytes.length - done);
    if (i < pages.length) visit(pages[i], from, bytes.subarray(done, done + length), i);
    done += length;
  }
}

/**
 * Of sessions with one name, one goes on: this owner's, else the newest with files, else the
 * newest.
 */
function oneOfEachName(world: World): World {
  return world.filter((session) => {
    const all = world.filter(({ name }) => name === session.name);
    const own = all.findLast(({ isOld }) => !isOld);
    return session === (own ?? all.findLast(({ files }) => files.size > 0) ?? all.at(-1));
  });
}

/** A file that an older session had is found in its new one alone. */
function preserve(world: World, session: string, contents: readonly [number, Content][]): World {
  const ids = new Set(contents.map(([, { file }]) => file));
  return without(world, (_, __, { file }) => ids.has(file), true).map((each) =>
    each.id === session ? { ...each, files: new Map([...each.files, ...contents]) } : each,
  );
}

/** @param isMoved sessions of an older owner go with their last file */
function without(
  world: World,
  isGone: (session: Session, token: number, content: Content) => boolean,
  isMoved: boolean,
): World {
  return world.flatMap((session) => {
    const kept = [...session.files].filter(([token, content]) => !isGone(session, token, content));
    if (kept.length === session.files.size) return [session];
    if (isMoved && session.isOld && kept.length === 0) return [];
    return [{ ...session, files: new Map(kept) }];
  });
}

/** Sessions of one name in their order; files in any. */
function shapeOf(sessions: readonly { readonly name: string; readonly tokens: readonly number[] }[]): string {
  const names = [...new Set(sessions.map(({ name }) => name))].sort();
  return names
    .map((name) => {
      const layers = sessions.filter((each) => each.name === name);
      return `${name}: ${layers.map(({ tokens }) => `{${tokens.toSorted((a, b) => a - b).join(' ')}}`).join(' < ')}`;
    })
    .join('; ');
}

function shapeOfWorld(world: World): string {
  return shapeOf(world.map(({ name, files }) => ({ name, tokens: [...files.keys()] })));
}
