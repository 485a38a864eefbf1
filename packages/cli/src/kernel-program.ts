/** `liveupdate kernel`: its commands, options and help. */
import { Command, Option } from 'commander';
import { sessionName, tokenFiles } from './kernel-values.ts';
import { wordValue } from './option-values.ts';

const EXIT_CODES = `
Exit codes: 0 fine, 1 failed, 2 wrong use.`;

const KERNEL_EXAMPLES = `
Live updates of Linux itself, by /dev/liveupdate: it takes Linux 6.19 or newer,
kho=on liveupdate=on on its command line, and root.

Examples:
  $ liveupdate kernel preserve --background vm 1=state.bin
  $ liveupdate kernel load /boot/vmlinuz
  $ liveupdate kernel exec                        the kernel is replaced
  $ liveupdate kernel retrieve vm 1=state.bin     in the next one
${EXIT_CODES}`;

const LIST_EXAMPLES = `
Sessions that processes hold. What is in them, and which sessions of the kernel
before wait to be retrieved, the kernel does not tell.

Examples:
  $ liveupdate kernel list
  $ liveupdate kernel list --json | jq -r '.sessions[].name'
${EXIT_CODES}`;

const PRESERVE_EXAMPLES = `
Copies files into memory and preserves the copies. A session lives while a
process holds it: this one stays until the kernel is replaced or it is ended,
which drops the session. With --background one is left behind. A reboot by
systemd ends all processes first: 'liveupdate kernel exec' ends none.

Examples:
  $ liveupdate kernel preserve vm 1=state.bin 2=disk.img
  $ zcat state.gz | liveupdate kernel preserve --background vm 1=-
${EXIT_CODES}`;

const RETRIEVE_EXAMPLES = `
A session is retrieved once and then finished: what is not named is lost. Where
a file cannot be written, the command stays and says from where to copy it.

Examples:
  $ liveupdate kernel retrieve vm 1=state.bin 2=disk.img
  $ liveupdate kernel retrieve vm 1=- | gzip > state.gz
${EXIT_CODES}`;

const FINISH_EXAMPLES = `
Gives up a session of the kernel before, with all that is in it.

Examples:
  $ liveupdate kernel finish vm
${EXIT_CODES}`;

const LOAD_EXAMPLES = `
The next kernel gets the command line of the running one unless another is
given. 'liveupdate compat running IMAGE' tells first whether it takes over what
this one writes.

Examples:
  $ liveupdate kernel load /boot/vmlinuz --initrd /boot/initrd.img
  $ liveupdate kernel load bzImage --command-line \\
      'root=/dev/vda kho=on liveupdate=on'
  $ liveupdate kernel load --unload
${EXIT_CODES}`;

const EXEC_EXAMPLES = `
File systems are written out and the kernel is replaced, at once: no program is
asked to end, so those that hold sessions hold them to the last. End whatever
has something to write before.

Examples:
  $ liveupdate kernel exec
${EXIT_CODES}`;

interface PreserveFlags {
  readonly background?: boolean;
  readonly holder?: boolean;
  readonly json?: boolean;
}

interface LoadFlags {
  readonly initrd?: string;
  readonly commandLine?: string;
  readonly unload?: boolean;
}

export const KERNEL_COMMANDS = ['list', 'preserve', 'retrieve', 'finish', 'load', 'exec'];

/**
 * The command with its commands.
 *
 * @param done gets the exit code of the one that ran
 */
export function kernelCommand(done: (exitCode: number) => void): Command {
  const kernel = new Command('kernel')
    .description('live updates of Linux itself: sessions, and the next kernel')
    .helpCommand('help [command]', 'print the help of a command')
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .addHelpText('after', KERNEL_EXAMPLES);

  kernel
    .command('list')
    .description('list the sessions of this kernel that processes hold')
    .option('--json', 'print it as JSON')
    .addHelpText('after', LIST_EXAMPLES)
    .action(async ({ json = false }: { json?: boolean }) => {
      done((await import('./kernel-list.ts')).runKernelList({ json }));
    });

  kernel
    .command('preserve')
    .description('preserve copies of files for the next kernel, and hold them')
    .argument('<session>', 'how the session is called', sessionName)
    .argument('<token=file...>', 'files, each under a number; - for standard input')
    .option('--background', 'leave a process behind that holds the session')
    .option('--json', 'print what is held as JSON')
    .addOption(new Option('--holder', 'the process that --background leaves').hideHelp())
    .addHelpText('after', PRESERVE_EXAMPLES)
    .action(async (session: string, words: string[], flags: PreserveFlags) => {
      const files = tokenFiles(words);
      const { background = false, holder = false, json = false } = flags;
      done(
        await (
          await import('./kernel-preserve.ts')
        ).runPreserve(session, files, { background, holder, json }),
      );
    });

  kernel
    .command('retrieve')
    .description('write files that the kernel before left to disk')
    .argument('<session>', 'of the kernel before', sessionName)
    .argument('<token=file...>', 'where each goes; - for standard output')
    .option('--force', 'write over files that are there')
    .addHelpText('after', RETRIEVE_EXAMPLES)
    .action(async (session: string, words: string[], { force = false }: { force?: boolean }) => {
      const files = tokenFiles(words);
      done(await (await import('./kernel-retrieve.ts')).runRetrieve(session, files, { force }));
    });

  kernel
    .command('finish')
    .description('give up a session that the kernel before left')
    .argument('<session>', 'of the kernel before', sessionName)
    .addHelpText('after', FINISH_EXAMPLES)
    .action(async (session: string) => {
      done((await import('./kernel-retrieve.ts')).runFinish(session));
    });

  kernel
    .command('load')
    .description('load the kernel that exec starts')
    .argument('[image]', 'a bzImage or vmlinuz', wordValue('[image]'))
    .option('--initrd <file>', 'its initial RAM disk', wordValue('--initrd'))
    .option('--command-line <text>', 'its command line; default: that of this kernel')
    .option('--unload', 'drop the one that is loaded')
    .addHelpText('after', LOAD_EXAMPLES)
    .action(async (image: string | undefined, { initrd, commandLine, unload = false }: LoadFlags) => {
      done((await import('./kernel-exec.ts')).runLoad(image, { initrd, commandLine, unload }));
    });

  kernel
    .command('exec')
    .description('replace the kernel by the one that is loaded')
    .option('--force', 'also where no session goes along')
    .addHelpText('after', EXEC_EXAMPLES)
    .action(async ({ force = false }: { force?: boolean }) => {
      done(await (await import('./kernel-exec.ts')).runExec({ force }));
    });

  return kernel;
}
