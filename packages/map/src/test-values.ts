/** Values that tell whether they are whole, and whose they are. */
export function valueOf(key: string, number: number, length: number): string {
  return `${key}:${number}:`.padEnd(length, String(number % 10)) + `:${number}`;
}

export function isValueOf(key: string, value: string): boolean {
  const [, name, first, filled, last] = /^(.*?):(\d+):(\d*):(\d+)$/.exec(value) ?? [];
  if (name !== key || first !== last) return false;
  return filled === String(Number(first) % 10).repeat(filled.length);
}
