/** This copy of the package, to other copies. */
import type { PackageCopy } from '@liveupdate/base';

/** Put in by the build. */
declare const __VERSION__: string | undefined;

export const COPY: PackageCopy = {
  name: '@liveupdate/fd-handler',
  version: typeof __VERSION__ === 'undefined' ? undefined : __VERSION__,
  url: import.meta.url,
};
