// `ringworld console`: a terminal at a domain's console (tools/console/client/main.c). Several may be attached; all see the same.
import type { HostClient } from '../host-client.ts';
import { Keyboard } from '../node-terminal.ts';
import { XlError } from '../user-error.ts';
import { command, type Environment } from './options.ts';

/** Attached until Ctrl-] or the end of the domain. */
export async function attachConsole(host: HostClient, domain: string, env: Environment, num = 0): Promise<number> {
  const call = host.open('console', { domain, num }, (bytes) => {
    if (bytes instanceof Uint8Array) process.stdout.write(bytes);
  });
  let hasLeft = false;
  const keyboard = new Keyboard({
    // A copy: the keyboard's buffer is Node's.
    typed: (bytes) => call.input(new Uint8Array(bytes)),
    backlog: () => 0,
    left: () => {
      hasLeft = true;
      call.cancel();
    },
  });
  try {
    await call.reply;
    if (hasLeft && keyboard.isTty) env.out('\n');
    return 0;
  } finally {
    keyboard.close();
  }
}

export const console = command(
  {
    name: 'console',
    synopsis: '[options] <Domain>',
    about: "Attach to domain's console. Ctrl-] leaves it.",
    options: {
      t: { text: 'Console type: pv', value: true, long: 'type' },
      n: { text: "Console number: 0 is the domain's own (the default), 1 the first channel", value: true, long: 'num' },
    },
    needs: 1,
    most: 1,
  },
  async (host, { rest, values }, env) => {
    const type = values.get('t') ?? 'pv';
    if (type !== 'pv') throw new XlError('console type supported are: pv');
    const num = values.get('n') ?? '0';
    if (!/^\d$/.test(num)) throw new XlError(`console: ${num} is no console's number`);
    return attachConsole(host, rest[0]!, env, Number(num));
  },
);
