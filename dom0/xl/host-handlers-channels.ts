// A terminal at a console beyond the first: one of the domain's channels (`console -n`).
import type { Call } from './host-handlers.ts';
import { guestOf } from './host-handlers.ts';
import type { HostMachine } from './host-machine.ts';
import { UserError } from './user-error.ts';

/** How often a terminal that was slow is looked at again. */
const LOOK_AGAIN_MS = 20;

export function channelCall(m: HostMachine, call: Call, num: number): Promise<null> {
  const { domid, name } = guestOf(m, call.args);
  const console = m.host.toolstack.consoled.console(domid, num);
  if (console === null) throw new UserError(`${name} has no console ${num}`);
  return new Promise((done) => {
    const leave = console.subscribe({
      room: () => call.room(),
      write: (bytes) => call.emit(bytes),
      end: () => end(),
    });
    const again = setInterval(() => console.serve(), LOOK_AGAIN_MS);
    const end = () => {
      clearInterval(again);
      leave();
      done(null);
    };
    call.onCancel(end);
    call.onInput((bytes) => {
      console.type(bytes);
      m.poke();
    });
  });
}
