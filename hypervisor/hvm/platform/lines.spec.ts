// Interrupt lines, the vioapic and the vpic behind them, and the callback via, after xen/arch/x86/hvm/irq.c.

import { XEN_EINVAL } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { callbackViaOf } from '../../core/hvm-domain.ts';
import { APIC } from '../../machine/devices/lapic.ts';
import { pciIntxGsi, pciIntxLink } from './lines.ts';
import { createRig, eoiPics, IOAPIC_PAGE, type Rig, startPics } from './testing.ts';

const LEVEL = 1 << 15;
const MASKED = 1 << 16;

/** Takes an interrupt that must be there. */
function take(rig: Rig, vector: number): void {
  expect(rig.platform.pendingVector(rig.v)).toBe(vector);
  expect(rig.platform.acknowledge(rig.v)).toBe(vector);
}
const nothing = (rig: Rig): void => expect(rig.platform.pendingVector(rig.v)).toBe(-1);

describe('the vioapic', () => {
  it('has the 48 pins and the version of Xen’s, without an EOI register', () => {
    const rig = createRig();
    rig.platform.mmioWrite(rig.v, IOAPIC_PAGE, 4, 1);
    expect(rig.platform.mmioRead(rig.v, IOAPIC_PAGE + 0x10, 4)).toBe(0x2f_0011);
    rig.ioapic(40, LEVEL | 0x51);
    rig.platform.setGsi(40, true);
    take(rig, 0x51);
    rig.platform.mmioWrite(rig.v, IOAPIC_PAGE + 0x40, 4, 0x51);
    nothing(rig);
  });

  it('asks again after the EOI as long as a level stands', () => {
    const rig = createRig();
    rig.ioapic(pciIntxGsi(5, 0), LEVEL | 0x61);
    expect(rig.platform.setPciIntx(5, 0, true)).toBe(0);
    take(rig, 0x61);
    nothing(rig);
    rig.eoi();
    take(rig, 0x61);
    rig.platform.setPciIntx(5, 0, false);
    rig.eoi();
    nothing(rig);
  });

  it('takes an edge once, and loses it while the pin is masked', () => {
    const rig = createRig();
    rig.ioapic(4, 0x64);
    rig.platform.setIsaIrq(4, true);
    rig.platform.setIsaIrq(4, true);
    take(rig, 0x64);
    rig.eoi();
    nothing(rig);
    rig.platform.setIsaIrq(4, false);
    rig.ioapic(4, MASKED | 0x64);
    rig.platform.setIsaIrq(4, true);
    rig.ioapic(4, 0x64);
    nothing(rig);
  });

  it('leads to the APIC ID that the entry names', () => {
    const rig = createRig({ vcpus: 2 });
    rig.ioapic(20, 0x71, 2);
    rig.platform.setGsi(20, true);
    nothing(rig);
    expect(rig.platform.acknowledge(rig.vcpus[1]!)).toBe(0x71);
  });

  it('shares a GSI: it falls when the last source lets go', () => {
    const rig = createRig();
    // Device 0 INTA and device 31 INTB: ((d << 2) + (d >> 3) + intx) & 31.
    expect([pciIntxGsi(0, 0), pciIntxGsi(8, 3), pciIntxGsi(31, 1)]).toEqual([16, 20, 16]);
    rig.ioapic(16, LEVEL | 0x61);
    rig.platform.setPciIntx(0, 0, true);
    rig.platform.setPciIntx(31, 1, true);
    take(rig, 0x61);
    rig.platform.setPciIntx(0, 0, false);
    rig.eoi();
    take(rig, 0x61);
    rig.platform.setPciIntx(31, 1, false);
    rig.eoi();
    nothing(rig);
  });

  it('refuses lines that there are not', () => {
    const { platform } = createRig();
    const results = [
      platform.setGsi(48, true),
      platform.setGsi(-1, true),
      platform.setGsi(1.5, true),
      platform.setIsaIrq(16, true),
      platform.setPciIntx(32, 0, true),
      platform.setPciIntx(0, 4, true),
      platform.setPciLinkRoute(4, 5),
      platform.setPciLinkRoute(0, 16),
    ];
    expect(results).toEqual(results.map(() => -XEN_EINVAL));
  });
});

describe('the vpic', () => {
  it('comes in at LINT0 of the vCPU whose LVT lets it through, before the vlapic’s own', () => {
    const rig = createRig({ vcpus: 2 });
    startPics(rig);
    rig.platform.injectMsi(0xfee0_0000, 0xf0);
    rig.platform.setIsaIrq(4, true);
    expect(rig.platform.pendingVector(rig.vcpus[1]!)).toBe(-1);
    take(rig, 0x24);
    take(rig, 0xf0);
  });

  it('comes in by pin 0 of the vioapic too, as ExtINT to one APIC ID', () => {
    const rig = createRig({ vcpus: 2 });
    startPics(rig);
    rig.apic(APIC.lvtLint0, MASKED);
    rig.platform.setIsaIrq(4, true);
    nothing(rig);
    rig.kicks[1]!.length = 0;
    rig.ioapic(0, 0x700, 2);
    expect(rig.kicks[1]!.length).toBeGreaterThan(0);
    nothing(rig);
    expect(rig.platform.acknowledge(rig.vcpus[1]!)).toBe(0x24);
    expect(rig.platform.pendingVector(rig.vcpus[1]!)).toBe(-1);
  });

  it('gets PCI interrupts over the links’ routes, which move with what is asserted', () => {
    const rig = createRig();
    startPics(rig);
    // Both 8259s: lines 10 and 11 level-triggered.
    rig.out(0x4d1, 0x0c);
    expect(pciIntxLink(5, 0)).toBe(1);
    rig.platform.setPciIntx(5, 0, true);
    nothing(rig);
    rig.platform.setPciLinkRoute(1, 10);
    take(rig, 0x2a);
    rig.platform.setPciIntx(1, 0, true);
    rig.platform.setPciIntx(5, 0, false);
    eoiPics(rig);
    // Device 1 INTA is on the same link.
    take(rig, 0x2a);
    rig.platform.setPciLinkRoute(1, 11);
    eoiPics(rig);
    take(rig, 0x2b);
    rig.platform.setPciIntx(1, 0, false);
    eoiPics(rig);
    nothing(rig);
  });

  it('gives its spurious vector for a request that goes away between pending and INTA', () => {
    const rig = createRig();
    startPics(rig);
    rig.platform.setIsaIrq(5, true);
    expect(rig.platform.pendingVector(rig.v)).toBe(0x25);
    rig.platform.setIsaIrq(5, false);
    expect(rig.platform.acknowledge(rig.v)).toBe(-1);
  });
});

const GSI = 0n << 56n;
const INTX = 1n << 56n;
const VECTOR = 2n << 56n;
const setVia = (rig: Rig, value: bigint): void => rig.platform.setCallbackVia(callbackViaOf(value));

describe('an event channel’s upcall', () => {
  it('by callback vector stands above everything until the guest clears evtchn_upcall_pending, on any vCPU', () => {
    const rig = createRig({ vcpus: 2 });
    setVia(rig, VECTOR | 0xf3n);
    rig.setUpcallPending(true, rig.vcpus[1]!);
    expect(rig.kicks.map((k) => k.length)).toEqual([0, 1]);
    const second = rig.vcpus[1]!;
    rig.platform.localApic(second).setCr8(15);
    rig.platform.injectMsi(0xfee0_2000, 0xfe);
    for (let i = 0; i < 2; i++) {
      expect(rig.platform.pendingVector(second)).toBe(0xf3);
      expect(rig.platform.acknowledge(second)).toBe(0xf3);
    }
    rig.setUpcallPending(false, second);
    expect(rig.platform.pendingVector(second)).toBe(-1);
    nothing(rig);
  });

  it('by a vector of the vCPU’s own goes through the vlapic, once', () => {
    const rig = createRig({ vcpus: 2 });
    const second = rig.vcpus[1]!;
    second.hvm!.upcallVector = 0xf4;
    rig.setUpcallPending(true, second);
    expect(rig.platform.acknowledge(second)).toBe(0xf4);
    expect(rig.platform.pendingVector(second)).toBe(-1);
    rig.eoi(second);
    expect(rig.platform.pendingVector(second)).toBe(-1);
  });

  const lines: readonly [string, bigint, number][] = [
    ['a GSI', GSI | 28n, 28],
    ['an INTx wire', INTX | (3n << 11n) | 0n, pciIntxGsi(3, 0)],
  ];
  for (const [name, via, gsi] of lines)
    it(`by ${name} is a level that falls at a VM exit after the guest has cleared evtchn_upcall_pending`, () => {
      const rig = createRig({ vcpus: 2 });
      rig.ioapic(gsi, LEVEL | 0x61);
      setVia(rig, via);
      // Only vCPU 0 has it.
      rig.setUpcallPending(true, rig.vcpus[1]!);
      nothing(rig);
      rig.setUpcallPending(true);
      take(rig, 0x61);
      rig.platform.vmexit();
      rig.eoi();
      take(rig, 0x61);
      rig.setUpcallPending(false);
      rig.platform.vmexit();
      rig.eoi();
      nothing(rig);
      rig.setUpcallPending(true);
      take(rig, 0x61);
    });

  it('by an ISA line’s GSI reaches the vpic too, and moves with the via', () => {
    const rig = createRig();
    startPics(rig);
    rig.out(0x4d0, 0x20);
    setVia(rig, GSI | 5n);
    rig.setUpcallPending(true);
    take(rig, 0x25);
    eoiPics(rig);
    take(rig, 0x25);
    setVia(rig, GSI | 7n);
    eoiPics(rig);
    take(rig, 0x27);
    setVia(rig, 0n);
    eoiPics(rig);
    nothing(rig);
  });

  it('by a GSI that there is not, or by a line of a domain without controllers, is none', () => {
    const rig = createRig();
    setVia(rig, GSI | 48n);
    rig.setUpcallPending(true);
    rig.platform.vmexit();
    const pvh = createRig({ emulation: 1 });
    setVia(pvh, VECTOR | 0xf3n);
    setVia(pvh, GSI | 5n);
    pvh.setUpcallPending(true);
    take(pvh, 0xf3);
  });

  it('leaves the vlapic’s registers alone', () => {
    const rig = createRig();
    setVia(rig, VECTOR | 0xf3n);
    rig.setUpcallPending(true);
    rig.platform.acknowledge(rig.v);
    expect(rig.apicRead(APIC.isr + 7)).toBe(0);
    expect(rig.apicRead(APIC.ppr)).toBe(0);
  });
});
