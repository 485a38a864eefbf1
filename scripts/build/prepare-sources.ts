/**
 * What is done to each source of a package before it is bundled, so that no source has to be full
 * of it, and none can be forgotten.
 *
 * Bundlers are told that the constants of our modules are values and nothing else. `sideEffects:
 * false` lets them leave a whole file out, and a package is one file: what they may leave out of
 * that is decided constant by constant, and a call, a read of a property or an addition of what
 * another module exports could do anything, for all they know.
 *
 * Comments go: they would be shipped three times, in the code, in its source map and in the
 * declarations, where they are read.
 */

import { readFileSync } from 'node:fs';
import type { Plugin } from 'esbuild';
import ts from 'typescript';

const PURE = '/* @__PURE__ */ ';

/** Marks the constants of each module of a package that is built. */
export function prepareSources(): Plugin {
  return {
    name: 'prepare-sources',
    setup(build) {
      build.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => ({
        contents: markConstants(withoutComments(readFileSync(path, 'utf8'))),
        loader: 'ts',
      }));
    },
  };
}

/** A module with a mark at each constant of it that a bundler could not see through. */
export function markConstants(code: string): string {
  const file = parse(code);
  let marked = '';
  let done = 0;
  const insert = (at: number, text: string) => {
    marked += code.slice(done, at) + text;
    done = at;
  };
  for (const { initializer } of file.statements.flatMap(constantsOf)) {
    if (!initializer || isPlain(initializer)) continue;
    const [start, end] = [initializer.getStart(file), initializer.end];
    if (isCallOfPlain(initializer)) {
      insert(start, PURE);
    } else {
      insert(start, `${PURE}(() => (`);
      insert(end, '))()');
    }
  }
  return marked + code.slice(done);
}

/** A module without its comments, each line where it was. */
export function withoutComments(code: string): string {
  const file = parse(code);
  let kept = '';
  const add = (node: ts.Node): void => {
    const tokens = node.getChildren(file).filter(({ kind }) => kind !== ts.SyntaxKind.JSDoc);
    if (tokens.length > 0) {
      for (const token of tokens) add(token);
      return;
    }
    const start = node.getStart(file, false);
    kept += withoutText(code.slice(node.pos, start)) + code.slice(start, node.end);
  };
  add(file);
  return kept;
}

/** Blanks and comments: the blanks in front of what follows, and all ends of lines. */
function withoutText(trivia: string): string {
  if (!trivia.includes('/')) return trivia;
  const lines = trivia.split('\n');
  const last = lines.at(-1) ?? '';
  return '\n'.repeat(lines.length - 1) + (last.trim() === '' ? last : ' ');
}

const parse = (code: string) => ts.createSourceFile('module.ts', code, ts.ScriptTarget.Latest);

function constantsOf(statement: ts.Statement): readonly ts.VariableDeclaration[] {
  if (!ts.isVariableStatement(statement)) return [];
  const { declarationList } = statement;
  return declarationList.flags & ts.NodeFlags.Const ? declarationList.declarations : [];
}

/** A call that does nothing unless it is made: its arguments are values. */
function isCallOfPlain(node: ts.Expression): boolean {
  return (
    (ts.isCallExpression(node) || ts.isNewExpression(node)) &&
    ts.isIdentifier(node.expression) &&
    (node.arguments ?? []).every(isPlain)
  );
}

/** What every bundler knows to be a value. */
function isPlain(node: ts.Expression): boolean {
  if (ts.isAsExpression(node) || ts.isSatisfiesExpression(node) || ts.isParenthesizedExpression(node))
    return isPlain(node.expression);
  if (ts.isPrefixUnaryExpression(node)) return ts.isNumericLiteral(node.operand);
  if (ts.isArrayLiteralExpression(node)) return node.elements.every(isPlain);
  if (ts.isObjectLiteralExpression(node)) return node.properties.every(isPlainProperty);
  return (
    ts.isLiteralExpression(node) ||
    ts.isIdentifier(node) ||
    ts.isArrowFunction(node) ||
    ts.isFunctionExpression(node) ||
    node.kind === ts.SyntaxKind.TrueKeyword ||
    node.kind === ts.SyntaxKind.FalseKeyword ||
    node.kind === ts.SyntaxKind.NullKeyword
  );
}

function isPlainProperty(node: ts.ObjectLiteralElementLike): boolean {
  if (ts.isShorthandPropertyAssignment(node) || ts.isMethodDeclaration(node)) return true;
  return ts.isPropertyAssignment(node) && !ts.isComputedPropertyName(node.name) && isPlain(node.initializer);
}
