/**
 * What the eventfd handler leaves in memory for the next kernel: `eventfd-v1`, a format of this
 * project's own.
 */
import { layout } from '@liveupdate/base';

export const EVENTFD_V1 = 'eventfd-v1';

export const EventFdSer = layout('eventfd_ser', 16, {
  count: { at: 0, bytes: 8 }, // 0 to 2^64 - 2
  flags: { at: 8, bytes: 8 }, // EFD_SEMAPHORE, EFD_NONBLOCK; all others 0
});
