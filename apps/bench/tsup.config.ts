import { defineConfig } from 'tsup';
import { program, wholePrograms } from '../../tsup.config.base.ts';

export default defineConfig([
  program([
    'main',
    'empty',
    'empty-memory',
    'first-use',
    'phases',
    'stored-map-side',
    'trial',
    'upgrade-load',
    'upgrade-supervisor',
  ]),
  wholePrograms([
    'bare',
    'killed-service',
    'killed-store',
    'service',
    'start',
    'store',
    'upgraded-bare',
    'upgraded-map',
    'upgraded-service',
    'upgraded-store',
    'upgraded-workers',
  ]),
]);
