// `ringworld trace`: what happens on the rings, in the store and on vCPUs, in virtual time; and `ringworld dump ring`: a ring as it is.
import { closeSync, openSync, writeSync } from 'node:fs';
import { formatOf, parseClasses, TRACE_CLASSES } from '../../observe/index.ts';
import { UserError, XlError } from '../user-error.ts';
import { command, whole } from './options.ts';

export const trace = command(
  {
    name: 'trace',
    synopsis: '[-f] [-w FILE] [-e LIST]',
    about:
      'Show what split drivers do, on one axis of virtual time, until it is interrupted: requests and responses, events sent or suppressed,\n' +
      'grants mapped and copied, store messages, states; and what guests do on their vCPUs: hypercalls, events, running and waiting.\n' +
      'Without -f or -w all of it is shown at the end.',
    options: {
      f: { text: 'show it as it comes', long: 'follow' },
      w: { text: 'write to FILE: Chrome trace JSON for Perfetto (.json), lines (.txt), msgpack (.msgpack)', value: true, long: 'write' },
      e: { text: `only these: ${TRACE_CLASSES.join(',')}`, value: true, long: 'events' },
    },
    most: 0,
  },
  async (host, { flags, values }, env) => {
    const events = values.get('e');
    const classes = events === undefined ? new Set(TRACE_CLASSES) : parseClasses(events);
    if (classes === null) throw new XlError(`trace: -e ${events}: there are ${TRACE_CLASSES.join(', ')}`);
    const file = values.get('w') ?? null;
    const fd = file === null ? null : open(file);
    const decoder = new TextDecoder();
    const held: string[] = [];
    const call = host.open(
      'trace',
      { format: file === null ? 'txt' : formatOf(file), classes: Object.fromEntries([...classes].map((c) => [c, ''])) },
      (bytes) => {
        if (!(bytes instanceof Uint8Array)) return;
        if (fd !== null) writeSync(fd, bytes);
        else if (flags.has('f')) env.out(decoder.decode(bytes, { stream: true }));
        else held.push(decoder.decode(bytes, { stream: true }));
      },
    );
    const end = () => call.cancel();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end);
    // The reader went away (`| head`).
    process.stdout.once('error', end);
    try {
      const { records, missed } = await call.reply;
      for (const text of held) env.out(text);
      env.err(`${records} records${missed === 0 ? '' : `, ${missed} lost: they came faster than they could be sent`}\n`);
    } finally {
      if (fd !== null) closeSync(fd);
    }
    return 0;
  },
);

function open(file: string): number {
  try {
    return openSync(file, 'w');
  } catch (e) {
    throw new UserError(`trace: ${file}: ${e instanceof Error ? e.message : String(e)}`);
  }
}

export const dump = command(
  {
    name: 'dump',
    synopsis: 'ring <Domain> <Device>',
    about:
      'Show a ring that a domain shares with dom0: producer indices, event indices, and the slots decoded. Device: console, xenstore,\n' +
      'xvda or vbd/51712, vif/0; with /N for queue N alone.',
    options: { n: { text: 'answered slots to show beside those that wait (4)', value: true, long: 'history' } },
    needs: 3,
    most: 3,
  },
  async (host, { rest, values }, env) => {
    const [what, domain, device] = rest as [string, string, string];
    if (what !== 'ring') throw new XlError(`dump: "${what}": there is ring`);
    const history = values.get('n');
    const n = history === undefined ? null : whole(history, `dump: -n ${history}: not a number`);
    env.out(await host.call('dumpRing', { domain, device, history: n }));
    return 0;
  },
);
