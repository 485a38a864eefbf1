/** The seed of a random test: printed, and given by LIVEUPDATE_SEED to see a failure again. */
export function testSeed(): number {
  const seed = Number(process.env.LIVEUPDATE_SEED ?? 1 + Math.floor(Math.random() * (2 ** 31 - 2)));
  console.log(`LIVEUPDATE_SEED=${seed}`);
  return seed;
}
