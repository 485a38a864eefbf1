/**
 * An inspection as JSON. Tokens are strings, since they have 64 bits; addresses and sizes are
 * numbers of bytes.
 */
import type { FlbRecord } from '@liveupdate/luo-core';
import type { InspectedFile, Inspection } from './inspection.ts';

/** A whole number, as text where a JSON number would not be exact. */
function exact(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function fileJson({ token, compatible, data, memfd }: InspectedFile): object {
  if (!memfd) return { token: token.toString(), compatible, data: hex(data) };
  return {
    token: token.toString(),
    compatible,
    ...memfd,
    folioOrders: Object.fromEntries(memfd.folioOrders),
  };
}

function flbJson({ name, data, count }: FlbRecord): object {
  return { name, data: hex(data), count: exact(count) };
}

/** What `inspect --json` prints. */
export function inspectionJson({ image, handover, luo, sessions, preserved }: Inspection): object {
  const { entry, scratch, kexecMetadata, preservedByOrder } = handover;
  return {
    sessions: sessions.map(({ name, files }) => ({ name, files: files.map(fileJson) })),
    flbs: luo?.flbs.map(flbJson) ?? [],
    scratch,
    liveupdateNumber: luo ? exact(luo.liveupdateNumber) : null,
    kexecMetadata: kexecMetadata ?? null,
    preserved: {
      count: preserved.count,
      byOrder: Object.fromEntries(preservedByOrder),
      bytes: preserved.bytes,
    },
    boot: { ramSize: image.ram.size, ...entry },
  };
}
