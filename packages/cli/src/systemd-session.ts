/**
 * systemd, since version 261, keeps the file descriptors of its services in a session named
 * `systemd`. Token 0 is a memfd with a map in JSON: which token is which unit's, and what the unit
 * calls it. Two shapes of it have been written: units at the top, and below `units`, each with an
 * `fdstore`.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import type { FileContent } from './file-content.ts';

export const SYSTEMD_SESSION = 'systemd';
export const SYSTEMD_MAP_TOKEN = 0n;
/** A map is a few lines a unit. */
const MAX_MAP = 2 ** 20;
/** Names of units and of descriptors have no more characters. */
const MAX_NAME = 255;

/** Whose a token is. */
export interface SystemdName {
  readonly unit: string;
  /** What the unit calls the descriptor. */
  readonly name: string;
}

export interface SystemdMap {
  readonly tokens: ReadonlyMap<bigint, SystemdName>;
  /** Sessions that units made themselves, by the session's name. */
  readonly sessions: ReadonlyMap<string, SystemdName>;
}

type Json = Record<string, unknown>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  return isObject(value) && Array.isArray(value.fdstore) ? (value.fdstore as unknown[]) : [];
}

function asToken(value: unknown): bigint | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? BigInt(value) : undefined;
}

function nameOf(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, MAX_NAME) : '';
}

/** The map in some text; undefined where it is none. */
export function readSystemdMap(text: string): SystemdMap | undefined {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(root)) return undefined;
  const units = isObject(root.units) ? root.units : root;
  const tokens = new Map<bigint, SystemdName>();
  const sessions = new Map<string, SystemdName>();
  for (const [unit, entry] of Object.entries(units)) {
    for (const each of listOf(entry)) {
      if (!isObject(each)) continue;
      const name = { unit: unit.slice(0, MAX_NAME), name: nameOf(each.name) };
      const token = asToken(each.token ?? each.fd_index);
      const session = each.sessionName ?? each.session_name;
      if (typeof session === 'string') sessions.set(session, name);
      else if (token !== undefined) tokens.set(token, name);
    }
  }
  return tokens.size + sessions.size > 0 ? { tokens, sessions } : undefined;
}

/** The map in a file; undefined where it is none. */
export function systemdMapIn({ ram, size, folios, orders }: FileContent): SystemdMap | undefined {
  if (size === 0 || size > MAX_MAP) return undefined;
  const bytes = new Uint8Array(size);
  for (let i = 0; i < orders.length; i++) {
    const at = folios.indices[i] * PAGE_SIZE;
    if (at >= size) break;
    bytes.set(ram.bytes(folios.pfns[i] * PAGE_SIZE, Math.min(PAGE_SIZE * 2 ** orders[i], size - at)), at);
  }
  const end = bytes.indexOf(0);
  return readSystemdMap(new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end)));
}
