// `ringworld net`: the bridges of the running machine, and captures of what passes them.
import { CaptureFile } from '../node-capture-file.ts';
import { UserError, XlError } from '../user-error.ts';
import { command, json } from './options.ts';

export const net = command(
  {
    name: 'net',
    synopsis: 'list | capture [-w FILE] [BRIDGE | DOMAIN/DEVID]',
    about:
      'list: bridges, their ports with counters (tx: what the port sent), and the addresses learned there.\n' +
      'capture: what passes all bridges, one, or one interface, as pcapng in virtual time, until it is interrupted:\n' +
      '  ringworld net capture xenbr0 | wireshark -k -i -',
    options: {
      w: { text: 'write to FILE, not to standard output', value: true, long: 'write' },
      json: { text: 'list: as JSON' },
    },
    needs: 1,
    most: 2,
  },
  async (host, { rest, values, flags }, env) => {
    const [what, target = null] = rest;
    if (what === 'list') {
      const bridges = await host.call('netList', {});
      if (flags.has('json')) {
        json(env, bridges);
        return 0;
      }
      for (const bridge of bridges) {
        env.out(`${bridge.name}\n`);
        for (const p of bridge.ports)
          env.out(
            `  ${p.name.padEnd(15)} tx ${p.txPackets} (${p.txBytes} bytes), rx ${p.rxPackets} (${p.rxBytes} bytes), ${p.rxDropped} dropped` +
              `${p.addresses.length === 0 ? '' : `  ${p.addresses.join(' ')}`}\n`,
          );
      }
      return 0;
    }
    if (what !== 'capture') throw new XlError(`net: "${what}": there are list and capture`);
    const path = values.get('w') ?? null;
    if (path === null && process.stdout.isTTY) throw new UserError('net capture: this would go to the terminal: give -w FILE, or a pipe');
    const file = path === null ? null : new CaptureFile(path, (line) => env.err(`ringworld: ${line}\n`));
    const call = host.open('netCapture', { target }, (bytes) => {
      if (!(bytes instanceof Uint8Array)) return;
      if (file !== null) file.write(bytes);
      else process.stdout.write(bytes);
    });
    const end = () => call.cancel();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end);
    // The reader went away (`| head`).
    process.stdout.once('error', end);
    try {
      const { packets, dropped } = await call.reply;
      env.err(`${packets} packets captured${dropped === 0 ? '' : `, ${dropped} left out: they came faster than they could be written`}\n`);
    } finally {
      file?.close();
    }
    return 0;
  },
);
