// The command line: finds the command and loads no more than it needs.
import { EXIT, isForUser, UserError } from './user-error.ts';

type Command = (args: string[]) => Promise<number>;

const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  bare: async () => (await import('./bare.ts')).bare,
  create: async () => (await import('./create.ts')).create,
  profile: async () => (await import('./profile.ts')).profile,
  demo: async () => (await import('./demo.ts')).demo,
  info: async () => (await import('./info.ts')).info,
  help: async () => (await import('./help.ts')).help,
};

/** Commands of xl that need a machine which keeps running. */
const NEED_HOST = new Set(
  'list console destroy shutdown reboot pause unpause dmesg top vcpu-list block-attach network-attach save restore migrate'.split(' '),
);

export async function main(args: string[]): Promise<void> {
  let code: number;
  try {
    code = await run(args);
  } catch (e) {
    if (!isForUser(e)) throw e;
    process.stderr.write(`ringworld: ${e.message}\n`);
    code = EXIT.error;
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
  if (load === undefined) throw new UserError(unknown(name));
  return (await load())(rest);
}

function unknown(name: string): string {
  if (NEED_HOST.has(name))
    return `'${name}' needs a machine that keeps running, which this version has not; see 'ringworld create -F' and 'ringworld help'`;
  return `unknown command '${name}'; 'ringworld help' lists what there is`;
}
