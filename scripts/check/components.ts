/**
 * Programs of Debian that tests measure ours against. Where we may (root, apt-get, a network) what
 * is missing is installed; else the tests that want it are skipped, and say so. A test that needs
 * another program adds a line here.
 */

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { aptInstall } from './apt.ts';
import type { Report } from './report.ts';

interface Component {
  /** Found on the PATH where it is installed. */
  program: string;
  /** Debian's package. */
  debian: string;
  /** What is skipped without it. */
  wantedBy: string;
}

const COMPONENTS: readonly Component[] = [
  { program: 'dtc', debian: 'device-tree-compiler', wantedBy: 'the device trees of packages/kho' },
  { program: 'qemu-system-x86_64', debian: 'qemu-system-x86', wantedBy: 'a real Linux (apps/interop)' },
  { program: 'mmdebstrap', debian: 'mmdebstrap', wantedBy: 'a systemd of today (apps/interop)' },
  { program: 'xz', debian: 'xz-utils', wantedBy: 'kernels that are packed by xz (packages/cli)' },
  { program: 'lz4', debian: 'lz4', wantedBy: 'kernels that are packed by lz4 (packages/cli)' },
  { program: 'redis-benchmark', debian: 'redis-tools', wantedBy: "Redis' own programs (apps/cache)" },
  { program: 'tclsh', debian: 'tcl', wantedBy: "Redis' own tests (apps/cache)" },
  { program: 'chromium', debian: 'chromium', wantedBy: 'the core packages in a browser' },
  { program: 'dockerd', debian: 'docker.io', wantedBy: 'Docker (docs/deploy.md)' },
  { program: 'kubectl', debian: 'kubernetes-client', wantedBy: 'Kubernetes (docs/deploy.md)' },
];

const isInstalled = ({ program }: Component): boolean =>
  (process.env['PATH'] ?? '').split(delimiter).some((folder) => isExecutable(join(folder, program)));

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export async function components(): Promise<Report> {
  const missing = COMPONENTS.filter((component) => !isInstalled(component));
  const why = missing.length > 0 ? await install(missing.map(({ debian }) => debian)) : '';
  const left = missing.filter((component) => !isInstalled(component));
  return {
    passed: COMPONENTS.length - left.length,
    failed: [],
    skipped: left.map(({ program, debian, wantedBy }) => ({
      name: `tests with '${program}': ${wantedBy}`,
      reason: `${why}; as root: apt-get install --no-install-recommends ${debian}`,
    })),
    notes: missing.filter(isInstalled).map(({ debian }) => `installed ${debian}`),
  };
}

/** Installs packages of Debian. Where that fails, why. */
async function install(packages: string[]): Promise<string> {
  if (process.getuid?.() !== 0) return 'only root may install it';
  return aptInstall(packages, (line) => {
    console.log(`\n== components: ${line}`);
  });
}
