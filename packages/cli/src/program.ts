/** The command line as people see it: commands, options, help. */
import * as fs from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import type { HugeChoice } from './demo-files.ts';
import { DEMO_FILES } from './demo-size.ts';
import {
  countValue,
  entryValue,
  fileName,
  flbValue,
  imageFile,
  ramSizeValue,
  sizeValue,
  wordValue,
  type ImageFlb,
} from './option-values.ts';
import {
  CHECK_EXAMPLES,
  COMPAT_EXAMPLES,
  DEMO_EXAMPLES,
  DEMO_UPGRADE_EXAMPLES,
  DOCTOR_EXAMPLES,
  EXAMPLES,
  EXPORT_EXAMPLES,
  IMPORT_EXAMPLES,
  INSPECT_EXAMPLES,
  LIST_EXAMPLES,
  MAKE_IMAGE_EXAMPLES,
  REMOVE_EXAMPLES,
  RUN_EXAMPLES,
  STATUS_EXAMPLES,
  STOP_EXAMPLES,
  UPGRADE_EXAMPLES,
} from './help-texts.ts';
import { KERNEL_COMMANDS, kernelCommand } from './kernel-program.ts';
import type { ImageHints } from './open-image.ts';
import { printable } from './output.ts';
import { UsageError } from './usage-error.ts';

interface DemoFlags {
  readonly size: number;
  readonly files: number;
  readonly generations: number;
  readonly huge: HugeChoice;
  readonly json?: boolean;
}

interface DemoUpgradeFlags {
  readonly size: number;
  readonly clients: number;
  readonly upgrades: number;
  readonly role?: 'service' | 'clients';
  readonly json?: boolean;
}

interface InspectFlags extends ImageHints {
  readonly json?: boolean;
  readonly html?: boolean;
  readonly hash?: boolean;
  readonly all?: boolean;
}

interface ExportFlags extends ImageHints {
  readonly force?: boolean;
  readonly unfinished?: boolean;
}

interface ImportFlags {
  readonly size?: number;
  readonly huge?: boolean;
}

interface MakeImageFlags {
  readonly kernel: string;
  readonly memory?: number;
  readonly flb: readonly ImageFlb[];
  readonly huge?: boolean;
  readonly json?: boolean;
}

interface RunFlags {
  readonly name?: string;
  readonly json?: boolean;
  readonly armLimit?: number;
  readonly readyLimit?: number;
}

const COMMANDS = [
  'run',
  'upgrade',
  'status',
  'stop',
  'demo',
  'demo-upgrade',
  'list',
  'inspect',
  'check',
  'export',
  'import',
  'remove',
  'make-image',
  'doctor',
  'kernel',
  'compat',
];

const ABOUT = 'Memory and open files that survive the replacement of the program that owns them.';

function version(): string {
  const text = fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** What commander would say, as one sentence that says where to look. */
function usageError(error: CommanderError, argv: readonly string[]): UsageError {
  const [first, ...rest] = error.message
    .replace(/^error: /, '')
    .replace(/\.$/, '')
    .split('\n');
  const suggestion = rest.map((line) => line.trim().replace(/^\((.*)\)$/, ' ($1)')).join('');
  const at = argv.findIndex((word) => COMMANDS.includes(word));
  const inner = argv[at] === 'kernel' && KERNEL_COMMANDS.includes(argv[at + 1]) ? argv[at + 1] : undefined;
  const help = ['liveupdate', argv[at], inner, '--help'].filter((word) => word !== undefined).join(' ');
  return new UsageError(`${first}${suggestion}: see '${help}'`);
}

/**
 * Runs a command line.
 *
 * @throws UsageError: it is none. Whatever the command throws.
 */
export async function runProgram(argv: readonly string[]): Promise<number> {
  const topic = argv.at(1);
  if (argv[0] === 'help' && topic !== undefined && !COMMANDS.includes(topic))
    throw new UsageError(`there is no command '${topic}' to help with: see 'liveupdate --help'`);
  let exitCode = 0;
  const program = new Command('liveupdate')
    .description(ABOUT)
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', EXAMPLES)
    .configureHelp({ showGlobalOptions: false, subcommandTerm: (command) => command.name() })
    .configureOutput({ outputError: () => undefined }) // told by our caller, in one sentence
    .enablePositionalOptions()
    .exitOverride();

  program
    .command('run')
    .description('run a service, keep it alive, and upgrade it without its clients noticing')
    .argument('<command...>', 'the program and its arguments, behind --')
    .option('--name <name>', 'by which upgrade, status and stop know it; default: what its program says')
    .option('--json', 'tell what happens as JSON, a line each')
    .option(
      '--arm-limit <ms>',
      'how long a version may take to start; default 60000',
      countValue('--arm-limit', 1),
    )
    .option(
      '--ready-limit <ms>',
      'and then to be ready, while clients wait; default 3000',
      countValue('--ready-limit', 1),
    )
    .addOption(
      new Option('--takes-over <format>', 'for a supervisor that asks its next version')
        .argParser(countValue('--takes-over', 1))
        .hideHelp(),
    )
    .addHelpText('after', RUN_EXAMPLES)
    .passThroughOptions()
    .action(async (command: string[], flags: RunFlags) => {
      exitCode = await (await import('./run.ts')).runService(command, flags);
    });

  program
    .command('upgrade')
    .description('let the new version of a service take over')
    .argument('<name>', 'of the service', wordValue('<name>'))
    .option('--supervisor', "the process of 'liveupdate run' itself; the service goes on")
    .option('--json', 'print how it went as JSON')
    .addHelpText('after', UPGRADE_EXAMPLES)
    .action(
      async (
        name: string,
        { json = false, supervisor = false }: { json?: boolean; supervisor?: boolean },
      ) => {
        exitCode = await (await import('./run.ts')).runUpgrade(name, { json, supervisor });
      },
    );

  program
    .command('status')
    .description('tell how services do that are run by liveupdate')
    .argument('[name]', 'of a service; default: all', wordValue('<name>'))
    .option('--json', 'print it as JSON')
    .addHelpText('after', STATUS_EXAMPLES)
    .action(async (name: string | undefined, { json = false }: { json?: boolean }) => {
      exitCode = await (await import('./run.ts')).runStatus(name, { json });
    });

  program
    .command('stop')
    .description("end a service, and the 'liveupdate run' that runs it")
    .argument('<name>', 'of the service', wordValue('<name>'))
    .option('--json', 'print how it went as JSON')
    .addHelpText('after', STOP_EXAMPLES)
    .action(async (name: string, { json = false }: { json?: boolean }) => {
      exitCode = await (await import('./run.ts')).runStop(name, { json });
    });

  program
    .command('demo')
    .description('carry files in memory through generations of a process and prove every byte')
    .addOption(
      new Option('--size <size>', 'bytes in all files together')
        .argParser(sizeValue('--size'))
        .default(2 * 2 ** 30, '2GiB'),
    )
    .option('--files <n>', 'number of files', countValue('--files', 1), DEMO_FILES)
    .option('--generations <n>', 'processes in a row, at least 2', countValue('--generations', 2), 3)
    .addOption(
      new Option('--huge <choice>', 'which files get 2 MiB folios')
        .choices(['auto', 'always', 'never'])
        .default('auto', 'auto'),
    )
    .option('--json', 'print the figures as JSON')
    .addHelpText('after', DEMO_EXAMPLES)
    .action(async ({ json = false, ...flags }: DemoFlags) => {
      exitCode = await (await import('./demo.ts')).runDemo({ ...flags, json });
    });

  program
    .command('demo-upgrade')
    .description('upgrade a service under load and prove that its clients notice nothing')
    .addOption(
      new Option('--size <size>', 'bytes of state').argParser(sizeValue('--size')).default(2 ** 30, '1GiB'),
    )
    .option('--clients <n>', 'connections that are kept alive', countValue('--clients', 1), 50)
    .option('--upgrades <n>', 'in a row', countValue('--upgrades', 1), 3)
    .addOption(
      new Option('--role <role>', 'of a process of the demo').choices(['service', 'clients']).hideHelp(),
    )
    .option('--json', 'print the figures as JSON')
    .addHelpText('after', DEMO_UPGRADE_EXAMPLES)
    .action(async ({ json = false, role, ...flags }: DemoUpgradeFlags) => {
      if (role === 'service') await (await import('./demo-upgrade-service.ts')).serveNumbers();
      else if (role === 'clients') await (await import('./demo-upgrade-clients.ts')).runClients();
      else exitCode = await (await import('./demo-upgrade.ts')).runDemoUpgrade({ ...flags, json });
    });

  program
    .command('list')
    .description('list the RAMs of this host')
    .option('--json', 'print the list as JSON')
    .addHelpText('after', LIST_EXAMPLES)
    .action(async ({ json = false }: { json?: boolean }) => {
      exitCode = (await import('./rams.ts')).runList({ json });
    });

  program
    .command('inspect')
    .description('show what a RAM or a handover holds: sessions, files, preserved memory')
    .argument('<image>', 'a file, or the name of a RAM', wordValue('<image>'))
    .option('--json', 'print all of it as JSON, with the SHA-256 of every file')
    .addOption(new Option('--html', 'print a page with a map of physical memory').conflicts('json'))
    .option('--hash', 'print the SHA-256 of every file')
    .option('--all', 'print long lists in full')
    .option(
      '--entry <addresses>',
      'where the handover begins: fdtAddr,scratchAddr[,scratchSize]',
      entryValue('--entry'),
    )
    .option('--ram-size <size>', 'RAM of the machine that the image was taken of', ramSizeValue('--ram-size'))
    .addHelpText('after', INSPECT_EXAMPLES)
    .action(async (image: string, flags: InspectFlags) => {
      const { json = false, html = false, hash = false, all = false, ...hints } = flags;
      const options = { ...hints, json, html, hash, all };
      exitCode = await (await import('./inspect.ts')).runInspect(image, options);
    });

  program
    .command('check')
    .description('verify a RAM: what is damaged, and what can still be exported')
    .argument('<ram>', 'a RAM file, or the name of a RAM', wordValue('<ram>'))
    .option('--json', 'print all of it as JSON')
    .addHelpText('after', CHECK_EXAMPLES)
    .action(async (ram: string, { json = false }: { json?: boolean }) => {
      exitCode = await (await import('./check.ts')).runCheck(ram, { json });
    });

  program
    .command('export')
    .description('write a preserved file to disk')
    .argument('<image>', 'a file, or the name of a RAM', wordValue('<image>'))
    .argument('<session/token>', 'which file')
    .argument('<file>', 'where to; - for standard output', wordValue('<file>'))
    .option('--force', 'write over a file that is there')
    .option('--unfinished', 'look in the older sessions of that name')
    .option(
      '--entry <addresses>',
      'where the handover begins: fdtAddr,scratchAddr[,scratchSize]',
      entryValue('--entry'),
    )
    .option('--ram-size <size>', 'RAM of the machine that the image was taken of', ramSizeValue('--ram-size'))
    .addHelpText('after', EXPORT_EXAMPLES)
    .action(async (image: string, which: string, file: string, flags: ExportFlags) => {
      const { force = false, unfinished = false, ...hints } = flags;
      exitCode = await (
        await import('./export.ts')
      ).runExport(image, fileName(which), file, { ...hints, force, unfinished });
    });

  program
    .command('import')
    .description('put a file from disk into a handover; holes in it become zeros that take memory')
    .argument('<ram>', 'a RAM file, or the name of a RAM')
    .argument('<session/token>', 'which file it becomes')
    .argument('<file>', 'where from; - for standard input', wordValue('<file>'))
    .option('--size <size>', 'bytes of RAM, where there is none yet or a smaller one', ramSizeValue('--size'))
    .option('--huge', 'use 2 MiB folios')
    .addHelpText('after', IMPORT_EXAMPLES)
    .action(async (ram: string, which: string, file: string, flags: ImportFlags) => {
      exitCode = await (await import('./import.ts')).runImport(ram, fileName(which), file, flags);
    });

  program
    .command('remove')
    .description('remove a RAM that no program owns, with all that is in it')
    .argument('<ram>', 'a RAM file, or the name of a RAM')
    .addHelpText('after', REMOVE_EXAMPLES)
    .action(async (ram: string) => {
      exitCode = (await import('./rams.ts')).runRemove(ram);
    });

  program
    .command('make-image')
    .description('write files as a handover from which QEMU boots a real Linux')
    .argument('<folder>', 'that is made', wordValue('<folder>'))
    .argument('<session/token=file...>', 'which file becomes what')
    .requiredOption('--kernel <bzImage>', 'the kernel that boots from it')
    .option('--memory <size>', 'of the machine; default: what the files need', sizeValue('--memory'))
    .option('--flb <name=data>', 'state that the files share; may be given often', flbValue('--flb'), [])
    .option('--huge', 'give the files 2 MiB folios')
    .option('--json', 'print what was written as JSON')
    .addHelpText('after', MAKE_IMAGE_EXAMPLES)
    .action(async (folder: string, files: string[], flags: MakeImageFlags) => {
      const { flb: flbs, json = false, huge = false, ...rest } = flags;
      const { runMakeImage } = await import('./make-image.ts');
      exitCode = await runMakeImage(folder, files.map(imageFile), { ...rest, flbs, json, huge });
    });

  program
    .command('doctor')
    .description('say what this host offers, and what to do about the rest')
    .option('--json', 'print the checks as JSON')
    .addHelpText('after', DOCTOR_EXAMPLES)
    .action(async ({ json = false }: { json?: boolean }) => {
      exitCode = (await import('./doctor.ts')).runDoctor({ json });
    });

  program
    .command('compat')
    .description('say whether an update would lose something, before it is made')
    .argument('<from>', 'running, an image, a handover or a RAM', wordValue('<from>'))
    .argument('<to...>', 'running, an image, or a program')
    .option('--json', 'print it as JSON')
    .addHelpText('after', COMPAT_EXAMPLES)
    .action(async (from: string, to: string[], { json = false }: { json?: boolean }) => {
      exitCode = await (await import('./compat.ts')).runCompat(from, to.map(wordValue('<to>')), { json });
    });

  const kernel = kernelCommand((code) => {
    exitCode = code;
  });
  program.addCommand(kernel.copyInheritedSettings(program));
  for (const command of kernel.commands) command.copyInheritedSettings(kernel);

  dropOutputQuietly();
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0; // help or version
    if (error.code === 'commander.help') return 2; // no command: the help went to standard error
    throw usageError(error, argv);
  }
  return exitCode;
}

/**
 * A reader that has seen enough (`| head`) is no failure; a full disk is one, told in a sentence.
 */
function dropOutputQuietly(): void {
  if (process.stdout.listenerCount('error') > 0) return;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    process.stderr.write(
      `liveupdate: ${error.code ?? 'EIO'}: standard output cannot be written: ${printable(error.message)}\n`,
    );
    process.exit(1);
  });
}
