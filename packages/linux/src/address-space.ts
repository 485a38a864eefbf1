/**
 * The address space of a process that is replaced, taken down beside the new program instead of before it.
 *
 * exec ends the old address space first: 60 ms for each GiB of shared memory that lies in it in 4 KiB pages, and nobody is served. A second
 * process that shares the address space (clone(2) with CLONE_VM, as vfork has it) makes exec only let go. It closes its descriptors at once, so
 * that no lock, socket or pipe is held by it, sleeps until the new program is up, and ends: taking the memory down is then its affair.
 *
 * Always: it runs only the code below, which touches no memory, with every signal blocked, and ends by itself, whatever becomes of the others.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import {
  cloneProcess,
  hasEnded,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  mmap,
  munmap,
  PROT_READ_EXECUTE,
  PROT_READ_WRITE,
  protect,
  viewOf,
} from './libc.ts';

/** How often the new program looks whether it is over. */
const LOOK_MS = 500;

/** Environment variable by which the new program learns whom to wait for. */
const KEEPER_VARIABLE = 'LIVEUPDATE_ADDRESS_SPACE_KEEPER';

/** A page of code and one of stack. */
const LENGTH = 2 * PAGE_SIZE;
/** Where in the code's page the time to sleep stands (struct timespec: two s64). */
const TIMESPEC_AT = 64;

/**
 * x86-64, called with the address of the timespec in rdi; system calls by number in eax:
 * close_range(0, 0xffffffff, 0); if it succeeded, nanosleep(timespec, 0); exit_group(0).
 */
// prettier-ignore
const CODE_X64 = [
  0x48, 0x89, 0xfb,             // mov rbx, rdi
  0xb8, 0xb4, 0x01, 0x00, 0x00, // mov eax, 436 (close_range)
  0x31, 0xff,                   // xor edi, edi
  0xbe, 0xff, 0xff, 0xff, 0xff, // mov esi, 0xffffffff
  0x31, 0xd2,                   // xor edx, edx
  0x0f, 0x05,                   // syscall
  0x85, 0xc0,                   // test eax, eax
  0x75, 0x0c,                   // jnz the exit: with descriptors still open it must not stay
  0xb8, 0x23, 0x00, 0x00, 0x00, // mov eax, 35 (nanosleep)
  0x48, 0x89, 0xdf,             // mov rdi, rbx
  0x31, 0xf6,                   // xor esi, esi
  0x0f, 0x05,                   // syscall
  0xb8, 0xe7, 0x00, 0x00, 0x00, // exit: mov eax, 231 (exit_group)
  0x31, 0xff,                   // xor edi, edi
  0x0f, 0x05,                   // syscall
];

const CODE: Partial<Record<NodeJS.Architecture, readonly number[]>> = { x64: CODE_X64 };

/** Whether this machine can take an address space down beside the new program. */
export const TAKES_DOWN_BESIDE = CODE[process.arch] !== undefined;

/**
 * Starts the process that holds this address space over an exec, which should follow at once.
 *
 * @param hold milliseconds until it is taken down: longer than exec takes, and best until the new program is up and has less to do
 * @returns what the environment of the new program must have more; nothing where it cannot be done here: exec then takes memory down itself
 */
export function keepAddressSpace(hold: number): Readonly<Record<string, string>> {
  const code = CODE[process.arch];
  if (!code) return {};
  const at = mmap(null, LENGTH, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  try {
    const page = viewOf(at, PAGE_SIZE);
    new Uint8Array(page).set(code);
    const time = new BigInt64Array(page, TIMESPEC_AT, 2);
    time[0] = BigInt(Math.floor(hold / 1000));
    time[1] = BigInt(Math.round((hold % 1000) * 1e6));
    page.transfer(0); // no view may outlive the mapping
    protect(at, PAGE_SIZE, PROT_READ_EXECUTE);
    return { [KEEPER_VARIABLE]: String(cloneProcess(at, at + BigInt(LENGTH), at + BigInt(TIMESPEC_AT))) };
  } catch (error) {
    munmap(at, LENGTH);
    if (error instanceof KernelError) return {}; // a sandbox forbids it, or there are too many processes
    throw error;
  }
}

/**
 * In the new program: collects the process that held the address space of the old one, when it has ended, so that it is not left a zombie.
 * Does not keep this process alive. Nothing where there is none.
 */
export function collectKeeper(env: Record<string, string | undefined> = process.env): void {
  const text = env[KEEPER_VARIABLE];
  if (text === undefined) return;
  Reflect.deleteProperty(env, KEEPER_VARIABLE);
  if (!/^[1-9]\d{0,9}$/.test(text)) return;
  const look = setInterval(() => {
    if (hasEnded(Number(text))) clearInterval(look);
  }, LOOK_MS);
  look.unref();
}
