import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { koffiFile, MAP_FAILED, withErrno } from './native.ts';

const { EAGAIN, ECONNRESET, EINTR, EINVAL, ENOENT, ENOMEM, ENXIO } = constants.errno;

/** A function that fails so often, with what errno is after each time. */
function failing(errnos: readonly number[], failure: number | bigint = -1) {
  const told: number[] = [];
  let calls = 0;
  const call = withErrno(
    () => (calls++ < errnos.length ? failure : 7),
    () => errnos[calls - 1],
    (errno) => told.push(errno),
  );
  return { result: call(), calls, told };
}

test.each([
  ['succeeds', [], 7, 1, []],
  ['fails', [EINVAL, EINVAL], -1, 2, [EINVAL]],
  ['fails, and the engine leaves its errno', [EAGAIN, ENXIO, ENXIO], -1, 3, [ENXIO]],
  ['fails, and the engine has looked for a file', [ENOENT, ENXIO, ENXIO], -1, 3, [ENXIO]],
  ['fails twice with what the engine leaves too', [EAGAIN, EAGAIN], -1, 2, [EAGAIN]],
  ['fails with one stray errno after another', [EINTR, EAGAIN, ENXIO, ENXIO], -1, 4, [ENXIO]],
  ['is interrupted once', [EINTR], 7, 2, []],
  ['is told of a reset connection, which the kernel tells once', [ECONNRESET], -1, 1, [ECONNRESET]],
])('a call that %s', (_, errnos, result, calls, told) => {
  expect(failing(errnos)).toEqual({ result, calls, told });
});

test('a mapping that fails', () => {
  expect(failing([EAGAIN, ENOMEM, ENOMEM], MAP_FAILED)).toEqual({
    result: MAP_FAILED,
    calls: 3,
    told: [ENOMEM],
  });
});

test("koffi's native part is found without Node's resolver", () => {
  expect(koffiFile()).toMatch(/\/koffi\.node$/);
});
