import { program } from '../../tsup.config.base.ts';

export default program(['main', 'serve']);
