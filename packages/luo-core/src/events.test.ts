import { bootCold } from '@liveupdate/kho';
import { HeapRam } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { EventStream, type LuoEvent } from './events.ts';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import { flbKernel } from './test-flb.ts';
import { Counter, counterHandler, outcome } from './test-kernel.ts';

/** An event in a few words: what, of which file or FLB, and what else it says. */
function inWords(event: LuoEvent): string {
  const { type } = event;
  const words: string[] = [type];
  if (type === 'failed') words.push(event.operation);
  if ('session' in event) words.push(event.session);
  if ('token' in event) words.push(String(event.token));
  if ('handler' in event) words.push(event.handler);
  if ('flb' in event) words.push(event.flb);
  if (type === 'finished') words.push(event.retrieval);
  if (type === 'serialised') words.push(`${event.sessions}/${event.files}/${event.flbs}`);
  if (type === 'failed') words.push(event.error instanceof Error ? event.error.message : '?');
  return words.join(' ');
}

test('everything is told, in the order in which it happens', async () => {
  const first = flbKernel();
  const heard: string[] = [];
  first.luo.events.subscribe((event) => heard.push(inWords(event)));
  const session = first.luo.createSession('s');
  await session.preserve(new Counter(1), 1);
  await session.preserve(new Counter(3), 3);
  first.script.failOnce('preserve', new Error('full'));
  await outcome(() => session.preserve(new Counter(2), 2).catch(() => undefined));
  expect(await outcome(() => session.preserve({}, 4))).toBe('ENOENT');
  first.script.failOnce('freeze', new Error('not yet'), 3);
  await first.luo.reboot().catch(() => undefined);
  await first.luo.reboot();
  await first.luo.cancelReboot();
  await first.luo.createSession('t').close();
  await session.unpreserve(3);
  await first.luo.reboot();
  expect(heard).toEqual([
    'session-created s',
    'flb-preserved flb-1',
    'flb-preserved flb-2',
    'preserved s 1 odd-v1',
    'preserved s 3 odd-v1',
    'failed preserve s 2 even-v1 full',
    expect.stringMatching(/^failed preserve s 4 ENOENT: no handler/),
    'frozen s 1 odd-v1',
    'failed freeze s 3 odd-v1 not yet',
    'unfrozen s 1 odd-v1',
    'frozen s 1 odd-v1',
    'frozen s 3 odd-v1',
    'serialised 1/2/2',
    'unfrozen s 3 odd-v1',
    'unfrozen s 1 odd-v1',
    'cancelled',
    'session-created t',
    'session-closed t',
    'unpreserved s 3 odd-v1',
    'frozen s 1 odd-v1',
    'serialised 1/1/2',
  ]);

  const second = flbKernel(first);
  heard.length = 0;
  second.luo.events.subscribe((event) => heard.push(inWords(event)));
  const incoming = second.luo.retrieveSession('s');
  await incoming.retrieve(1);
  await incoming.retrieve(1); // not made again: nothing to tell
  second.script.mayFinish = () => false;
  await outcome(() => incoming.finish());
  second.script.mayFinish = undefined;
  second.script.failOnce('flb.retrieve', new Error('lost'), 2);
  await incoming.finish().catch(() => undefined);
  expect(heard).toEqual([
    'session-retrieved s',
    'retrieved s 1 odd-v1',
    expect.stringMatching(/^failed canFinish s 1 odd-v1 EBUSY/),
    'finished s 1 odd-v1 done',
    'failed retrieve flb-2 lost',
    'flb-retrieved flb-1',
    'flb-finished flb-1',
    'session-finished s',
  ]);
});

test('durations are by the clock that was given; without a listener it is not read', async () => {
  let reads = 0;
  const clock = (): number => (reads += 1) * 10;
  const kho = bootCold(new HeapRam(4 * 2 ** 20));
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [counterHandler(kho)], clock });
  const session = luo.createSession('s');
  await session.preserve(new Counter(1), 1);
  expect(await outcome(() => session.preserve(new Counter(1), 1))).toBe('EEXIST');
  await luo.reboot();
  await luo.cancelReboot();
  expect(reads).toBe(0);
  const heard: LuoEvent[] = [];
  const stop = luo.events.subscribe((event) => heard.push(event));
  await session.preserve(new Counter(2), 2);
  stop();
  await session.preserve(new Counter(3), 3);
  expect(heard).toEqual([
    { type: 'preserved', session: 's', token: 2n, handler: 'counter-v1', duration: 10 },
  ]);
  expect(reads).toBe(2);
});

test('listeners come and go, also while events are told; one that throws harms nobody', async () => {
  const events = new EventStream(() => 0);
  const heard: string[] = [];
  const thrown = new Error('of a listener');
  const uncaught = new Promise((resolve) => process.once('uncaughtException', resolve));
  const stop = events.subscribe(() => {
    heard.push('a');
    stop();
    events.subscribe(() => heard.push('late'));
    throw thrown;
  });
  events.subscribe(() => heard.push('b'));
  events.emit({ type: 'session-created', session: 's' });
  expect(heard).toEqual(['a', 'b']);
  events.emit({ type: 'session-created', session: 's' });
  expect(heard).toEqual(['a', 'b', 'b', 'late']);
  expect(await uncaught).toBe(thrown);
  stop();
});

test('what begins before anybody listens has no duration', async () => {
  const { luo, script } = flbKernel();
  const session = luo.createSession('s');
  script.async = true;
  const heard: LuoEvent[] = [];
  const work = session.preserve(new Counter(2), 2);
  script.fail = (callback) => {
    if (callback === 'preserve') luo.events.subscribe((event) => heard.push(event));
    return undefined;
  };
  await work;
  expect(heard).toMatchObject([{ type: 'preserved', duration: 0 }]);
});
