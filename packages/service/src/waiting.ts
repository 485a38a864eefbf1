/** Waiting for what may not come. */

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Undefined where `good` comes first; else why it does not. */
export async function first(
  good: Promise<unknown>,
  bad: Promise<string>,
  limit: number,
  late: string,
): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<string>((resolve) => {
    timer = setTimeout(() => {
      resolve(`${late} after ${limit} ms`);
    }, limit);
  });
  try {
    return await Promise.race([good.then(() => undefined), bad, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for it; does `late` where that takes longer than so many milliseconds. */
export async function within(work: Promise<unknown>, limit: number, late: () => void): Promise<void> {
  const timer = setTimeout(late, limit);
  await work;
  clearTimeout(timer);
}
