/**
 * Mutants: changes to the source that break a promise about what is left after a death. A plugin
 * makes one of them as the module is loaded; scripts/check/mutants.ts expects tests to fail.
 */

/** Environment variable with the name of the mutant to load. */
export const MUTANT = 'LIVEUPDATE_MUTANT';

interface Mutant {
  /** Path of the file, as it ends. */
  readonly file: string;
  /** Text that is in it once, and what stands there instead. */
  readonly from: string;
  readonly to: string;
  /** Words in the paths of the tests that find it. */
  readonly tests: readonly string[];
}

const KEXEC = ['packages/kexec/src/prefixes.stores.ts'];
const MAP = ['packages/map/src/prefixes.stores.ts'];

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  'a node of the map is linked before what is below it': {
    file: 'packages/kho/src/radix-tree.ts',
    from: `    for (let i = 1; i < made.length; i++) {
      this.#table(pfnToPhys(made[i]))[tableIndex(leaf, i)] = BigInt(pfnToPhys(made[i - 1]));
    }
    const slot = tableIndex(leaf, level);
    table[slot] = BigInt(pfnToPhys(made[made.length - 1]));`,
    to: `    const slot = tableIndex(leaf, level);
    table[slot] = BigInt(pfnToPhys(made[made.length - 1]));
    this.#pages.folioWindow(made[0]).fill(0xff);
    for (let i = 1; i < made.length; i++) {
      this.#table(pfnToPhys(made[i]))[tableIndex(leaf, i)] = BigInt(pfnToPhys(made[i - 1]));
    }
    this.#pages.folioWindow(made[0]).fill(0);`,
    tests: ['packages/kho/src/prefixes.stores.ts'],
  },
  'the LUO record leads to sessions before they are written': {
    file: 'packages/luo-core/src/reboot.ts',
    from: `    const sessions = [...this.#init.sessions.values()];
    const carried = this.#carried;`,
    to: `    const sessions = [...this.#init.sessions.values()];
    record.setU64(LuoSer.sessions, blocks.pa);
    const carried = this.#carried;`,
    tests: ['packages/luo-core/src/prefixes.stores.ts'],
  },
  'the checksum of the boot page is not made invalid first': {
    file: 'packages/kexec/src/boot-page.ts',
    from: '  target.setU32(BootPageSer.checksum, 0);\n',
    to: '',
    tests: KEXEC,
  },
  'what led here is freed before the boot page says that this generation runs': {
    file: 'packages/kexec/src/tenure.ts',
    from: `    writeBootPage(ram, running);
    kernel.pages.releaseHeld();
    kernel.commit();`,
    to: `    kernel.pages.releaseHeld();
    kernel.commit();
    writeBootPage(ram, running);`,
    tests: KEXEC,
  },
  'what a handover says counts is not in the record before its page is written over': {
    file: 'packages/kexec/src/tenure.ts',
    from: '    kernel.kho.publication?.settle(); // while the page of the handover says which change counts\n',
    to: '',
    tests: KEXEC,
  },
  'memory is given back while nobody would doubt that it is there': {
    file: 'packages/mm/src/residency.ts',
    from: `    this.#doubt(pfn, count);
    this.#unmark(pfn, count);`,
    to: '    this.#unmark(pfn, count);',
    tests: ['packages/kexec/src/residency.stores.ts'],
  },
  'the next kernel trusts what it finds of residency while it changes it': {
    file: 'packages/kho/src/boot.ts',
    from: `  if (typeof live === 'object') beginResidency(pages, live.pa);
`,
    to: `  if (typeof live === 'object') beginResidency(pages, live.pa);
  if (typeof live === 'object') residency.trust();
`,
    tests: ['packages/kexec/src/residency.stores.ts'],
  },
  'what the last owner doubted is forgotten before nothing is trusted': {
    file: 'packages/mm/src/residency.ts',
    from: `    words[UNSURE] = this.#record[UNSURE] + 1;
    words[DOUBT_COUNT] = 0;`,
    to: `    words[DOUBT_COUNT] = 0;
    words[UNSURE] = this.#record[UNSURE] + 1;`,
    tests: ['packages/kexec/src/residency.stores.ts'],
  },
  'a chunk of residency is trusted before its bits are recorded': {
    file: 'packages/mm/src/residency.ts',
    from: `    words.set(bits);
    this.#chunks[number] = words;`,
    to: `    this.#record[UNSURE] -= 1;
    words.set(bits);
    this.#record[UNSURE] += 1;
    this.#chunks[number] = words;`,
    tests: ['packages/mm/src/residency.stores.ts'],
  },
  'a file has its old data again for a moment after it got new data': {
    file: 'packages/luo-core/src/live-sessions.ts',
    from: '    if (isRenewed(words[at + STATE], published)) {',
    to: `    const isNew = isRenewed(words[at + STATE], published);
    words[at + STATE] = stateOf(words[at + STATE], published);
    if (isNew) {`,
    tests: ['packages/kexec/src/renewed.stores.ts'],
  },
  'a change is published before its keys are in the log': {
    file: 'packages/kho/src/publication.ts',
    from: `    const isLogged = this.#logOrApply(added, gone, next);
    Atomics.store(this.#word, PUBLISHED, next);`,
    to: `    Atomics.store(this.#word, PUBLISHED, next);
    const isLogged = this.#logOrApply(added, gone, next);`,
    tests: KEXEC,
  },
  'keys come into the map before the change is published': {
    file: 'packages/kho/src/publication.ts',
    from: `    Atomics.store(this.#word, PUBLISHED, next);
    this.#published = next;
    this.#apply(added, true);
    this.#apply(gone, false);`,
    to: `    this.#apply(added, true);
    this.#apply(gone, false);
    Atomics.store(this.#word, PUBLISHED, next);
    this.#published = next;`,
    tests: KEXEC,
  },
  'the log says that it counts before it is written': {
    file: 'packages/kho/src/live-log.ts',
    from: `    this.#writeRows(0, added, 0);
    this.#writeRows(added.length, gone, LOG_REMOVE);
    this.#header[ROWS] = added.length + gone.length;
    this.#header[CHANGE] = change;`,
    to: `    this.#header[LiveHeaderSer.published.at / 4] = change;
    this.#header[CHANGE] = change;
    this.#header[ROWS] = added.length + gone.length;
    this.#writeRows(0, added, 0);
    this.#writeRows(added.length, gone, LOG_REMOVE);`,
    tests: KEXEC,
  },
  'a slot counts as soon as it is written': {
    file: 'packages/luo-core/src/live-sessions.ts',
    from: '    words[at + STATE] = coming(this.#publication.next);\n    this.#marked[',
    to: '    words[at + STATE] = 1;\n    this.#marked[',
    tests: KEXEC,
  },
  'a slot is free as soon as its file is taken back': {
    file: 'packages/luo-core/src/live-sessions.ts',
    from: '      words[at + STATE] = going(this.#publication.next);',
    to: '      words[at + STATE] = FREE;',
    tests: KEXEC,
  },
  'marks that a kernel which died left are not taken for what they mean': {
    file: 'packages/luo-core/src/live-sessions.ts',
    from: '    if (word !== state) this.#settle(slot, published);\n',
    to: '',
    tests: ['packages/kexec/src/prefixes'],
  },
  'what is taken back is used again before that is published': {
    file: 'packages/kho/src/publication.ts',
    from: '    this.#resume ??= this.#pages.pauseFreeing();\n',
    to: '',
    tests: ['packages/kexec/src/publication.test.ts'],
  },
  'memory of a file that came is used again before it is finished': {
    file: 'packages/kho/src/publication.ts',
    from: '      pages.keep(pfn, count * 2 ** order);\n',
    to: '',
    tests: KEXEC,
  },
  'keys of a file that came and was preserved again go with its old record': {
    file: 'packages/kho/src/unpreserved.ts',
    from: 'if (preserved > 0) {',
    to: 'if (preserved > 0 && pfn < 0) {',
    tests: KEXEC,
  },
  'a file that came and was preserved again is found twice': {
    file: 'packages/luo-core/src/outgoing-session.ts',
    from: '    live.drop(arrival.leave());\n',
    to: '',
    tests: KEXEC,
  },
  'what was logged and not carried out is forgotten': {
    file: 'packages/kho/src/read-live-record.ts',
    from: 'if (header.getU32(LiveHeaderSer.logged) !== published) return [];',
    to: 'if (published > 0) return [];',
    tests: KEXEC,
  },
  'what was logged and not carried out is read, and never carried out': {
    file: 'packages/kho/src/publication.ts',
    from: `      this.#apply(rows, !isRemoved);
`,
    to: '',
    tests: KEXEC,
  },
  'descriptors stay open for the next program after an exec that failed': {
    file: 'packages/linux/src/process.ts',
    from: '    for (const fd of changed) setClosesOnExec(fd, true);\n',
    to: '',
    tests: ['packages/linux/src/process.test.ts'],
  },
  'a next generation that has not committed uses memory that it was not lent': {
    file: 'packages/kho/src/boot.ts',
    from: 'new PageAllocator(ram, table, confinedTo)',
    to: 'new PageAllocator(ram, table)',
    tests: ['packages/kexec/src/standby.stores.ts'],
  },
  'what was lent is taken back with what the next generation stored in it': {
    file: 'packages/kexec/src/tenure.ts',
    from: '    for (let i = 0; i < rows.length; i++) pages.residency.giveBack(rows.pfns[i], rows.counts[i]);\n',
    to: '',
    tests: ['packages/kexec/src/standby.test.ts'],
  },
  'what is known of memory that was lent counts before it is taken back': {
    file: 'packages/kexec/src/tenure.ts',
    from: `    for (let i = 0; i < rows.length; i++) pages.residency.giveBack(rows.pfns[i], rows.counts[i]);
    kho.publication?.resume(); // what the record says of memory is right only now
`,
    to: `    kho.publication?.resume();
    for (let i = 0; i < rows.length; i++) pages.residency.giveBack(rows.pfns[i], rows.counts[i]);
`,
    tests: ['packages/kexec/src/residency.stores.ts'],
  },
  'one that waits for the next generation goes on writing to the live record': {
    file: 'packages/kexec/src/tenure.ts',
    from: '    kho.publication?.suspend();\n',
    to: '',
    tests: ['packages/kexec/src/standby'],
  },
  'what the owner left in free memory counts as zeros for the next generation': {
    file: 'packages/kho/src/boot.ts',
    from: '    residency.markFreeStale(); // what is not there reads as zeros\n',
    to: '',
    tests: ['packages/kexec/src/standby.test.ts'],
  },
  'a word of a map changes before the journal has what was in it': {
    file: 'packages/map/src/memory.ts',
    from: `    this.#note(words, at, old);
    words[at] = value;`,
    to: `    words[at] = value;
    this.#note(words, at, old);`,
    tests: MAP,
  },
  'the journal counts a row of a map before it is there': {
    file: 'packages/map/src/memory.ts',
    from: `    const row = JOURNAL_ROWS + 2 * count;
    words[row] = at;`,
    to: `    const row = JOURNAL_ROWS + 2 * count;
    words[JOURNAL_COUNT] = count + 1;
    words[row] = at;`,
    tests: MAP,
  },
  'the links of a free block are not kept when it is taken': {
    file: 'packages/map/src/heap.ts',
    from: '  memory.keep(at + FREE_NEXT);\n',
    to: '',
    tests: MAP,
  },
  'a block of a map is freed before its place in the list is kept': {
    file: 'packages/map/src/heap.ts',
    from: '  link(memory, from, units, true);',
    to: '  link(memory, from, units, false);',
    tests: MAP,
  },
  'a map that is made anew does not say so': {
    file: 'packages/map/src/format.ts',
    from: '  Atomics.store(words, Header.isClearing, 1);\n',
    to: '',
    tests: MAP,
  },
  'a map counts as made before it is': {
    file: 'packages/map/src/format.ts',
    from: `  makeEmpty(memory);
  Atomics.store(words, Header.magic, MAGIC_LOW);`,
    to: `  Atomics.store(words, Header.magic, MAGIC_LOW);
  makeEmpty(memory);`,
    tests: MAP,
  },
  'a thread that reads a map does not look whether the bucket changed': {
    file: 'packages/map/src/reader.ts',
    from: 'Atomics.load(words, this.#bucket) === this.#version && ',
    to: '',
    tests: ['packages/map/src/readers.test.ts'],
  },
};

/** The plugin, as Vite wants it: nothing where no mutant is named. */
export function makeMutant(name = process.env[MUTANT]) {
  const mutant = name === undefined ? undefined : MUTANTS[name];
  return {
    name: 'mutant',
    enforce: 'pre' as const,
    transform(code: string, id: string): { code: string; map: null } | undefined {
      if (!mutant || !id.endsWith(mutant.file)) return undefined;
      if (code.split(mutant.from).length !== 2) {
        console.error(`MUTANT NOT APPLIED: ${mutant.file} has not this once: ${mutant.from}`);
        throw new Error('the mutant does not fit its source any more');
      }
      return { code: code.replace(mutant.from, () => mutant.to), map: null };
    },
  };
}
