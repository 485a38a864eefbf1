import { expect, test } from 'vitest';
import { markConstants, withoutComments } from './prepare-sources.ts';

const PURE = '/* @__PURE__ */';

test.each([
  ['a literal', 'const A = 1;', 'const A = 1;'],
  ['a negative number', 'const A = -1;', 'const A = -1;'],
  ['what is exported', 'export const A = B;', 'export const A = B;'],
  ['a record of values', "const A = { a: 1, b: ['x', c], d };", "const A = { a: 1, b: ['x', c], d };"],
  ['a function', 'const f = () => g();', 'const f = () => g();'],
  ['a variable', 'let a = f();', 'let a = f();'],
  ['a call inside of a function', 'function f() { const A = g(); }', 'function f() { const A = g(); }'],
])('%s stays as it is', (_, code, marked) => {
  expect(markConstants(code)).toBe(marked);
});

test.each([
  ['a call', "const A = layout('a', 8, { at: 0 });", `const A = ${PURE} layout('a', 8, { at: 0 });`],
  ['a new object', 'export const A = new Map();', `export const A = ${PURE} new Map();`],
  ['what is asked of others', 'const A = f(B / 2);', `const A = ${PURE} (() => (f(B / 2)))();`],
  ['a method', 'const A = B.c();', `const A = ${PURE} (() => (B.c()))();`],
  ['arithmetic', 'const A = B - 1, C = 2;', `const A = ${PURE} (() => (B - 1))(), C = 2;`],
  ['a property', 'const A: number = B.SIZE;', `const A: number = ${PURE} (() => (B.SIZE))();`],
  ['a spread', 'const A = { ...B };', `const A = ${PURE} (() => ({ ...B }))();`],
  ['a computed name', 'const A = { [B]: 1 };', `const A = ${PURE} (() => ({ [B]: 1 }))();`],
])('%s is marked', (_, code, marked) => {
  expect(markConstants(code)).toBe(marked);
});

test('lines stay where they were, for source maps', () => {
  const code = 'const A = f({\n  a: B.c,\n});\nexport const D = 1;\n';
  expect(markConstants(code).split('\n')).toHaveLength(code.split('\n').length);
});

test.each([
  ['at the top', '/** What it is. */\nf();\n', '\nf();\n'],
  ['behind a statement', 'f(); // why\ng();', 'f();\ng();'],
  ['at the end', 'f();\n// the end\n', 'f();\n\n'],
  [
    'of a member',
    'class A {\n  /**\n   * Bytes.\n   */\n  readonly b = 1;\n}',
    'class A {\n\n\n\n  readonly b = 1;\n}',
  ],
  ['between words', 'f(/* why */ a, b /* c */);', 'f( a, b );'],
  [
    'that only looks like one',
    "const a = 'http://b' + `/*${c}*/` + d / e / f;",
    "const a = 'http://b' + `/*${c}*/` + d / e / f;",
  ],
  ['in a pattern', 'const a = /\\/\\*[/*]/.test(b);', 'const a = /\\/\\*[/*]/.test(b);'],
])('a comment %s', (_, code, without) => {
  expect(withoutComments(code)).toBe(without);
});
