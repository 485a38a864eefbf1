/** A service that counts requests, in memory without a name. */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { openService } from '@liveupdate/service';
import { SHARE } from './report.ts';

if (existsSync(`${SHARE}/bad-version`)) throw new Error('this version is bad');
const service = await openService({ name: 'counter', size: '64MiB', ram: 'memfd' });
const count = new Uint32Array((await service.file('count', { size: 4096 })).bytes.buffer);
const server = createServer((_, response) => {
  count[0] += 1;
  response.end(`${count[0]} ${service.generation}`);
});
await service.listen(server, { port: 8080, host: '127.0.0.1' });
await service.ready();
process.on('SIGTERM', () => {
  void service.close().then(() => process.exit(0));
});
