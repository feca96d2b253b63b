// `ringworld xenstore` on the host's side: toolstack/xenstore-command.ts on dom0's own connection.
import { xenstoreCommand } from '../toolstack/xenstore-command.ts';
import type { Handlers } from './host-handlers.ts';

const toBytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

export const xenstoreHandlers: Handlers<'xenstore'> = {
  xenstore: (m, call) =>
    new Promise((done) => {
      // In one piece, but for what goes on.
      let held: string[] | null = [];
      const outcome = xenstoreCommand(m.host.toolstack.xs, call.args.strings('args'), {
        out: (bytes) => {
          if (held === null) call.emit(toBytes(bytes));
          else held.push(bytes);
        },
        err: (line) => call.emit(line),
        columns: call.args.integerOrNull('columns'),
        ended: (code) => done({ code }),
      });
      const output = held.join('');
      held = null;
      if (output !== '') call.emit(toBytes(output));
      // A guest may be watching.
      m.poke();
      if ('code' in outcome) done(outcome);
      else
        call.onCancel(() => {
          outcome.stop();
          done({ code: 0 });
        });
    }),
};
