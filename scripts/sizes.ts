/**
 * Measures the packages and writes docs/sizes.md, so that no figure there is typed by hand.
 *
 *   npm run -s sizes
 */
import { writeFileSync } from 'node:fs';
import { measure, SIZES, sizesPage } from './check/sizes.ts';

writeFileSync(SIZES, sizesPage(await measure()));
