/**
 * No circles between files of a package. An import of a type counts as any other: files that know of
 * each other are one file to who reads them, whatever the compiler leaves of the import.
 */

/** Files whose circles are older than the rule. None is added; a file leaves the list when it is mended. */
const OLDER = [
  'packages/kexec/src/machine.ts',
  'packages/luo-core/src/handler.ts',
  'packages/luo-core/src/registry.ts',
  'packages/shmem/src/shmem.ts',
];

export default {
  forbidden: [
    {
      name: 'no-circles',
      comment: 'Move what both files need, often one type, into a file of its own.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { pathNot: OLDER.join('|') } },
    },
  ],
  options: {
    includeOnly: '^((packages|apps)/[^/]+/src|scripts)/',
    // Before the compiler drops them, imports of types are there to be seen.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
  },
};
