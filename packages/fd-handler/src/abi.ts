/**
 * What the handler leaves in memory for the next kernel: `fd-v1`, a format of this project's own.
 * The descriptor itself goes another way; the record says which it is.
 */
import { layout } from '@liveupdate/base';

export const FD_V1 = 'fd-v1';

export const FdSer = layout('fd_ser', 32, {
  /** By which the next generation takes it from its store. */
  key: { at: 0, bytes: 4 },
  /** The number under which it was preserved. */
  number: { at: 4, bytes: 4 },
  /** What it must be: device and inode, and the kind of file, as fstat(2) tells them. */
  device: { at: 8, bytes: 8 },
  inode: { at: 16, bytes: 8 },
  kind: { at: 24, bytes: 4 },
  /** 0. */
  reserved: { at: 28, bytes: 4 },
});
