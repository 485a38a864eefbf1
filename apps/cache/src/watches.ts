/**
 * What clients watch between WATCH and EXEC.
 *
 * Always: who watches a key that was changed since knows, also where the change and the WATCH were
 * in different generations. Clients that came along are adopted one after the other, and the first
 * are served before the last are there: until then every change is remembered (`settled`).
 */

/** Who watches: is told when it was changed. */
export interface Watcher {
  isDirty: boolean;
}

/** One key of one client. */
interface Watched {
  readonly watcher: Watcher;
  /** Whether there was such a key: one that was there and is over by now has changed. */
  readonly wasThere: boolean;
}

type IsThere = (key: Uint8Array) => boolean;

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

export class Watches {
  readonly #byKey = new Map<string, Watched[]>();
  readonly #keysOf = new Map<Watcher, Set<string>>();
  /** What was changed since this generation serves; undefined: all clients are there. */
  #changes: Set<string> | undefined = new Set();
  #isCleared = false;

  /** All clients of the generation before have been adopted. */
  settled(): void {
    this.#changes = undefined;
  }

  watch(watcher: Watcher, key: Uint8Array, wasThere: boolean): void {
    const name = nameOf(key);
    const keys = this.#keysOf.get(watcher) ?? new Set();
    if (keys.has(name)) return;
    this.#keysOf.set(watcher, keys.add(name));
    const watched = this.#byKey.get(name) ?? [];
    this.#byKey.set(name, watched);
    watched.push({ watcher, wasThere });
  }

  /** As `watch`, for a client that began to in the generation before. */
  watchAgain(watcher: Watcher, key: Uint8Array, wasThere: boolean): void {
    this.watch(watcher, key, wasThere);
    if (this.#changes?.has(nameOf(key)) || (this.#isCleared && wasThere)) watcher.isDirty = true;
  }

  unwatch(watcher: Watcher): void {
    for (const name of this.#keysOf.get(watcher) ?? []) {
      const left = (this.#byKey.get(name) ?? []).filter((watched) => watched.watcher !== watcher);
      if (left.length > 0) this.#byKey.set(name, left);
      else this.#byKey.delete(name);
    }
    this.#keysOf.delete(watcher);
  }

  changed(key: Uint8Array): void {
    if (this.#byKey.size === 0 && !this.#changes) return; // as nearly always
    const name = nameOf(key);
    this.#changes?.add(name);
    for (const { watcher } of this.#byKey.get(name) ?? []) watcher.isDirty = true;
  }

  /** All keys go. Called while they are there. */
  cleared(isThere: IsThere): void {
    if (this.#changes) this.#isCleared = true;
    for (const [name, watched] of this.#byKey)
      if (isThere(Buffer.from(name, 'latin1'))) for (const { watcher } of watched) watcher.isDirty = true;
  }

  /** Whether a key that was there when it was watched is over by now. */
  hasExpired(watcher: Watcher, isThere: IsThere): boolean {
    return this.of(watcher).some(({ key, wasThere }) => wasThere && !isThere(key));
  }

  of(watcher: Watcher): { readonly key: Buffer; readonly wasThere: boolean }[] {
    return [...(this.#keysOf.get(watcher) ?? [])].map((name) => ({
      key: Buffer.from(name, 'latin1'),
      wasThere: this.#byKey.get(name)?.find((watched) => watched.watcher === watcher)?.wasThere ?? false,
    }));
  }
}
