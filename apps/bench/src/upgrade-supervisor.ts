/**
 * The supervisor of a service, in a process of its own as `liveupdate run` is one. It says when the
 * service serves, upgrades whenever it is told to, and says when that is done.
 */
import { Supervisor } from '@liveupdate/service';
import { argument, say, tellFailures } from './child-side.ts';
import type { Serving } from './upgraded-service.ts';

tellFailures();

/** What the program is told. */
export interface SupervisorArgument {
  /** The service, and its arguments. */
  readonly command: readonly string[];
}

const { command } = argument() as SupervisorArgument;
const supervisor = new Supervisor({
  command,
  log: ({ event, generation }) => {
    if (event === 'crashed') throw new Error('the service crashed');
    if (event === 'ready' && generation === 1)
      say({ port: supervisor.portOf(supervisor.status.listeners[0]) } satisfies Serving);
  },
});
process.stdin
  .on('data', () => {
    void supervisor.upgrade().then(() => {
      say({} satisfies Serving);
    });
  })
  .on('end', () => {
    supervisor.signal('SIGTERM');
  });
await supervisor.run();
process.exit(0);
