/**
 * A plugin for Vitest that makes stores to typed arrays visible: nothing else can, for a typed
 * array calls nobody. In every module of the packages, `array[index] = value` and its like become
 * calls of `globalThis.storeRecorder` (packages/mm/src/test-stores.ts) while there is one. All
 * other ways of writing memory are methods, which the recorder replaces itself.
 */
import ts from 'typescript';

const { factory } = ts;

/** Operators of `array[index] op= value`, and what they do. */
const OPERATORS: ReadonlyMap<ts.SyntaxKind, ts.BinaryOperator> = new Map<ts.SyntaxKind, ts.BinaryOperator>([
  [ts.SyntaxKind.PlusEqualsToken, ts.SyntaxKind.PlusToken],
  [ts.SyntaxKind.MinusEqualsToken, ts.SyntaxKind.MinusToken],
  [ts.SyntaxKind.AmpersandEqualsToken, ts.SyntaxKind.AmpersandToken],
  [ts.SyntaxKind.BarEqualsToken, ts.SyntaxKind.BarToken],
  [ts.SyntaxKind.CaretEqualsToken, ts.SyntaxKind.CaretToken],
  [ts.SyntaxKind.LessThanLessThanEqualsToken, ts.SyntaxKind.LessThanLessThanToken],
  [
    ts.SyntaxKind.GreaterThanGreaterThanGreaterThanEqualsToken,
    ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken,
  ],
]);

/** Most code runs while nothing is recorded: it stays as it was, but for a look. */
function call(
  method: 'assign' | 'update',
  args: readonly ts.Expression[],
  otherwise: ts.Expression,
): ts.Expression {
  const recorder = factory.createPropertyAccessExpression(
    factory.createIdentifier('globalThis'),
    'storeRecorder',
  );
  const recorded = factory.createCallExpression(
    factory.createPropertyAccessExpression(recorder, method),
    undefined,
    args,
  );
  return factory.createParenthesizedExpression(
    factory.createConditionalExpression(
      recorder,
      undefined,
      recorded,
      undefined,
      factory.createParenthesizedExpression(otherwise),
    ),
  );
}

/** `(value) => value op by` */
function change(operator: ts.BinaryOperator, by: ts.Expression): ts.Expression {
  const value = factory.createUniqueName('value');
  return factory.createArrowFunction(
    undefined,
    undefined,
    [factory.createParameterDeclaration(undefined, undefined, value)],
    undefined,
    undefined,
    factory.createBinaryExpression(value, operator, by),
  );
}

function storesOf(context: ts.TransformationContext): ts.Transformer<ts.SourceFile> {
  const visit = (node: ts.Node): ts.Node => {
    const seen = ts.visitEachChild(node, visit, context);
    if (ts.isBinaryExpression(seen) && ts.isElementAccessExpression(seen.left)) {
      const { expression: array, argumentExpression: index } = seen.left;
      if (seen.operatorToken.kind === ts.SyntaxKind.EqualsToken)
        return call('assign', [array, index, seen.right], seen);
      const operator = OPERATORS.get(seen.operatorToken.kind);
      if (operator !== undefined) return call('update', [array, index, change(operator, seen.right)], seen);
    }
    const isStep = ts.isPostfixUnaryExpression(seen) || ts.isPrefixUnaryExpression(seen);
    if (isStep && ts.isElementAccessExpression(seen.operand)) {
      const { PlusPlusToken, MinusMinusToken, PlusToken, MinusToken } = ts.SyntaxKind;
      if (seen.operator !== PlusPlusToken && seen.operator !== MinusMinusToken) return seen;
      const operator = seen.operator === PlusPlusToken ? PlusToken : MinusToken;
      const { expression: array, argumentExpression: index } = seen.operand;
      return call('update', [array, index, change(operator, factory.createNumericLiteral(1))], seen);
    }
    return seen;
  };
  return (file) => ts.visitEachChild(file, visit, context);
}

/** The plugin, as Vite wants it. */
export function recordStores() {
  return {
    name: 'record-stores',
    enforce: 'pre' as const,
    transform(code: string, id: string): { code: string; map: string } | undefined {
      if (!/\/packages\/[^/]+\/src\/[^?]*\.ts$/.test(id) || /\/test-stores\.ts$/.test(id)) return undefined;
      const { outputText, sourceMapText } = ts.transpileModule(code, {
        fileName: id,
        compilerOptions: {
          target: ts.ScriptTarget.ES2023,
          module: ts.ModuleKind.ESNext,
          verbatimModuleSyntax: true,
          sourceMap: true,
        },
        transformers: { before: [storesOf] },
      });
      return { code: outputText, map: sourceMapText ?? '' };
    },
  };
}
