/** The service that the demo upgrades: numbers under keys, in memory that all generations share. */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { openService } from '@liveupdate/service';
import { ramSizeFor } from './demo-size.ts';

export const HOST = '127.0.0.1';
/** Keys that there are numbers for at most. */
export const MOST_KEYS = 2 ** 16;

/** What the service is told, as JSON in this variable. */
export const SERVICE_VARIABLE = 'LIVEUPDATE_DEMO_SERVICE';

export interface DemoService {
  readonly name: string;
  /** Bytes in its file. */
  readonly size: number;
  /** Where this file is, the version is a bad one. */
  readonly bad: string;
}

/** GET /KEY asks for a number, PUT /KEY/NUMBER stores one; who answers stands in the head. */
export async function serveNumbers(): Promise<void> {
  const { name, size, bad } = JSON.parse(process.env[SERVICE_VARIABLE] ?? '{}') as DemoService;
  const service = await openService({ name, size: ramSizeFor(size, 1) });
  const { bytes, isNew } = await service.file('numbers', { size });
  if (isNew) bytes.fill(1); // all of it is there
  if (existsSync(bad)) {
    process.once('uncaughtException', () => process.exit(1)); // said once, by the supervisor
    setImmediate(() => {
      throw new Error('this version cannot read what is in memory');
    });
    await new Promise(() => undefined);
  }
  const numbers = new Uint32Array(bytes.buffer, bytes.byteOffset, MOST_KEYS);
  const server = createServer((request, response) => {
    const [, key, ...values] = (request.url ?? '').split('/');
    for (const value of values) numbers[Number(key)] = Number(value);
    response.setHeader('x-generation', service.generation);
    response.end(String(numbers[Number(key)]));
  });
  await service.listen(server, { host: HOST, port: 0 });
  await service.ready();
  process.on('SIGTERM', () => {
    void service.close().then(() => process.exit(0));
  });
  process.on('SIGINT', () => undefined); // the command ends it
}
