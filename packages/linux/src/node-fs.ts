/**
 * node:fs without the facade that `import` makes for it: that reads every property of the module,
 * among them getters which load streams and promises, and a process that was just replaced would be
 * away 6 ms longer.
 */
export const fs = process.getBuiltinModule('node:fs');
