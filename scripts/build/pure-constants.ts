/**
 * Tells bundlers that the constants of our modules are values and nothing else. `sideEffects:
 * false` lets a bundler leave a whole file out, and a package is one file: what it may leave out of
 * that is decided constant by constant, and a call, a read of a property or an addition of what
 * another module exports could do anything, for all it knows.
 *
 * The annotations are made while a package is built, so that no source has to be full of them, and
 * none can be forgotten.
 */

import { readFileSync } from 'node:fs';
import type { Plugin } from 'esbuild';
import ts from 'typescript';

const PURE = '/* @__PURE__ */ ';

/** Marks the constants of each module of a package that is built. */
export function pureConstants(): Plugin {
  return {
    name: 'pure-constants',
    setup(build) {
      build.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => ({
        contents: markConstants(readFileSync(path, 'utf8')),
        loader: 'ts',
      }));
    },
  };
}

/** A module with a mark at each constant of it that a bundler could not see through. */
export function markConstants(code: string): string {
  const file = ts.createSourceFile('module.ts', code, ts.ScriptTarget.Latest);
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
