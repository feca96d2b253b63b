// `ringworld xenstore`: what xenstore(1) does, on the host's store.
import { type HostCommand, type Usage, usageText } from './options.ts';

const USAGE: Usage = {
  name: 'xenstore',
  synopsis: '[--socket PATH] ls|read|write|rm|exists|list|chmod|watch [options] [arguments]',
  about:
    'Look into XenStore and change it, as xenstore(1) and xenstore-ls(1) do:\n' +
    '  ls [-f] [-p] [path]             the tree; -f: whole paths, nothing cut; -p: with permissions\n' +
    '  read [-p] [-R] key [...]        -p: with the key before; -R: the bytes as they are\n' +
    '  write [-R] key value [...]      \\n, \\t, \\\\, \\x1b, \\033 stand for what they say, unless -R\n' +
    '  rm [-t] key [...]               -t: and what is empty above\n' +
    '  exists key [...]                exit code 0 if all are there\n' +
    '  list [-p] key [...]             the names below\n' +
    '  chmod [-u] [-r] key mode [...]  modes are n, r, w or b and a domain; -u: up to the root; -r: all below\n' +
    '  watch [-n NR] key [...]         each change at or below; -n: so many',
};

const run: HostCommand = async (args, env) => {
  let socket: string | null = null;
  let rest = args;
  if (args[0] === '--socket') {
    socket = args[1] ?? null;
    rest = args.slice(2);
  }
  if (rest[0] === undefined || rest[0] === '-h' || rest[0] === '--help') {
    env.out(usageText(USAGE));
    return rest[0] === undefined ? 1 : 0;
  }
  const host = await env.connect(socket);
  try {
    const columns = process.stdout.isTTY ? process.stdout.columns : null;
    const call = host.open('xenstore', { args: rest, columns }, (event) => {
      if (typeof event === 'string') env.err(`${event}\n`);
      else if (event instanceof Uint8Array) process.stdout.write(event);
    });
    return (await call.reply).code;
  } finally {
    host.close();
  }
};

export const xenstore = { usage: USAGE, run };
