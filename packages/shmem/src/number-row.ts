/**
 * A number for each of some places, 0 where there is none. While those that are there are one row,
 * in step (memory in one piece), they are described by its ends; else there is an array.
 */
export class NumberRow {
  readonly #length: number;
  /** By how much the numbers of two places in a row differ. */
  readonly #step: number;
  #numbers: Uint32Array | undefined;
  /** The row: its first place, the number of that, and the place behind it. */
  #from = 0;
  #first = 0;
  #to = 0;
  #count = 0;

  constructor(length: number, step: number) {
    this.#length = length;
    this.#step = step;
  }

  /** Places that have a number. */
  get count(): number {
    return this.#count;
  }

  get(place: number): number {
    if (this.#numbers) return this.#numbers[place];
    return place >= this.#from && place < this.#to ? this.#first + (place - this.#from) * this.#step : 0;
  }

  /** Gives a place that has a number another one. */
  replace(place: number, number: number): void {
    this.#open()[place] = number;
  }

  /**
   * Gives places [from, to), as far as they have none, numbers in step from `number` on. The first
   * that has one, or `to`.
   */
  fill(from: number, to: number, number: number): number {
    const isFirst = this.#count === 0;
    if (!this.#numbers && (isFirst || (from === this.#to && number === this.#next))) {
      if (isFirst) {
        this.#from = from;
        this.#first = number;
      }
      this.#to = to;
      this.#count += to - from;
      return to;
    }
    const numbers = this.#open();
    let place = from;
    for (let next = number; place < to && numbers[place] === 0; place++, next += this.#step)
      numbers[place] = next;
    this.#count += place - from;
    return place;
  }

  /** Takes the numbers of places [from, to) away, where they have one. */
  clear(from: number, to: number): void {
    if (!this.#numbers) {
      const first = Math.max(from, this.#from);
      if (first >= Math.min(to, this.#to)) return;
      if (to >= this.#to) {
        this.#count -= this.#to - first;
        this.#to = first;
        return;
      }
    }
    const numbers = this.#open();
    for (let place = from; place < to; place++) {
      if (numbers[place] === 0) continue;
      numbers[place] = 0;
      this.#count -= 1;
    }
  }

  /**
   * The first place of [from, to) that does not go on what the numbers from `number` on, in step,
   * begin; 0: that has a number. `to` where all do.
   */
  runEnd(from: number, to: number, number: number): number {
    const numbers = this.#numbers;
    if (!numbers) {
      if (number === 0) return Math.min(to, this.nextThere(from));
      return this.get(from) === number ? Math.min(to, this.#to) : from;
    }
    const step = number === 0 ? 0 : this.#step;
    let place = from;
    for (let next = number; place < to && numbers[place] === next; place++) next += step;
    return place;
  }

  /**
   * The first place from this one on that has a number; the number of places where there is none.
   */
  nextThere(from: number): number {
    const numbers = this.#numbers;
    if (!numbers) return from < this.#to ? Math.max(from, this.#from) : this.#length;
    let place = from;
    while (place < this.#length && numbers[place] === 0) place += 1;
    return place;
  }

  /** The number that would go on the row. */
  get #next(): number {
    return this.#first + (this.#to - this.#from) * this.#step;
  }

  #open(): Uint32Array {
    if (this.#numbers) return this.#numbers;
    const numbers = new Uint32Array(this.#length);
    for (let place = this.#from, next = this.#first; place < this.#to; place++, next += this.#step)
      numbers[place] = next;
    this.#numbers = numbers;
    return numbers;
  }
}
