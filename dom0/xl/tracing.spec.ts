import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildHello64 } from '@ringworld/guests';
import { afterAll, describe, expect, it } from 'vitest';
import { parseBlkbackOptions } from '../blkback/index.ts';
import { readTrace } from '../observe/index.ts';
import { checkChromeTrace } from '../observe/testing.ts';
import { demoGuest } from './demo.ts';
import type { Host } from './host.ts';
import { ConsoleOutput } from './output.ts';
import { Session } from './session.ts';
import { traceClasses, traceToFile } from './trace-file.ts';
import { Tracing } from './tracing.ts';
import { UserError } from './user-error.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-tracing-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** The built-in guest, watched. */
async function run(observe: (host: Host) => void): Promise<Host> {
  const session = new Session({
    guests: [demoGuest('hello64', buildHello64())],
    cpus: 1,
    deadline: performance.now() + 60_000,
    pace: () => false,
    world: { canWake: () => false, wait: async () => {} },
    outputs: [new ConsoleOutput({ room: () => 4096, write: () => {} })],
    log: null,
    note: () => {},
    observe,
  });
  await session.run();
  return session.host;
}
const hooks = (host: Host) => [
  host.hv.trace,
  host.hv.traceRunstate,
  host.toolstack.dom0.observer.sink,
  host.toolstack.xenstored.trace,
  host.toolstack.xenstored.traceEvent,
];

describe('traces of one machine', () => {
  it('share its hooks, each with what it asked for; without any there are no hooks', async () => {
    const open: ReturnType<Tracing['start']>[] = [];
    const host = await run((h) => {
      expect(hooks(h)).toEqual([null, null, null, null, null]);
      const tracing = new Tracing(h);
      open.push(tracing.start({ classes: new Set(['store']) }), tracing.start({ classes: new Set(['run', 'hypercall']), capacity: 64 }));
      // Nobody asked for rings or events: that hook stays off.
      expect(hooks(h).map((x) => x !== null)).toEqual([true, true, false, true, true]);
    });
    const [store, guest] = open as [(typeof open)[0], (typeof open)[0]];
    const kinds = (t: typeof store) => new Set(t.recorder.read(0).records.map((r) => r.event.kind));
    expect([...kinds(store)].every((k) => k === 'xenstore' || k === 'watch')).toBe(true);
    expect([...kinds(guest)].every((k) => k === 'runstate' || k === 'hypercall')).toBe(true);
    expect(guest.recorder.read(0).records).toHaveLength(64);
    expect(guest.recorder.dropped).toBe(guest.recorder.position - 64);
    expect([guest.nameOf(0), guest.nameOf(1), guest.nameOf(9)]).toEqual(['Domain-0', 'hello64', null]);
    store.close();
    expect(host.hv.trace).not.toBeNull();
    expect(host.toolstack.xenstored.trace).toBeNull();
    guest.close();
    guest.close();
    expect(hooks(host)).toEqual([null, null, null, null, null]);
  });

  it('go into files as they come, the same in both kinds, and the same each time', async () => {
    const files = ['one.msgpack', 'two.msgpack', 'three.json'].map((name) => join(scratch, name));
    for (const file of files) {
      let end = () => {};
      await run((h) => {
        end = traceToFile(new Tracing(h), file);
      });
      end();
    }
    const [one, two] = files.slice(0, 2).map((f) => readTrace(readFileSync(f)));
    expect(one!.records.length).toBeGreaterThan(100);
    expect(one).toEqual(two);
    expect(one!.domains).toEqual({ '0': 'Domain-0', '1': 'hello64' });
    const { arrows, slices } = checkChromeTrace(readFileSync(files[2]!, 'utf8'));
    expect(arrows).toBe(one!.records.filter((r) => r.event.kind === 'send').length);
    expect(slices).toBeGreaterThan(0);
  });

  it('refuse what they do not know by name', () => {
    expect(traceClasses(null)).toBeUndefined();
    expect(() => traceClasses('ring,everything')).toThrow(UserError);
    expect(() => traceToFile(new Tracing({} as Host), join(scratch, 'no/such/folder.json'))).toThrow(UserError);
  });
});

describe("the block backend's switches", () => {
  it('are given by name, and checked', () => {
    expect(parseBlkbackOptions('data=copy,NOTIFY=each,maxQueues=1,flush=0')).toEqual({
      data: 'copy',
      notify: 'each',
      maxQueues: 1,
      flush: false,
    });
    expect(parseBlkbackOptions('')).toEqual({});
    for (const wrong of ['data=flip', 'maxQueues=two', 'flush=yes', 'speed=11']) expect(() => parseBlkbackOptions(wrong)).toThrow();
  });
});
