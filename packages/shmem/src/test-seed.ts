/** How this package's random tests run. The seed of this package's random tests: LIVEUPDATE_SEED, else a fresh one. It is printed, so that a run can be repeated. */
declare const process: { readonly env: Readonly<Record<string, string | undefined>> };
declare const console: { log(text: string): void };

export const seed = Number(process.env.LIVEUPDATE_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`LIVEUPDATE_SEED=${seed}`);

/** Fewer rounds: `npm test -- --quick`. */
export const isQuick = process.env.LIVEUPDATE_QUICK !== undefined;
