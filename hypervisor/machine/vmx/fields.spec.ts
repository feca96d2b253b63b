// Encodings of VMCS fields: that each says of itself what the declaration says, and that the data of no two fields touch.

import { describe, expect, expectTypeOf, it } from 'vitest';
import {
  ALL_FIELDS,
  CLASSES,
  type Encoding,
  FIELDS,
  fieldOf,
  GUEST_SEGMENTS,
  type Narrow,
  VMCS,
  VMCS_BYTES,
  type VmcsName,
} from './fields.ts';

describe('encodings (SDM Vol 3C, 24.11.2)', () => {
  for (const [group, fields] of Object.entries(FIELDS))
    it(`of ${group} say so themselves`, () => {
      for (const [name, e] of Object.entries(fields)) {
        const width = { 16: 0, 64: 1, 32: 2, Natural: 3 }[group.replace(/^[a-z]+/, '')];
        const what = CLASSES.findIndex((c) => group.startsWith(c));
        // Bit 0: access type full; bit 12 and bits above 14 are reserved.
        expect([name, e & 0x7c00, e & ~0x6ffe]).toEqual([name, (width! << 13) | (what << 10), 0]);
        expect(fieldOf(e)).toMatchObject({ name, class: CLASSES[what] });
      }
    });
  it('are distinct, and each name is in one group', () => {
    const names = Object.values(FIELDS).flatMap((g) => Object.keys(g));
    expect(new Set(names).size).toBe(names.length);
    expect(Object.keys(VMCS).sort()).toEqual(names.sort());
    expect(new Set(ALL_FIELDS.map((f) => f.encoding)).size).toBe(ALL_FIELDS.length);
  });
  it('have a high half where the field is 64 bits wide, and there only', () => {
    for (const [name, e] of Object.entries(VMCS)) {
      const full = fieldOf(e)!;
      expect([name, fieldOf(e + 1) !== undefined]).toEqual([name, full.width === 64]);
      if (full.width === 64) expect(fieldOf(e + 1)).toMatchObject({ isHigh: true, slot: full.slot + 4 });
    }
  });
  it('that no processor has give no field', () => {
    for (const e of [-2, 1, 0x0801, 0x0802 + 0x1000, 0x482c, 0x6c1e, 0x8000, 0x1_0000_0000 + VMCS.GUEST_RIP])
      expect(fieldOf(e)).toBeUndefined();
  });
});

it('data of fields lie apart, and within the 4 KiB of a region', () => {
  const slots = ALL_FIELDS.filter((f) => !f.isHigh).map((f) => f.slot);
  expect(new Set(slots).size).toBe(slots.length);
  for (const s of slots) expect(s % 8).toBe(0);
  expect(VMCS_BYTES).toBeLessThanOrEqual(4096);
});

it('segment registers are in the order of their numbers, in every field', () => {
  for (const [i, s] of GUEST_SEGMENTS.entries())
    for (const [part, first] of [
      ['selector', VMCS.GUEST_ES_SELECTOR],
      ['limit', VMCS.GUEST_ES_LIMIT],
      ['access', VMCS.GUEST_ES_AR_BYTES],
      ['base', VMCS.GUEST_ES_BASE],
    ] as const)
      expect(s[part]).toBe(first + 2 * i);
});

it('the types know width and class', () => {
  expectTypeOf<typeof VMCS.GUEST_RIP>().toExtend<Encoding<'natural', 'guest'>>();
  expectTypeOf<typeof VMCS.GUEST_RIP>().not.toExtend<Narrow>();
  expectTypeOf<typeof VMCS.VM_EXIT_REASON>().toEqualTypeOf<0x4402>();
  expectTypeOf<typeof VMCS.VM_EXIT_REASON>().toExtend<Encoding<32, 'readonly'>>();
  expectTypeOf<typeof VMCS.VM_EXIT_REASON>().not.toExtend<Encoding<32, 'control'>>();
  expectTypeOf<keyof typeof VMCS>().toEqualTypeOf<VmcsName>();
  expectTypeOf<Encoding<16, 'readonly'>>().toBeNever();
});
