import { defineConfig } from 'tsup';
import { program, wholePrograms } from '../../tsup.config.base.ts';

export default defineConfig([
  program(['main', 'empty', 'empty-memory', 'first-use', 'phases', 'trial']),
  wholePrograms(['bare', 'killed-service', 'killed-store', 'service', 'start', 'store']),
]);
