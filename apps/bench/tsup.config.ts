import { program } from '../../tsup.config.base.ts';

export default program(['main', 'empty', 'empty-memory', 'first-use', 'service']);
