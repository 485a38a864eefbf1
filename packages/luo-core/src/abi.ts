/**
 * What LUO leaves in memory for the next kernel: subtree `LUO`, version `luo-v5`. Checked against a
 * handover captured from Linux 7.3.4. Kernel: include/linux/kho/abi/luo.h. Any edit is an ABI
 * break: bump LUO_COMPATIBLE with it.
 */
import { layout, PAGE_SIZE } from '@liveupdate/base';

export const LUO_SUBTREE = 'LUO';
export const LUO_COMPATIBLE = 'luo-v5';

/** Bytes of a session name, without its NUL. */
export const MAX_SESSION_NAME = 63;
/** Bytes of a compatible string, without its NUL. */
export const MAX_COMPATIBLE = 47;

export const LuoSer = layout('luo_ser', 32, {
  compatible: { at: 0, bytes: 8 },
  liveupdateNumber: { at: 8, bytes: 8 },
  sessions: { at: 16, bytes: 8 }, // pa of a block set of LuoSessionSer, 0 = no session
  flbs: { at: 24, bytes: 8 }, // pa of a LuoFlbHeaderSer, 0 = none
});

export const LuoSessionSer = layout('luo_session_ser', 80, {
  name: { at: 0, bytes: MAX_SESSION_NAME + 1 },
  files: { at: 64, bytes: 8 }, // pa of a block set of LuoFileSer, 0 = no file
  count: { at: 72, bytes: 8 },
});

/** One preserved file. */
export const LuoFileSer = layout('luo_file_ser', 64, {
  compatible: { at: 0, bytes: MAX_COMPATIBLE + 1 },
  data: { at: 48, bytes: 8 }, // the handler's own; LUO never looks inside
  token: { at: 56, bytes: 8 }, // chosen by the user, unique in its session
});

export const LuoFlbHeaderSer = layout('luo_flb_header_ser', 16, {
  pageCount: { at: 0, bytes: 8 }, // 1
  count: { at: 8, bytes: 8 }, // entries that follow
});

export const LuoFlbSer = layout('luo_flb_ser', 64, {
  name: { at: 0, bytes: 48 },
  data: { at: 48, bytes: 8 },
  count: { at: 56, bytes: 8 }, // preserved files that hold it
});

/** FLBs in one kernel: (4096 - 16) / 64. */
export const MAX_FLBS = Math.floor((PAGE_SIZE - LuoFlbHeaderSer.SIZE) / LuoFlbSer.SIZE);
