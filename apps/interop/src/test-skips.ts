/** Where no guest can be started, every test says why. */
import { beforeEach } from 'vitest';
import { whyNoGuest } from './guest.ts';

const why = whyNoGuest();

beforeEach((context) => {
  if (why !== undefined) context.skip(why);
});
