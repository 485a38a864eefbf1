/**
 * `using`, also where the language does not have it yet. Neither the name `Disposable` nor
 * `Symbol.dispose` may stand in a declaration: they are unknown to a program that is checked
 * against an older library of types.
 */

/** `typeof Symbol.dispose` where the program's library of types has it, and `never` elsewhere. */
export type DisposeSymbol = typeof Symbol extends { readonly dispose: infer S extends symbol } ? S : never;

/**
 * What `using` lets go of: the same as `Disposable`, and nothing where the program's library of
 * types has no `Symbol.dispose`.
 */
export type Disposing = { readonly [S in DisposeSymbol]: () => void };

/**
 * The name of the method that `using` calls: `Symbol.dispose`, and where the engine has none
 * (Safari, a context of `node:vm`) the symbol that compiled code looks for there.
 */
export const DISPOSE: DisposeSymbol =
  (Symbol as { readonly dispose?: DisposeSymbol }).dispose ?? (Symbol.for('Symbol.dispose') as DisposeSymbol);
