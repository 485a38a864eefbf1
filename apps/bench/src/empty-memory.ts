/** The empty program, but that it tells how much private memory it has. */
import { say, statusBytes } from './child-side.ts';

say({ anonymous: statusBytes('RssAnon') });
