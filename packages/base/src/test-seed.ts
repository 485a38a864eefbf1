/** How random tests run: with a seed that is printed, and in fewer rounds where somebody waits. */
declare const process: { readonly env: Readonly<Record<string, string | undefined>> };
declare const console: { log(text: string): void };

/** LIVEUPDATE_SEED, else a fresh one. It is printed, so that a run can be repeated. */
export const seed = Number(process.env.LIVEUPDATE_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`LIVEUPDATE_SEED=${seed}`);

/** Fewer rounds: `npm test -- --quick`. */
export const isQuick = process.env.LIVEUPDATE_QUICK !== undefined;
