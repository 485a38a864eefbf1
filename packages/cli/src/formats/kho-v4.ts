/** The device tree of Linux 7.x. */
import { KHO_COMPATIBLE, readHandover } from '@liveupdate/kho';
import type { KhoFormat } from './format.ts';

export const khoV4: KhoFormat = { compatible: KHO_COMPATIBLE, read: readHandover };
