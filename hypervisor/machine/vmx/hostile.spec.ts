// A VMCS of random contents, and random code under random controls: whatever a guest hypervisor writes, it gets an answer of the
// architecture, and the machine goes on.

import { expect, it } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { STATE } from '../state.ts';
import { ALL_FIELDS } from './fields.ts';
import { AT, G, VmxFixture } from './guest.fixture.ts';
import { VM_ENTRY_FAILED, VM_ERROR, VM_FAIL_INVALID, VM_SUCCEED } from './results.ts';

/** Marsaglia's xorshift, 32 bits. */
function random(seed: number): (below: number) => number {
  let x = seed;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}
const FIELDS = ALL_FIELDS.filter((f) => !f.isHigh && f.class !== 'readonly');
const OUTCOMES = new Set<number>([VM_SUCCEED, VM_ENTRY_FAILED, VM_ERROR.entryControls, VM_ERROR.entryHostState]);
const RUN_ENDS = new Set<number>([RunExit.vmexit, RunExit.deadline, RunExit.halt, RunExit.shutdown]);

/** Values near those that mean something: one bit more or less, an address somewhere, small numbers, noise. */
function mutate(t: VmxFixture, r: (below: number) => number): void {
  const f = FIELDS[r(FIELDS.length)]!;
  let lo = t.vmcs.fieldLo(f);
  let hi = t.vmcs.fieldHi(f);
  switch (r(5)) {
    case 0:
      lo ^= 1 << r(32);
      break;
    case 1:
      hi ^= 1 << r(32);
      break;
    case 2:
      lo = r(0x1000) * 4096;
      hi = 0;
      break;
    case 3:
      lo = r(16);
      hi = 0;
      break;
    default:
      lo = r(2 ** 32);
      hi = r(2 ** 32);
  }
  t.vmcs.setField(f, lo >>> 0, hi >>> 0);
}

it.each(['typescript', 'code'] as const)('no VMCS and no guest code can do more than fail, with a host in %s', (host) => {
  const counts = new Map<string, number>();
  for (let seed = 1; seed <= 150; seed++) {
    const r = random(seed * 0x9e3779b1);
    const t = new VmxFixture({ engine: 'interp' }, host).on();
    // A host that is code is in 64-bit mode; what it does after an exit does not matter here.
    t.cpu.setHalves(STATE.efer, 0xd01, 0);
    t.cpu.setHalves(STATE.cr0, 0x8001_0033, 0);
    t.cpu.setHalves(STATE.cr4, 0x2620, 0);
    t.cpu.modeChanged();
    // Half the code is instructions that VMX knows, half is noise.
    const code = Array.from({ length: 64 }, () => r(256));
    for (let i = 0; i < 8; i++) code.splice(r(48), 3, 0x0f, [0x01, 0x20, 0x22, 0xc7, 0x32, 0x30, 0x78, 0x79][r(8)]!, r(256));
    t.put(G.code, code);
    for (let n = 0; n < 16; n++) t.machine.ram.write32((AT.msrBitmap + 4 * r(1024)) as Maddr, r(2 ** 32));
    for (let n = r(4); n > 0; n--) mutate(t, r);
    for (let entry = 0; entry < 4; entry++) {
      const result = t.vmcs.launched ? t.vmx.vmresume() : t.vmx.vmlaunch();
      expect(OUTCOMES.has(result), `seed ${seed}: entry ${result}`).toBe(true);
      const key = result === VM_SUCCEED ? 'entered' : 'failed';
      counts.set(key, (counts.get(key) ?? 0) + 1);
      if (result !== VM_SUCCEED) break;
      const end = t.cpu.run(t.cpu.cycles + 200);
      expect(RUN_ENDS.has(end), `seed ${seed}: run ${end}`).toBe(true);
      if (host === 'code' || end !== RunExit.vmexit) break;
      t.skip();
      mutate(t, r);
    }
    t.vmx.reset();
    expect(t.cpu.nonRoot).toBeNull();
    expect(t.vmx.vmlaunch()).toBe(VM_FAIL_INVALID);
  }
  // Of both there must be many, or the test looks at one side only.
  expect(counts.get('entered')).toBeGreaterThan(75);
  expect(counts.get('failed')).toBeGreaterThan(30);
});
