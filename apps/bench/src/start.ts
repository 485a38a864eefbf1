/**
 * Starts a program that replaces itself from its compiled code, as one is deployed that wants to be
 * back soon. Its name is the first argument.
 */
import { dirname, join } from 'node:path';
import { runFromCodeCache } from '@liveupdate/code-cache';
import { CODE_CACHE_VARIABLE } from './child-side.ts';

const [, start, name] = process.argv;
const directory = process.env[CODE_CACHE_VARIABLE];
runFromCodeCache(join(dirname(start), `${name}.cjs`), directory === undefined ? {} : { directory });
