/** The server: what the supervisor starts, again and again, with the options of the command. */
import { serveCache } from './cache-service.ts';
import { readOptions } from './options.ts';

const options = readOptions(process.argv.slice(2));
if (!options) throw new Error('the command tells what the options are');
const cache = await serveCache(options);

for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    void cache.close().then(() => process.exit(0));
  });
