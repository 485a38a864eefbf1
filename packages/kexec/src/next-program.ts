/**
 * The program that a kexec starts, and what would keep it from being the next generation:
 * everything that can be known is refused before anything is sealed.
 *
 * What is started is what the paths name at that moment. So behind a symbolic link that is switched
 * between two releases (`node /srv/current/app.js`) a kexec starts the new one.
 */
import { isAbsolute, resolve } from 'node:path';
import { checkFlag, checkList, checkOptions, checkText, codeOf, KernelError } from '@liveupdate/base';
import {
  checkEnvironment,
  checkFd,
  checkPath,
  checkReplacement,
  isClusterWorker,
  passedFds,
  type ReplaceOptions,
} from '@liveupdate/linux';

export interface KexecOptions {
  /** Environment of the next generation; default this one's. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /**
   * The program; default the Node that runs now, by the path by which it was started where that
   * still was this one when the first machine was opened: behind a symbolic link, what that names
   * now.
   */
  readonly file?: string;
  /**
   * Open descriptors that the next generation gets, under the same numbers: listening sockets,
   * pipes. What systemd passed (LISTEN_FDS) goes along without being named. Each generation names
   * its own: Node sets close-on-exec on descriptors that it was started with.
   */
  readonly keepFds?: readonly number[];
  /**
   * Whether sessions of the generation before that are not finished and whose name is taken by one
   * of this are given up. Default false: EBUSY.
   */
  readonly dropUnfinished?: boolean;
}

const fs = process.getBuiltinModule('node:fs');

/**
 * The working directory that relative paths on Node's command line meant; undefined where it was
 * removed.
 */
const STARTED_IN = workingDirectory();

const OPTIONS: readonly (keyof KexecOptions)[] = ['env', 'file', 'keepFds', 'dropUnfinished'];

/**
 * Options of Node whose value is a path, or a module that is looked for from the working directory.
 */
const PATH_OPTION =
  /^(?:-r|--(?:require|import|loader|experimental-loader|env-file|env-file-if-exists|experimental-config-file|openssl-config|icu-data-dir|experimental-sea-config|trace-require-module|localstorage-file))$/;

let nodePath: string | undefined;

/**
 * Notes, as early as possible, what may be another thing later: how this Node was named, and what
 * systemd passed.
 */
export function noteStart(): void {
  passedFds();
  nodePath ??= nodeByItsName();
}

/**
 * What to replace this process by.
 *
 * @param argv arguments after the program; default those of this process
 * @throws KernelError EPERM: called from a worker thread. EOPNOTSUPP: this is a worker of
 * node:cluster. EINVAL: options that are none, a NUL in a string, or Node was started with paths
 * that were relative to another working directory. ENOEXEC: the program is cut short. EBADF: a
 * descriptor to keep is not open
 */
export function nextProgram(
  argv: readonly string[] | undefined,
  options: KexecOptions,
): Required<ReplaceOptions> {
  checkKinds(argv, options);
  checkCluster();
  const file = options.file ?? nodePath ?? process.execPath;
  const env = { ...(options.env ?? process.env) };
  checkDirectory(argv === undefined ? process.execArgv : [], env['NODE_OPTIONS']);
  const args = [file, ...(argv ?? [...process.execArgv, ...process.argv.slice(1)])];
  const listening = env['LISTEN_PID'] === String(process.pid) ? passedFds() : [];
  const keepFds = [...new Set([...(options.keepFds ?? []), ...listening])];
  const program = { file, args, env, keepFds, discardOutput: false };
  checkReplacement(program);
  return program;
}

function checkKinds(argv: readonly string[] | undefined, options: KexecOptions): void {
  if (argv !== undefined)
    for (const text of checkList(argv, 'a list of arguments')) checkText(text, 'an argument');
  checkOptions(options, 'kexec', OPTIONS);
  const { env, file, keepFds, dropUnfinished } = options;
  if (dropUnfinished !== undefined) checkFlag(dropUnfinished, 'dropUnfinished');
  if (file !== undefined) checkPath(file);
  if (keepFds !== undefined)
    for (const fd of checkList(keepFds, 'a list of descriptors (keepFds)')) checkFd(fd);
  if (env !== undefined) checkEnvironment(env);
}

/**
 * A worker would not know that it is one, and become a primary that starts workers of its own.
 *
 * @throws KernelError EOPNOTSUPP: this is one
 */
export function checkCluster(): void {
  if (!isClusterWorker()) return;
  throw new KernelError(
    'EOPNOTSUPP',
    'this is a worker of node:cluster (or of pm2 in cluster mode), whose place in it does not go through exec: await machine.handOver() and process.exit(), and let the primary start the next worker; or run it as a process of its own (pm2: exec_mode fork)',
  );
}

/** Node would resolve relative paths anew. */
function checkDirectory(execArgv: readonly string[], nodeOptions: string | undefined): void {
  const here = workingDirectory();
  if (here === STARTED_IN) return;
  const found = relativeOption(execArgv) ?? relativeOption((nodeOptions ?? '').split(/ +/));
  if (found === undefined) return;
  const why = `Node was started with '${found}' in ${STARTED_IN ?? 'a directory that is gone'}, and would look for it in ${here ?? 'one that is gone'}`;
  throw new KernelError('EINVAL', `${why}: start it with an absolute path, or process.chdir() back first`);
}

/** The first option whose value depends on the working directory. */
function relativeOption(words: readonly string[]): string | undefined {
  for (const [i, word] of words.entries()) {
    const at = word.indexOf('=');
    const [name, value] = at < 0 ? [word, words.at(i + 1) ?? ''] : [word.slice(0, at), word.slice(at + 1)];
    if (PATH_OPTION.test(name) && !isAbsolute(value) && !/^(?:file|node|data|https?):/.test(value))
      return at < 0 ? `${name} ${value}` : word;
  }
  return undefined;
}

function workingDirectory(): string | undefined {
  try {
    return process.cwd();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * The path by which this Node was started, where it leads to it: a symbolic link may name another
 * one later.
 */
function nodeByItsName(): string {
  const { argv0, execPath } = process;
  if (!argv0.includes('/') || STARTED_IN === undefined) return execPath;
  const named = resolve(STARTED_IN, argv0);
  try {
    return fs.realpathSync.native(named) === execPath ? named : execPath;
  } catch {
    return execPath;
  }
}
