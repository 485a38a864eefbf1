/**
 * Ours: a service with one file in memory, under a supervisor or alone. Alone it says when it
 * serves, in each generation.
 */
import { createServer } from 'node:http';
import { openService } from '@liveupdate/service';
import { argument, say, tellFailures } from './child-side.ts';
import { answers, arrayNumbers, HOST, MOST_KEYS } from './numbers-server.ts';
import { ramSizeFor, touchBytes } from './workload.ts';

tellFailures();

/** What the service is told. */
export interface UpgradedServiceArgument {
  readonly name: string;
  /** Bytes in its file. */
  readonly size: number;
}

/** What a program says that serves, from now on. */
export interface Serving {
  readonly port?: number;
}

void main();

async function main(): Promise<void> {
  const { name, size } = argument() as UpgradedServiceArgument;
  const service = await openService({ name, size: ramSizeFor(size) });
  const { bytes } = await service.file('numbers', { size });
  const numbers = arrayNumbers(new Uint32Array(bytes.buffer, bytes.byteOffset, MOST_KEYS));
  const server = createServer(answers(numbers, () => touchBytes(bytes)));
  const address = await service.listen(server, { host: HOST, port: 0 });
  await service.ready();
  const end = (): void => {
    void service.close().then(() => process.exit(0));
  };
  process.on('SIGTERM', end);
  if (service.isSupervised) return;
  process.stdin.on('end', end).resume();
  if ('port' in address) say({ port: address.port } satisfies Serving);
}
