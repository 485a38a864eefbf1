/**
 * The device's interface to programs: ioctl numbers and argument structures (kernel:
 * include/uapi/linux/liveupdate.h). Every structure begins with its size as the caller knows it, so
 * that it may grow at its end.
 */
import { layout } from '@liveupdate/base';

/** The ioctl type; requests have no direction and no size bits. */
const LIVEUPDATE_IOCTL_TYPE = 0xba;

const request = (nr: number): number => (LIVEUPDATE_IOCTL_TYPE << 8) | nr;

/** Requests of /dev/liveupdate and, from 0x40 on, of a session. */
export const LIVEUPDATE_IOCTL = {
  createSession: request(0x00),
  retrieveSession: request(0x01),
  preserveFd: request(0x40),
  retrieveFd: request(0x41),
  finish: request(0x42),
  getName: request(0x43),
} as const;

/** The number of a command within its type. */
export function ioctlNumber(request: number): number {
  return request & 0xff;
}

/** Argument of createSession and retrieveSession. */
export const SessionArgument = layout('liveupdate_ioctl_create_session', 72, {
  size: { at: 0, bytes: 4 },
  fd: { at: 4, bytes: 4 }, // out: s32, close-on-exec
  name: { at: 8, bytes: 64 }, // ended by a NUL
});

/** Argument of preserveFd and retrieveFd. */
export const FileArgument = layout('liveupdate_session_preserve_fd', 16, {
  size: { at: 0, bytes: 4 },
  fd: { at: 4, bytes: 4 }, // s32: in for preserveFd, out for retrieveFd
  token: { at: 8, bytes: 8 },
});

export const FinishArgument = layout('liveupdate_session_finish', 8, {
  size: { at: 0, bytes: 4 },
  reserved: { at: 4, bytes: 4 }, // 0
});

export const GetNameArgument = layout('liveupdate_session_get_name', 72, {
  size: { at: 0, bytes: 4 },
  reserved: { at: 4, bytes: 4 }, // 0
  name: { at: 8, bytes: 64 }, // out
});
