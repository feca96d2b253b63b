// Host I/O in virtual time: what happens, and in what order, is the model's to say and not the host's.
import { domid, evtchnPort } from '@ringworld/abi';
import { expect, test } from 'vitest';
import { PlainXen } from './testing/plain-xen.ts';

/** A result now, or one for which the host takes some turns of its event loop. */
const fast = <T>(value: T): T => value;
const slow = async <T>(value: T): Promise<T> => {
  for (let i = 0; i < 5; i++) await new Promise((done) => setImmediate(done));
  return value;
};

/** Everything at the same moment: a guest's event, two operations, a timer, and a second event that the first operation brings about. */
async function happenings(read: <T>(value: T) => Promise<T> | T): Promise<{ log: string[]; work: unknown }> {
  const xen = new PlainXen();
  const { dom0 } = xen;
  const guest = xen.addDomain(1);
  const log: string[] = [];
  const at = (what: string) => log.push(`${xen.now} ${what}`);
  const ports = ['a', 'b'].map((name) => {
    const port = guest.allocPort(() => {});
    dom0.evtchn.bindInterdomain(domid(1), evtchnPort(port), () => at(`event ${name}`));
    return port;
  });
  await xen.run();
  log.length = 0;
  const start = xen.now;
  dom0.timers.after(1000, () => {
    at('timer 1');
    guest.notify(ports[0]!);
  });
  dom0.io.start(read('x'), 1000, () => {
    at('read 1');
    guest.notify(ports[1]!);
    dom0.io.atEnd(() => at('end'));
  });
  dom0.io.start(read('y'), 1000, () => at('read 2'));
  dom0.timers.after(1000, () => at('timer 2'));
  await xen.run();
  return { log: log.map((l) => l.replace(/^\d+/, (n) => String(Number(n) - start))), work: { ...dom0.observer.work } };
}

test('an operation is over when the model says so, however long the host takes, and all else keeps its order', async () => {
  const [one, two] = [await happenings(fast), await happenings(slow)];
  expect(one.log).toEqual([...one.log].sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)));
  expect(one.log.every((l) => l.startsWith('1000 '))).toBe(true);
  expect(one.log.map((l) => l.slice(5)).sort()).toEqual(['end', 'event a', 'event b', 'read 1', 'read 2', 'timer 1', 'timer 2']);
  expect(two).toEqual(one);
});

test("the host's error is a result", async () => {
  const xen = new PlainXen();
  const results: unknown[] = [];
  xen.dom0.io.start(Promise.reject(new Error('no such disk')), 10, (r) => results.push(r));
  await xen.run();
  expect(results).toEqual([{ error: new Error('no such disk') }]);
  expect(xen.dom0.io.inFlight).toBe(0);
});
