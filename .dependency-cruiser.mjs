/**
 * No circles between files of a package. An import of a type counts as any other: files that know
 * of each other are one file to who reads them, whatever the compiler leaves of the import.
 */

export default {
  forbidden: [
    {
      name: 'no-circles',
      comment: 'Move what both files need, often one type, into a file of its own.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
  ],
  options: {
    includeOnly: '^((packages|apps)/[^/]+/src|scripts)/',
    // Before the compiler drops them, imports of types are there to be seen.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
  },
};
