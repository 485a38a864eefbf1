/** What was read of a next request goes along, whole, and nothing is ever read twice. */
import { createServer, type Server } from 'node:http';
import * as net from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HttpConnections } from './http-connections.ts';

let server: Server;
let connections: HttpConnections;
let answered: string[];

beforeEach(async () => {
  answered = [];
  server = createServer((request, response) => {
    request.resume().on('end', () => {
      answered.push(request.url ?? '');
      response.end();
    });
  });
  connections = new HttpConnections(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function port(): number {
  return (server.address() as net.AddressInfo).port;
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Sends pieces one by one, each when the one before was read. Resolves with what goes along. */
async function leftOf(pieces: readonly Buffer[], requests: number): Promise<Buffer | undefined> {
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const client = net.connect(port(), '127.0.0.1');
  client.setNoDelay().resume();
  const socket = await accepted;
  let sent = 0;
  for (const piece of pieces) {
    client.write(piece);
    sent += piece.length;
    await until(() => socket.bytesRead === sent);
  }
  await until(() => answered.length === requests);
  await connections.stop(10_000);
  const passed = connections.stopped();
  connections.resume();
  client.destroy();
  await until(() => connections.count === 0);
  return passed.length === 0 ? undefined : passed[0].head;
}

const GET = 'GET /a HTTP/1.1\r\nHost: b\r\n\r\n';
const POST = 'POST /p HTTP/1.1\r\nHost: b\r\nContent-Length: 8\r\n\r\n\r\n\r\nGET ';
const CHUNKED = 'POST /c HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n';

test.each([
  { name: 'nothing', pieces: [], requests: 0, left: '' },
  { name: 'half a head', pieces: ['GET / HT'], requests: 0, left: 'GET / HT' },
  { name: 'half a head in pieces', pieces: ['GE', 'T /', ' HT'], requests: 0, left: 'GET / HT' },
  { name: 'a request', pieces: [GET], requests: 1, left: '' },
  { name: 'a request in pieces', pieces: [GET.slice(0, 9), GET.slice(9, -1), GET.slice(-1)], requests: 1, left: '' }, // prettier-ignore
  { name: 'two at once, and half of one', pieces: [`${GET}${GET}GET`], requests: 2, left: 'GET' },
  { name: 'a body that looks like heads', pieces: [POST], requests: 1, left: '' },
  { name: 'a body in pieces, and half of one', pieces: [POST.slice(0, -9), POST.slice(-9, -2), `${POST.slice(-2)}GET /x`], requests: 1, left: 'GET /x' }, // prettier-ignore
  { name: 'a body, a request, half of one', pieces: [`${POST}${GET}G`], requests: 2, left: 'G' },
  { name: 'a body in chunks', pieces: [CHUNKED], requests: 1, left: '' },
  { name: 'chunks in pieces', pieces: CHUNKED.split(''), requests: 1, left: '' },
  { name: 'chunks, and then a request', pieces: [CHUNKED, `${GET}GE`], requests: 2, left: 'GE' },
  { name: 'chunks, and half of one at once', pieces: [`${CHUNKED}GE`], requests: 1, left: undefined },
  { name: 'chunks and a request at once', pieces: [`${CHUNKED}${GET}`], requests: 2, left: undefined },
  { name: 'more than a head may have', pieces: [`GET /${'a'.repeat(15_000)}`, 'b'.repeat(3000)], requests: 0, left: undefined }, // prettier-ignore
])('$name', async ({ pieces, requests, left }) => {
  const got = await leftOf(
    pieces.map((piece) => Buffer.from(piece)),
    requests,
  );
  expect(got?.toString()).toBe(left);
});

test('any requests in any pieces', async () => {
  const seed = Number(process.env['LIVEUPDATE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`LIVEUPDATE_SEED=${seed}`);
  const request = fc.oneof(
    fc.constant(GET),
    fc.string({ maxLength: 40 }).map((body) => {
      const bytes = Buffer.from(body);
      return `PUT /${bytes.length} HTTP/1.1\r\nHost: b\r\nContent-Length: ${bytes.length}\r\n\r\n${body}`;
    }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { maxLength: 5 }),
      fc.nat({ max: 25 }),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
      async (requests, more, cuts) => {
        answered = [];
        const whole = Buffer.from(requests.join(''));
        const bytes = Buffer.concat([whole, Buffer.from(GET).subarray(0, more)]);
        const places = [0, ...cuts.map((cut) => Math.floor(cut * bytes.length)), bytes.length];
        places.sort((a, b) => a - b);
        const pieces = places.slice(1).map((to, i) => bytes.subarray(places[i], to));
        const left = await leftOf(
          pieces.filter(({ length }) => length > 0),
          requests.length,
        );
        expect(left?.toString()).toBe(GET.slice(0, more));
      },
    ),
    { seed, numRuns: 150 },
  );
});
