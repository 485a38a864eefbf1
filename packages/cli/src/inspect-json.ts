/**
 * An inspection as JSON. Tokens are strings, since they have 64 bits; addresses and sizes are
 * numbers of bytes.
 */
import type { FlbRecord } from '@liveupdate/luo-core';
import type { InspectedFile, Inspection } from './inspection.ts';
import { isMadeUp } from './scanned.ts';
import { STATE_OF } from './ram-state.ts';

/** A whole number, as text where a JSON number would not be exact. */
function exact(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function fileJson({ token, compatible, data, memfd, damage, systemd, taken }: InspectedFile): object {
  if (!memfd) return { token: token.toString(), compatible, data: hex(data), damage, systemd };
  return {
    token: token.toString(),
    compatible,
    ...memfd,
    systemd,
    taken,
    folioOrders: Object.fromEntries(memfd.folioOrders),
  };
}

function flbJson({ name, data, count }: FlbRecord): object {
  return { name, data: hex(data), count: exact(count) };
}

/** Only of a RAM file: how it was found. */
function ramJson({ image }: Inspection): object {
  const { page, owner } = image;
  if (!page) return {};
  const { generation, ownerPid: pid, ended, endedAt } = page;
  const end = owner === 'died' ? { end: ended ?? 'unknown', ...(endedAt > 0 && { at: endedAt }) } : {};
  const ram = { state: STATE_OF[owner], generation, pid, ...end };
  return owner === 'lives' ? { ram, torn: true } : { ram };
}

/** What `inspect --json` prints. What is undefined is left out. */
export function inspectionJson(inspection: Inspection): object {
  const { image, handover, luo, sessions, preserved, live, damage, moment, ownership } = inspection;
  const { entry, scratch, kexecMetadata, preservedByOrder } = handover;
  return {
    ...ramJson(inspection),
    damage: damage.length > 0 ? damage : undefined,
    moment: moment?.moment,
    notes: moment && moment.notes.length > 0 ? moment.notes : undefined,
    sessions: sessions.map(({ name, isOlder, systemd, files }) => ({
      name,
      unfinished: isOlder ? true : undefined,
      systemd,
      found: isMadeUp(name) ? true : undefined,
      files: files.map(fileJson),
    })),
    flbs: luo?.flbs.map(flbJson) ?? [],
    handlers: inspection.handlers.map(({ compatible, files, isKnown }) => ({
      compatible,
      files,
      known: isKnown,
    })),
    scratch,
    liveupdateNumber: luo?.liveupdateNumber === undefined ? null : exact(luo.liveupdateNumber),
    kexecMetadata: kexecMetadata ?? null,
    preserved: {
      count: preserved.count,
      byOrder: Object.fromEntries(preservedByOrder),
      bytes: preserved.bytes,
    },
    owners: ownership.owners,
    unowned: { bytes: ownership.unownedBytes, runs: ownership.unowned },
    next: moment?.next && { byOrder: Object.fromEntries(moment.next.preservedByOrder) },
    boot: { ramSize: image.ram.size, ...(live ? { live: live.pa, published: live.published } : entry) },
  };
}
