/**
 * Which files of Redis' own tests are run, and which tests of them are not, with the reason.
 */

export const FILES = [
  'unit/type/string',
  'unit/type/incr',
  'unit/expire',
  'unit/keyspace',
  'unit/scan',
  'unit/multi',
  'unit/other',
  'unit/protocol',
  'unit/quit',
] as const;

/** By what Redis' tests say themselves that they need. */
export const TAGS: Readonly<Record<string, string>> = {
  'needs:debug': 'DEBUG looks into the server of Redis',
  'needs:repl': 'there are no replicas',
  'needs:save': 'nothing is saved: memory stays',
  'needs:config-maxmemory': 'the size is given at the start',
};

export const SKIPS: readonly { readonly reason: string; readonly tests: readonly string[] }[] = [
  {
    reason: 'lists, sets, hashes, sorted sets and streams are none of the commands of this cache',
    tests: [
      'MGET against non-string key',
      'SETBIT against key with wrong type',
      'SETRANGE against key with wrong type',
      'Extended SET GET with incorrect type should result in wrong type error',
      'INCR fails against a key holding a list',
      'INCRBYFLOAT fails against a key holding a list',
      'EXPIRE - write on expire should work',
      '/^[SHZ]SCAN ',
      'SCAN regression test for issue #4906',
      '/^COPY basic usage for (list|intset|hashtable|skiplist|stream)',
      'MULTI / EXEC basics',
      'DISCARD',
      'MULTI where commands alter argc/argv',
      'EXEC fail on WATCHed key modified by SORT with STORE even if the result is empty',
      'Blocking commands ignores the timeout',
      '/^raw protocol response',
      'Regression for a crash with blocking ops and pipelining',
    ],
  },
  {
    reason: 'there is no tracking, no MONITOR, no publishing, and one user',
    tests: [
      'RESET clears client state',
      'RESET clears MONITOR state',
      'RESET clears Pub/Sub state',
      'RESET clears authenticated state',
    ],
  },
  { reason: 'LCS is none of the commands of this cache', tests: ['/^LCS '] },
  { reason: 'there are no scripts', tests: ['/script timeout$'] },
  { reason: 'nothing is saved, and a supervisor ends it', tests: ['MULTI with SAVE', 'MULTI with SHUTDOWN'] },
  {
    reason: 'how Redis keeps a value inside: OBJECT ENCODING tells it by the value alone',
    tests: ['SETRANGE against integer-encoded key'],
  },
];
