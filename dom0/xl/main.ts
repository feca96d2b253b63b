// The command line: finds the command and loads no more than it needs.
import { HOST_COMMANDS, runHostCommand } from './commands/table.ts';
import { EXIT, isForUser, UserError, XlError } from './user-error.ts';

type Command = (args: string[]) => Promise<number>;

const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  bare: async () => (await import('./bare.ts')).bare,
  host: async () => (await import('./host-command.ts')).hostCommand,
  create: async () => (await import('./create.ts')).create,
  profile: async () => (await import('./profile.ts')).profile,
  bench: async () => (await import('./bench.ts')).bench,
  demo: async () => (await import('./demo.ts')).demo,
  info: async () => (await import('./info.ts')).info,
  help: async () => (await import('./help.ts')).help,
};

export async function main(args: string[]): Promise<void> {
  let code: number;
  try {
    code = await run(args);
  } catch (e) {
    if (!isForUser(e)) throw e;
    const isXls = e instanceof XlError;
    process.stderr.write(`${isXls ? '' : 'ringworld: '}${e.message}\n`);
    code = isXls ? e.code : EXIT.error;
  }
  // Standard input may still be open; what was written must be out.
  await new Promise<void>((done) => process.stdout.write('', () => done()));
  process.exit(code);
}

async function run(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h') return (await import('./help.ts')).help(rest);
  if (name === '--version' || name === '-V') {
    process.stdout.write(`ringworld ${(await import('./version.ts')).version()}\n`);
    return EXIT.ok;
  }
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load !== undefined) return (await load())(rest);
  if (Object.hasOwn(HOST_COMMANDS, name)) return runHostCommand(name, rest);
  throw new UserError(`unknown command '${name}'; 'ringworld help' lists what there is`);
}
