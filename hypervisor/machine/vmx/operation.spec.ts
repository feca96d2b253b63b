// VMX as software sees it: the opcodes with a host that is code, entries with what they load and inject, and the less usual of what runs
// in non-root operation.

import { beforeEach, describe, expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { CS, EFLAGS, GS, RAX, RBX, RCX, RDX, RSP, SS, STATE, TR } from '../state.ts';
import type { LocalApic } from '../system/ports.ts';
import { readTsc } from '../system/time.ts';
import { EXIT, PIN, PRIMARY, SECONDARY } from './controls.ts';
import { VMCS } from './fields.ts';
import { AT, G, VmxFixture } from './guest.fixture.ts';
import { VM_ENTRY_FAILED, VM_ERROR, VM_FAIL_INVALID, VM_SUCCEED } from './results.ts';
import { Vmcs } from './vmcs.ts';
import { INVEPT, INVVPID } from './vmx.ts';

const HLT = 0xf4;
const NOP = 0x90;
const VALID = 0x8000_0000;
const DATA = 0x5_0000;
const abs32 = (v: number): number[] => [v & 255, (v >>> 8) & 255, (v >>> 16) & 255, v >>> 24];
const MOV_EAX = (v: number): number[] => [0xb8, ...abs32(v)];
const MOV_ECX = (v: number): number[] => [0xb9, ...abs32(v)];
const STORE = (v: number): number[] => [0xc7, 0x04, 0x25, ...abs32(v), 1, 0, 0, 0];
const LOAD = (v: number): number[] => [0x8b, 0x04, 0x25, ...abs32(v)];

/** Host tables at 1 MiB: the first 4 MiB one to one. Host code at 1.1 MiB. */
const HOST = {
  pml4: 0x10_0000,
  pdpt: 0x10_1000,
  pd: 0x10_2000,
  code: 0x11_0000,
  exit: 0x11_1000,
  operand: 0x11_2000,
  stack: 0x12_0000,
} as const;
function hostTables(t: VmxFixture): void {
  const put = (at: number, v: number) => t.machine.ram.write32(at as Maddr, v);
  put(HOST.pml4, HOST.pdpt | 7);
  put(HOST.pdpt, HOST.pd | 7);
  put(HOST.pd, 0x87);
  put(HOST.pd + 8, 0x20_0087);
}
/** The CPU in 64-bit mode at level 0, as a VMM has it before VMXON. */
function hostCode(t: VmxFixture, code: readonly number[]): void {
  const { cpu } = t;
  hostTables(t);
  cpu.setHalves(STATE.cr0, 0x8001_0033, 0);
  cpu.setHalves(STATE.cr3, HOST.pml4, 0);
  cpu.setHalves(STATE.cr4, 0x2620, 0);
  cpu.setHalves(STATE.efer, 0xd01, 0);
  cpu.setSegment(CS, 8, 0xa09b, 0xffff_ffff, 0);
  cpu.setSegment(SS, 16, 0xc093, 0xffff_ffff, 0);
  cpu.setSegment(TR, 24, 0x8b, 0x67, 0);
  cpu.setU32(STATE.cpl, 0);
  cpu.rflags = 2;
  cpu.setRegLin(RSP, HOST.stack);
  cpu.delivery = 'idt';
  cpu.modeChanged();
  t.machine.ram.writeBytes(HOST.code as Maddr, Uint8Array.from(code));
  cpu.rip = HOST.code as Lin;
}
/** An instruction with a memory operand of 64 bits that holds a physical address. */
function withAddress(t: VmxFixture, slot: number, opcode: readonly number[], address: number): number[] {
  const at = HOST.operand + 8 * slot;
  t.machine.ram.write64(at as Maddr, BigInt(address));
  const last = opcode.at(-1)!;
  return [...opcode.slice(0, -1), (last << 3) | 4, 0x25, ...abs32(at)];
}
const vmxonOp = (t: VmxFixture, at: number): number[] => withAddress(t, 0, [0xf3, 0x0f, 0xc7, 6], at);
const vmclearOp = (t: VmxFixture, at: number): number[] => withAddress(t, 1, [0x66, 0x0f, 0xc7, 6], at);
const vmptrldOp = (t: VmxFixture, at: number): number[] => withAddress(t, 2, [0x0f, 0xc7, 6], at);
const VMLAUNCH = [0x0f, 0x01, 0xc2];
const VMRESUME = [0x0f, 0x01, 0xc3];
const VMXOFF = [0x0f, 0x01, 0xc4];
/** mov ecx, field; vmread rdx, rcx / vmwrite rcx, rdx */
const VMREAD = (field: number): number[] => [...MOV_ECX(field), 0x0f, 0x78, 0xca];
const VMWRITE = (field: number): number[] => [...MOV_ECX(field), 0x0f, 0x79, 0xca];

describe('a host that is code', () => {
  it('enters a guest by opcodes, and goes on at HOST_RIP with the host state', () => {
    const t = new VmxFixture({}, 'code');
    t.put(G.code, [0x0f, 0xa2, HLT]);
    t.vmcs.writeLin(VMCS.HOST_CR3, HOST.pml4);
    t.vmcs.writeLin(VMCS.HOST_GS_BASE, 0x12_3000);
    t.vmcs.write32(VMCS.HOST_GS_SELECTOR, 0x28);
    hostCode(t, [...vmxonOp(t, AT.vmxon), ...vmclearOp(t, AT.vmcs), ...vmptrldOp(t, AT.vmcs), ...VMLAUNCH, 0x0f, 0x0b]);
    // The exit handler: how it began; then past CPUID, and back into the guest; the second time it stops.
    const again = [...VMREAD(VMCS.GUEST_RIP), 0x48, 0x83, 0xc2, 0x02, ...VMWRITE(VMCS.GUEST_RIP), ...VMRESUME];
    const code = [0xff, 0xc3, ...VMREAD(VMCS.VM_EXIT_REASON), 0x83, 0xfa, 10, 0x75, again.length, ...again, ...VMXOFF, HLT];
    t.machine.ram.writeBytes(HOST.code as Maddr, t.machine.ram.readBytes(HOST.code as Maddr, 64));
    t.machine.ram.writeBytes(0x11_1000 as Maddr, Uint8Array.from(code));
    t.vmcs.writeLin(VMCS.HOST_RIP, HOST.exit);
    expect(t.cpu.run(10_000)).toBe(RunExit.halt);
    expect([...t.vmx.exits].flatMap((n, reason) => (n ? [[reason, n]] : []))).toEqual([
      [10, 1],
      [12, 1],
    ]);
    expect(t.cpu.reg(RDX)).toBe(12n);
    expect(t.cpu.regLo(RBX)).toBe(2);
    expect(t.cpu.regLin(RSP)).toBe(HOST.stack);
    expect([t.cpu.selector(CS), t.cpu.segAttributes(CS), t.cpu.selector(SS), t.cpu.segAttributes(SS)]).toEqual([8, 0xa09b, 16, 0xc093]);
    expect([t.cpu.selector(GS), t.cpu.segBase(GS), t.cpu.selector(TR)]).toEqual([0x28, 0x12_3000, 24]);
    expect(t.cpu.lin(STATE.cr3)).toBe(HOST.pml4);
    expect(t.vmx.isOn).toBe(false);
    expect(t.cpu.nonRoot).toBeNull();
    // What the guest's last exit left in the VMCS.
    expect(t.vmcs.readLin(VMCS.GUEST_RIP)).toBe(G.code + 2);
  });

  const outcome = (t: VmxFixture, code: readonly number[]): string => {
    hostCode(t, [...code, HLT]);
    t.cpu.delivery = 'host';
    const exit = t.cpu.run(10_000);
    if (exit === RunExit.exception) return `exception ${t.cpu.event.vector}`;
    const f = t.cpu.rflags & (EFLAGS.CF | EFLAGS.ZF);
    return f === 0 ? 'succeed' : f === EFLAGS.CF ? 'failInvalid' : `fail ${t.vmcs.read32(VMCS.VM_INSTRUCTION_ERROR)}`;
  };
  it.each<[string, string, (t: VmxFixture) => readonly number[], (t: VmxFixture) => void]>([
    ['VMLAUNCH before VMXON', 'exception 6', () => VMLAUNCH, () => {}],
    ['VMXON', 'succeed', (t) => vmxonOp(t, AT.vmxon), () => {}],
    ['VMXON of a region with another revision', 'failInvalid', (t) => vmxonOp(t, AT.msrList), () => {}],
    ['VMXON that is not aligned', 'failInvalid', (t) => vmxonOp(t, AT.vmxon + 8), () => {}],
    ['VMXON in VMX operation', `fail ${VM_ERROR.vmxonInRoot}`, (t) => vmxonOp(t, AT.vmxon), (t) => t.on()],
    ['VMCALL in root operation', `fail ${VM_ERROR.vmcallInRoot}`, () => [0x0f, 0x01, 0xc1], (t) => t.on()],
    ['VMFUNC in root operation', 'exception 6', () => [0x0f, 0x01, 0xd4], (t) => t.on()],
    ['VMPTRLD of the VMXON region', `fail ${VM_ERROR.vmptrldVmxonPointer}`, (t) => vmptrldOp(t, AT.vmxon), (t) => t.on()],
    ['VMPTRLD of another revision', `fail ${VM_ERROR.vmptrldRevision}`, (t) => vmptrldOp(t, AT.msrList), (t) => t.on()],
    ['VMPTRLD past the physical addresses', `fail ${VM_ERROR.vmptrldAddress}`, (t) => vmptrldOp(t, 2 ** 50), (t) => t.on()],
    ['VMCLEAR of the VMXON region', `fail ${VM_ERROR.vmclearVmxonPointer}`, (t) => vmclearOp(t, AT.vmxon), (t) => t.on()],
    ['VMCLEAR of the current VMCS, then VMLAUNCH', 'failInvalid', (t) => [...vmclearOp(t, AT.vmcs), ...VMLAUNCH], (t) => t.on()],
    ['VMRESUME of a VMCS that is clear', `fail ${VM_ERROR.vmresumeNotLaunched}`, () => VMRESUME, (t) => t.on()],
    ['VMLAUNCH after MOV SS', `fail ${VM_ERROR.blockedByMovSs}`, () => [...MOV_EAX(0), 0x8e, 0xd0, ...VMLAUNCH], (t) => t.on()],
    [
      'VMLAUNCH with a control that must be 1',
      `fail ${VM_ERROR.entryControls}`,
      () => VMLAUNCH,
      (t) => t.on().vmcs.write32(VMCS.PIN_BASED_VM_EXEC_CONTROL, 0),
    ],
    [
      'VMLAUNCH with a host CR4 without VMXE',
      `fail ${VM_ERROR.entryHostState}`,
      () => VMLAUNCH,
      (t) => t.on().vmcs.writeLin(VMCS.HOST_CR4, 0x620),
    ],
    ['VMREAD of no field', `fail ${VM_ERROR.unsupportedField}`, () => VMREAD(0x7000), (t) => t.on()],
    ['VMWRITE of an exit information field', 'succeed', () => VMWRITE(VMCS.VM_EXIT_REASON), (t) => t.on()],
    [
      'INVEPT of type 0',
      `fail ${VM_ERROR.invalidOperand}`,
      () => [0x31, 0xc9, 0x66, 0x0f, 0x38, 0x80, 0x0c, 0x25, ...abs32(HOST.operand)],
      (t) => t.on(),
    ],
    ['INVEPT of all', 'succeed', () => [...MOV_ECX(2), 0x66, 0x0f, 0x38, 0x80, 0x0c, 0x25, ...abs32(AT.msrList)], (t) => t.on()],
    [
      'INVVPID of VPID 0',
      `fail ${VM_ERROR.invalidOperand}`,
      () => [...MOV_ECX(1), 0x66, 0x0f, 0x38, 0x81, 0x0c, 0x25, ...abs32(AT.msrList)],
      (t) => t.on(),
    ],
  ])('%s: %s', (_what, result, code, setup) => {
    const t = new VmxFixture({}, 'code');
    setup(t);
    expect(outcome(t, code(t))).toBe(result);
  });

  it('may not clear the bits of CR0 and CR4 that VMX operation fixes', () => {
    // mov rax, cr4; btr eax, 13; mov cr4, rax: #GP
    const t = new VmxFixture({}, 'code').on();
    expect(outcome(t, [0x0f, 0x20, 0xe0, 0x0f, 0xba, 0xf0, 13, 0x0f, 0x22, 0xe0])).toBe('exception 13');
  });
  it('VMWRITE of a read-only field fails where the processor says so', () => {
    const t = new VmxFixture({}, 'code', 'nehalem').on();
    expect(outcome(t, VMWRITE(VMCS.VM_EXIT_REASON))).toBe(`fail ${VM_ERROR.readOnlyField}`);
  });

  it('gets an entry that fails for guest state as an exit, nothing of the guest having been loaded', () => {
    const t = new VmxFixture({}, 'code').on();
    t.vmcs.writeLin(VMCS.GUEST_RFLAGS, 0);
    t.vmcs.writeLin(VMCS.HOST_CR3, HOST.pml4);
    t.vmcs.writeLin(VMCS.HOST_RIP, HOST.exit);
    t.vmcs.write32(VMCS.IDT_VECTORING_INFO, 0x1234);
    hostCode(t, [...VMLAUNCH, 0x0f, 0x0b]);
    t.machine.ram.writeBytes(HOST.exit as Maddr, Uint8Array.from([HLT]));
    expect(t.cpu.run(1000)).toBe(RunExit.halt);
    expect(t.vmcs.read32(VMCS.VM_EXIT_REASON)).toBe(VALID + 33);
    expect(t.vmcs.read32(VMCS.IDT_VECTORING_INFO)).toBe(0x1234);
    expect(t.vmx.failedRule).toMatch(/RFLAGS/i);
    expect(t.vmcs.launched).toBe(false);
  });
});

describe('VM entry', () => {
  let t: VmxFixture;
  beforeEach(() => {
    t = new VmxFixture().on();
  });

  it('answers a host in TypeScript as the opcodes would', () => {
    expect(t.vmx.vmresume()).toBe(VM_ERROR.vmresumeNotLaunched);
    expect(t.vmx.vmclear(AT.vmcs)).toBe(VM_SUCCEED);
    expect(t.vmx.vmlaunch()).toBe(VM_FAIL_INVALID);
    expect(t.vmx.vmwrite(VMCS.GUEST_RIP, 1n)).toBe(VM_FAIL_INVALID);
    t.vmx.vmptrld(AT.vmcs);
    expect(t.vmx.vmwrite(VMCS.GUEST_RIP, 0x1_2345_6789_abcdn)).toBe(VM_SUCCEED);
    expect(t.vmx.vmread(VMCS.GUEST_RIP)).toBe(0x1_2345_6789_abcdn);
    expect(t.vmx.vmwrite(VMCS.GUEST_EFER + 1, 7n)).toBe(VM_SUCCEED);
    expect(t.vmx.vmread(VMCS.GUEST_EFER)).toBe(0x7_0000_0d01n);
    t.vmcs.setHalves(VMCS.GUEST_EFER, 0xd01, 0x8000_0000);
    expect(t.vmx.vmlaunch()).toBe(VM_ENTRY_FAILED);
    expect(t.vmcs.read32(VMCS.VM_EXIT_REASON)).toBe(VALID + 33);
  });

  it('is refused while MOV SS blocks events', () => {
    t.cpu.thread.shadowedBySs = true;
    t.cpu.thread.shadowedRip = t.cpu.rip;
    expect(t.vmx.vmlaunch()).toBe(VM_ERROR.blockedByMovSs);
  });

  it('and exit keep every register that a VMCS holds', () => {
    const values: [keyof typeof VMCS, number][] = [
      ['GUEST_FS_BASE', -0x7000_0000_0000],
      ['GUEST_GS_BASE', 0x1234_5000],
      ['GUEST_SYSENTER_ESP', -0x8000],
      ['GUEST_SYSENTER_EIP', 0x4321],
      ['GUEST_CR3', 0x1000],
      ['GUEST_RSP', -16],
      ['GUEST_RFLAGS', 0x246],
      ['GUEST_GDTR_BASE', 0x6000],
      ['GUEST_LDTR_BASE', 0x123],
    ];
    t.put(G.code, [0x0f, 0x01, 0xc1]);
    for (const [name, v] of values) t.vmcs.writeLin(VMCS[name] as never, v);
    t.vmcs.write32(VMCS.GUEST_SYSENTER_CS, 0x10);
    const before = t.machine.ram.readBytes(AT.vmcs as Maddr, 4096);
    expect(t.enter().name).toBe('VMCALL');
    const changed = new Set<string>();
    const now = Object.entries(VMCS).map(([name, e]) => [name, t.vmcs.big(e)] as const);
    t.machine.ram.writeBytes(AT.vmcs as Maddr, before);
    for (const [name, v] of now) if (t.vmcs.big(VMCS[name as keyof typeof VMCS]) !== v) changed.add(name);
    expect([...changed].filter((n) => n.startsWith('GUEST_'))).toEqual([]);
  });

  it.each<[string, number, { error?: number; length?: number }, { frame: bigint[]; vector: number; nmi?: boolean }]>([
    ['an external interrupt', 0x40, {}, { vector: 0x40, frame: [BigInt(G.code), 8n, 0x202n] }],
    ['an NMI', 0x202, {}, { vector: 2, frame: [BigInt(G.code), 8n, 0x202n], nmi: true }],
    ['an exception with its error code', 0xb0d, { error: 0x1238 }, { vector: 13, frame: [0x1238n, BigInt(G.code), 8n, 0x1_0202n] }],
    ['a software interrupt', 0x450, { length: 2 }, { vector: 0x50, frame: [BigInt(G.code + 2), 8n, 0x202n] }],
    ['a software exception', 0x603, { length: 1 }, { vector: 3, frame: [BigInt(G.code + 1), 8n, 0x202n] }],
  ])('injects %s', (_what, information, { error, length }, { frame, vector, nmi }) => {
    t.vmcs.write32(VMCS.VM_ENTRY_INTR_INFO, VALID + information);
    if (error !== undefined) t.vmcs.write32(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE, error);
    if (length !== undefined) t.vmcs.write32(VMCS.VM_ENTRY_INSTRUCTION_LEN, length);
    t.vmcs.writeLin(VMCS.GUEST_RFLAGS, 0x202);
    t.put(G.handler + 16 * vector, [HLT]);
    const r = t.enter();
    expect([r.name, r.rip, r.vectoring]).toEqual(['HLT', G.handler + 16 * vector, 0]);
    const sp = t.vmcs.readLin(VMCS.GUEST_RSP);
    expect(frame.map((_, i) => t.machine.ram.read64((AT.guest + sp + 8 * i) as Maddr))).toEqual(frame);
    expect(t.vmcs.read32(VMCS.VM_ENTRY_INTR_INFO)).toBe(information);
    expect(t.vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO)).toBe(nmi ? 8 : 0);
  });

  it('tells of an injected event whose delivery fails, with its error code', () => {
    t.vmcs.write32(VMCS.VM_ENTRY_INTR_INFO, VALID + 0xb0e);
    t.vmcs.write32(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE, 7);
    t.setEpt(G.idt, 0);
    const r = t.enter();
    expect([r.name, r.gpa, r.vectoring, r.vectoringError]).toEqual(['EPT_VIOLATION', G.idt + 16 * 14, VALID + 0xb0e, 7]);
    expect(t.vmcs.read32(VMCS.VM_ENTRY_INTR_INFO)).toBe(0xb0e);
  });

  it('makes an MTF exit that was injected, before the first instruction', () => {
    t.vmcs.write32(VMCS.VM_ENTRY_INTR_INFO, VALID + 0x700);
    t.put(G.code, [NOP, HLT]);
    const r = t.enter();
    expect([r.name, r.rip]).toEqual(['MONITOR_TRAP_FLAG', G.code]);
  });

  it('delivers a pending debug exception first', () => {
    t.vmcs.writeLin(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, 0x4000);
    t.vmcs.write32(VMCS.EXCEPTION_BITMAP, 2);
    const r = t.enter();
    expect([r.name, r.interruption, r.qualification, r.rip]).toEqual(['EXCEPTION_NMI', VALID + 0x301, 0x4000n, G.code]);
  });

  it('loads MSRs from a list, and exits store them; an entry with reserved bits is exit reason 34', () => {
    const { ram } = t.machine;
    const entry = (i: number, index: number, v: bigint) => {
      ram.write32((AT.msrList + 16 * i) as Maddr, index);
      ram.write64((AT.msrList + 16 * i + 8) as Maddr, v);
    };
    entry(0, 0xc000_0081, 0x1234_0000_0000n);
    entry(1, 0xc000_0082, 0xffff_8000_0000_0000n);
    entry(16, 0xc000_0081, 0n);
    t.vmcs.writeLin(VMCS.VM_ENTRY_MSR_LOAD_ADDR, AT.msrList);
    t.vmcs.write32(VMCS.VM_ENTRY_MSR_LOAD_COUNT, 2);
    t.vmcs.writeLin(VMCS.VM_EXIT_MSR_STORE_ADDR, AT.msrList + 256);
    t.vmcs.write32(VMCS.VM_EXIT_MSR_STORE_COUNT, 1);
    t.put(G.code, [HLT]);
    expect(t.enter().name).toBe('HLT');
    expect(t.cpu.big(STATE.lstar)).toBe(0xffff_8000_0000_0000n);
    expect(ram.read64((AT.msrList + 256 + 8) as Maddr)).toBe(0x1234_0000_0000n);
    entry(1, 0xc000_0101, 0n);
    expect(t.vmx.vmresume()).toBe(VM_ENTRY_FAILED);
    expect([t.vmcs.read32(VMCS.VM_EXIT_REASON), t.record().qualification]).toEqual([VALID + 34, 2n]);
  });

  it('makes translations of the last entry void without VPIDs, and keeps them with one until INVEPT or INVVPID', () => {
    t.put(G.code, [...LOAD(DATA), HLT])
      .put(DATA, [1])
      .put(DATA + 0x1000, [2]);
    const look = (): bigint => {
      t.at(G.code).enter();
      return t.cpu.reg(RAX);
    };
    const to = (gpa: number) => t.setEpt(DATA, (AT.guest + gpa) | 0x37);
    expect(look()).toBe(1n);
    to(DATA + 0x1000);
    expect(look()).toBe(2n);
    t.secondary(SECONDARY.enableVpid).vmcs.write32(VMCS.VIRTUAL_PROCESSOR_ID, 5);
    expect(look()).toBe(2n);
    to(DATA);
    expect(look()).toBe(2n);
    expect(t.vmx.invvpid(INVVPID.singleContext, 6, 0 as Lin)).toBe(VM_SUCCEED);
    expect(look()).toBe(2n);
    expect(t.vmx.invvpid(INVVPID.singleContext, 5, 0 as Lin)).toBe(VM_SUCCEED);
    expect(look()).toBe(1n);
    to(DATA + 0x1000);
    expect(t.vmx.invept(INVEPT.singleContext, t.vmcs.readLin(VMCS.EPT_POINTER))).toBe(VM_SUCCEED);
    expect(look()).toBe(2n);
    expect(t.vmx.invept(INVEPT.singleContext, 0)).toBe(VM_ERROR.invalidOperand);
  });
});

describe('in non-root operation', () => {
  let t: VmxFixture;
  beforeEach(() => {
    t = new VmxFixture().on();
  });

  /** An APIC that has an interrupt, an NMI, or both. */
  function requests(bits: number): { taken: string[] } {
    const log = { taken: [] as string[] };
    let left = bits;
    const apic: LocalApic = {
      get requests() {
        return left;
      },
      acknowledge: () => {
        left &= ~1;
        log.taken.push('intr');
        return 0x61;
      },
      acknowledgeNmi: () => {
        left &= ~2;
        log.taken.push('nmi');
      },
      getCr8: () => 0,
      setCr8: () => {},
      readMsr: () => 0n,
      writeMsr: () => true,
    };
    t.cpu.apic = apic;
    return log;
  }

  it('a physical interrupt makes an exit though IF is clear, with its vector only where exits acknowledge it', () => {
    t.set(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.externalInterruptExiting);
    t.put(G.code, [NOP, HLT]);
    const log = requests(1);
    expect([t.enter().name, t.record().interruption, t.record().rip, log.taken]).toEqual(['EXTERNAL_INTERRUPT', 0, G.code, []]);
    t.set(VMCS.VM_EXIT_CONTROLS, EXIT.acknowledgeInterruptOnExit);
    expect([t.enter().name, t.record().interruption, log.taken]).toEqual(['EXTERNAL_INTERRUPT', VALID + 0x61, ['intr']]);
  });
  it('without external-interrupt exiting it goes through the IDT of the guest', () => {
    t.vmcs.writeLin(VMCS.GUEST_RFLAGS, 0x202);
    t.put(G.code, [NOP, HLT]).put(G.handler + 16 * 0x61, [HLT]);
    requests(1);
    expect([t.enter().name, t.record().rip]).toEqual(['HLT', G.handler + 16 * 0x61]);
  });
  it('an NMI makes an exit, and blocks NMIs after it', () => {
    t.set(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.nmiExiting);
    t.put(G.code, [HLT]);
    requests(2);
    expect([t.enter().name, t.record().interruption]).toEqual(['EXCEPTION_NMI', VALID + 0x202]);
    expect([t.cpu.thread.nmiBlocked, t.vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO)]).toEqual([true, 0]);
  });

  it('HLT without an exit waits; an interrupt that makes an exit finds the guest halted', () => {
    t.set(VMCS.CPU_BASED_VM_EXEC_CONTROL, 0, PRIMARY.hltExiting).set(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.externalInterruptExiting);
    t.put(G.code, [HLT, NOP]);
    expect(t.vmx.vmlaunch()).toBe(VM_SUCCEED);
    expect(t.cpu.run(1000)).toBe(RunExit.halt);
    expect(t.cpu.run(1000)).toBe(RunExit.halt);
    requests(1);
    expect(t.cpu.run(1000)).toBe(RunExit.vmexit);
    expect([t.record().name, t.record().rip, t.vmcs.read32(VMCS.GUEST_ACTIVITY_STATE)]).toEqual(['EXTERNAL_INTERRUPT', G.code + 1, 1]);
    // Entered so, it goes on to wait.
    t.cpu.apic = undefined;
    expect(t.vmx.vmresume()).toBe(VM_SUCCEED);
    expect(t.cpu.run(2000)).toBe(RunExit.halt);
  });

  it('INIT makes an exit, and a start-up IPI one of a guest that waits for it', () => {
    t.put(G.code, [NOP, HLT]);
    expect(t.vmx.init()).toBe(true);
    expect(t.vmx.vmlaunch()).toBe(VM_SUCCEED);
    t.vmx.startup(0x9a);
    t.vmx.init();
    expect(t.cpu.run(1000)).toBe(RunExit.vmexit);
    expect([t.record().name, t.record().rip]).toEqual(['INIT', G.code]);
    t.vmcs.write32(VMCS.GUEST_ACTIVITY_STATE, 3);
    expect(t.vmx.vmresume()).toBe(VM_SUCCEED);
    expect([t.cpu.run(2000), t.vmx.guest.wakes(t.cpu, 3)]).toEqual([RunExit.halt, false]);
    t.vmx.startup(0x9a);
    expect(t.vmx.guest.wakes(t.cpu, 0)).toBe(true);
    expect(t.cpu.run(2000)).toBe(RunExit.vmexit);
    expect([t.record().name, t.record().qualification, t.vmcs.read32(VMCS.GUEST_ACTIVITY_STATE)]).toEqual(['SIPI', 0x9an, 3]);
  });

  it('the TSC has the offset, and the host does not', () => {
    t.primary(PRIMARY.useTscOffsetting).vmcs.writeLin(VMCS.TSC_OFFSET, -1000);
    t.cpu.cycles = 5000;
    t.put(G.code, [NOP, NOP, 0x0f, 0x31, HLT]);
    t.enter();
    expect(t.cpu.regLo(RAX)).toBe(4003);
    expect(readTsc(t.cpu)).toBe(BigInt(t.cpu.cycles));
  });

  it('EPT keeps accessed and dirty flags, and logs pages that become dirty until the log is full', () => {
    t.secondary(SECONDARY.enablePml).vmcs.writeLin(VMCS.PML_ADDRESS, AT.pml);
    t.vmcs.writeLin(VMCS.EPT_POINTER, AT.ept | 0x5e);
    t.vmcs.write32(VMCS.GUEST_PML_INDEX, 511);
    t.put(G.code, [...LOAD(DATA + 0x1000), ...STORE(DATA), HLT]);
    expect(t.enter().name).toBe('HLT');
    expect([t.ept(DATA) & 0x300, t.ept(DATA + 0x1000) & 0x300, t.ept(DATA + 0x2000) & 0x300]).toEqual([0x300, 0x100, 0]);
    const index = t.vmcs.read32(VMCS.GUEST_PML_INDEX);
    const logged = Array.from({ length: 511 - index }, (_, i) => Number(t.machine.ram.read64((AT.pml + 8 * (511 - i)) as Maddr)));
    // The guest's paging structures count as written (28.3.5), each once.
    expect(logged).toEqual([...new Set(logged)]);
    expect(new Set(logged)).toEqual(new Set([G.pml4, G.pdpt, G.pd, G.pt, DATA]));
    t.vmcs.write32(VMCS.GUEST_PML_INDEX, 0xffff);
    t.put(G.code, [...STORE(DATA), ...STORE(DATA + 0x1000), HLT]);
    const r = t.at(G.code).enter();
    expect([r.name, r.rip, t.ept(DATA + 0x1000) & 0x300]).toEqual(['PML_FULL', G.code + 11, 0x100]);
  });

  it('VMREAD and VMWRITE reach a shadow VMCS where the bitmaps let them', () => {
    t.secondary(SECONDARY.vmcsShadowing);
    t.vmcs.writeLin(VMCS.VMREAD_BITMAP, AT.vmread);
    t.vmcs.writeLin(VMCS.VMWRITE_BITMAP, AT.vmwrite);
    t.vmcs.writeLin(VMCS.VMCS_LINK_POINTER, AT.shadow);
    t.machine.ram.write8((AT.vmwrite + (VMCS.GUEST_RSP >>> 3)) as Maddr, 1 << (VMCS.GUEST_RSP & 7));
    const shadow = new Vmcs(t.machine.ram, AT.shadow as Maddr);
    shadow.write32(VMCS.VM_EXIT_REASON, 48);
    t.put(G.code, [...VMREAD(VMCS.VM_EXIT_REASON), 0x48, 0x89, 0xd3, ...VMWRITE(VMCS.GUEST_RIP), ...VMWRITE(VMCS.GUEST_RSP)]);
    const r = t.enter();
    expect([r.name, r.rip, t.cpu.reg(RBX), shadow.readLin(VMCS.GUEST_RIP)]).toEqual(['VMWRITE', G.code + 24, 48n, 48]);
  });

  it('VMFUNC switches the EPT pointer to one of the list, and exits for what is not there', () => {
    t.secondary(SECONDARY.enableVmFunctions);
    t.vmcs.writeLin(VMCS.VM_FUNCTION_CONTROL, 1);
    t.vmcs.writeLin(VMCS.EPTP_LIST_ADDR, AT.eptpList);
    // Another root over the same tables, but for the last level, in which DATA lies elsewhere.
    const { ram } = t.machine;
    const [root, pdpt, pd, pt] = [0x60_0000, 0x60_1000, 0x60_2000, 0x60_3000];
    ram.write32(root as Maddr, pdpt | 7);
    ram.write32(pdpt as Maddr, pd | 7);
    ram.write32(pd as Maddr, pt | 7);
    ram.copy(pt as Maddr, AT.eptPt as Maddr, 4096);
    ram.write32((pt + 8 * (DATA >>> 12)) as Maddr, (AT.guest + DATA + 0x1000) | 0x37);
    ram.write32((AT.eptpList + 8) as Maddr, root | 0x1e);
    t.put(DATA, [1]).put(DATA + 0x1000, [2]);
    const vmfunc = (index: number) => [0x31, 0xc0, ...MOV_ECX(index), 0x0f, 0x01, 0xd4];
    t.put(G.code, [...LOAD(DATA), 0x89, 0xc3, ...vmfunc(1), ...LOAD(DATA), 0x89, 0xc2, ...vmfunc(2)]);
    const r = t.enter();
    expect([r.name, r.length, t.cpu.reg(RBX), t.cpu.reg(RDX), t.cpu.reg(RCX)]).toEqual(['VMFUNC', 3, 1n, 2n, 2n]);
    expect(t.vmcs.readLin(VMCS.EPT_POINTER)).toBe(root | 0x1e);
  });

  it('#GP for a CR0 that VMX operation does not allow is the guest’s', () => {
    // mov rax, cr0; btr eax, 5 (NE); mov cr0, rax
    t.put(G.code, [0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf0, 5, 0x0f, 0x22, 0xc0]).put(G.handler + 16 * 13, [HLT]);
    expect([t.enter().name, t.record().rip]).toEqual(['HLT', G.handler + 16 * 13]);
  });

  it('an exit before the instruction after STI or MOV SS finds them blocking, one after that instruction does not', () => {
    const blocking = () => t.vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO);
    // sti; cpuid
    t.put(G.code, [0xfb, 0x0f, 0xa2]);
    expect([t.enter().name, blocking()]).toEqual(['CPUID', 1]);
    // mov ss, ax; mov eax, [DATA], which EPT refuses; and again, when it does not
    t.cpu.setReg(RAX, 16n);
    t.put(G.code, [0x8e, 0xd0, ...LOAD(DATA), HLT]).at(G.code);
    t.vmcs.write32(VMCS.GUEST_INTERRUPTIBILITY_INFO, 0);
    t.setEpt(DATA, 0);
    expect([t.enter().name, blocking()]).toEqual(['EPT_VIOLATION', 2]);
    t.setEpt(DATA, (AT.guest + DATA) | 0x37);
    expect([t.enter().name, blocking()]).toEqual(['HLT', 0]);
    // sti; jmp to itself, with an interrupt window
    t.primary(PRIMARY.interruptWindowExiting);
    t.vmcs.writeLin(VMCS.GUEST_RFLAGS, 2);
    t.put(G.code, [0xfb, 0xeb, 0xfe]).at(G.code);
    expect([t.enter().name, t.record().rip, blocking()]).toEqual(['PENDING_VIRT_INTR', G.code + 1, 0]);
  });

  it('#DB that makes an exit leaves DR6 as it was', () => {
    t.vmcs.write32(VMCS.EXCEPTION_BITMAP, 2);
    t.vmcs.writeLin(VMCS.GUEST_RFLAGS, 0x102);
    t.cpu.setHalves(STATE.dr + 48, 0xffff_0ff0, 0);
    t.put(G.code, [NOP, HLT]);
    const r = t.enter();
    expect([r.name, r.rip, r.qualification, t.cpu.u32(STATE.dr + 48)]).toEqual(['EXCEPTION_NMI', G.code + 1, 0x4000n, 0xffff_0ff0]);
  });

  it('PAUSE-loop exiting lets single PAUSEs be, and ends a loop of them', () => {
    t.secondary(SECONDARY.pauseLoopExiting);
    t.vmcs.write32(VMCS.PLE_GAP, 10);
    t.vmcs.write32(VMCS.PLE_WINDOW, 100);
    t.put(G.code, [0xf3, 0x90, HLT]);
    expect(t.enter().name).toBe('HLT');
    // pause; jmp back
    t.put(G.code, [0xf3, 0x90, 0xeb, 0xfc]);
    const from = t.cpu.cycles;
    expect(t.at(G.code).enter().name).toBe('PAUSE_INSTRUCTION');
    expect(t.cpu.cycles - from).toBeGreaterThan(100);
    expect(t.cpu.cycles - from).toBeLessThan(110);
  });
});

describe('an unrestricted guest', () => {
  let t: VmxFixture;
  beforeEach(() => {
    t = new VmxFixture().on().real();
  });

  it('runs in real mode: I/O, interrupts through the IVT, and into protected mode and out of it', () => {
    t.primary(PRIMARY.unconditionalIoExiting);
    // in al, 0x60; int 0x10; mov eax, cr0; or al, 1; mov cr0, eax; hlt
    t.put(0x7c00, [0xe4, 0x60, 0xcd, 0x10, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, HLT]);
    t.put(4 * 0x10, [0x00, 0x80, 0x00, 0x00]).put(0x8000, [HLT, 0xcf]);
    expect([t.enter().name, t.record().qualification, t.record().rip]).toEqual(['IO_INSTRUCTION', 0x60_0048n, 0x7c00]);
    t.skip();
    expect([t.enter().name, t.record().rip, t.vmcs.readLin(VMCS.GUEST_RSP)]).toEqual(['HLT', 0x8000, 0x6ffa]);
    t.skip();
    expect([t.enter().name, t.record().rip]).toEqual(['HLT', 0x7c0c]);
    expect([t.vmcs.lo(VMCS.GUEST_CR0), t.vmcs.lo(VMCS.GUEST_RFLAGS)]).toEqual([0x31, 2]);
  });

  it('faults in EPT with the linear address that is the physical one', () => {
    t.put(0x7c00, [0xa0, 0x34, 0x12]);
    t.vmcs.writeLin(VMCS.GUEST_DS_BASE, 0x5_0000);
    t.vmcs.write32(VMCS.GUEST_DS_SELECTOR, 0x5000);
    t.setEpt(0x5_1000, 0);
    const r = t.enter();
    expect([r.name, r.gpa, r.gla, r.qualification]).toEqual(['EPT_VIOLATION', 0x5_1234, 0x5_1234, 0x181n]);
  });

  it('switches tasks by exits: far jumps and task gates', () => {
    const { ram } = t.machine;
    const put = (gpa: number, ...words: number[]) => {
      for (const [i, w] of words.entries()) ram.write32((AT.guest + gpa + 4 * i) as Maddr, w);
    };
    t.vmcs.writeLin(VMCS.GUEST_CR0, 0x31);
    t.vmcs.write32(VMCS.GUEST_CS_SELECTOR, 8);
    t.vmcs.write32(VMCS.GUEST_CS_AR_BYTES, 0xc09b);
    t.vmcs.write32(VMCS.GUEST_CS_LIMIT, 0xffff_ffff);
    t.vmcs.write32(VMCS.GUEST_SS_AR_BYTES, 0xc093);
    t.vmcs.write32(VMCS.GUEST_SS_LIMIT, 0xffff_ffff);
    t.vmcs.write32(VMCS.GUEST_TR_LIMIT, 0x67);
    t.vmcs.writeLin(VMCS.GUEST_TR_BASE, 0x7000);
    t.vmcs.writeLin(VMCS.GUEST_IDTR_BASE, G.idt);
    put(G.gdt + 0x20, 0x9000_0067, 0x0000_8900);
    put(G.idt + 8 * 0x30, 0x0020_0000, 0x0000_e500);
    t.vmcs.writeLin(VMCS.GUEST_RIP, G.code);
    // jmp far 0x20:0
    t.put(G.code, [0xea, 0, 0, 0, 0, 0x20, 0]);
    expect([t.enter().name, t.record().qualification, t.record().length, t.record().rip]).toEqual(['TASK_SWITCH', 0x8000_0020n, 7, G.code]);
    t.put(G.code, [0xcd, 0x30]);
    const r = t.enter();
    expect([r.name, r.qualification, r.vectoring, r.length]).toEqual(['TASK_SWITCH', 0xc000_0020n, VALID + 0x430, 2]);
  });

  it('with PAE paging gets its page-directory pointers from the VMCS, and exits store them', () => {
    const { ram } = t.machine;
    t.vmcs.writeLin(VMCS.GUEST_CR0, 0x8000_0031);
    t.vmcs.writeLin(VMCS.GUEST_CR4, 0x2020);
    t.vmcs.writeLin(VMCS.GUEST_CR3, 0x9000);
    t.vmcs.write32(VMCS.GUEST_CS_AR_BYTES, 0xc09b);
    t.vmcs.write32(VMCS.GUEST_CS_LIMIT, 0xffff_ffff);
    t.vmcs.writeLin(VMCS.GUEST_PDPTE0, 0xa001);
    ram.write32((AT.guest + 0xa000) as Maddr, 0x83);
    t.put(0x7c00, [HLT]);
    expect([t.enter().name, t.vmcs.lo(VMCS.GUEST_PDPTE0), t.vmcs.lo(VMCS.GUEST_PDPTE1)]).toEqual(['HLT', 0xa001, 0]);
    // mov cr3, eax with pointers in memory
    ram.write32((AT.guest + 0xb000) as Maddr, 0xa001);
    ram.write32((AT.guest + 0xb008) as Maddr, 0xc001);
    t.put(0x7c00, [...MOV_EAX(0xb000), 0x0f, 0x22, 0xd8, HLT]).at(0x7c00);
    expect([t.enter().name, t.vmcs.lo(VMCS.GUEST_PDPTE1), t.vmcs.lo(VMCS.GUEST_CR3)]).toEqual(['HLT', 0xc001, 0xb000]);
    // The pointers in a page that EPT refuses.
    t.setEpt(0xb000, 0);
    t.put(0x7c00, [...MOV_EAX(0xb000), 0x0f, 0x22, 0xd8, HLT]).at(0x7c00);
    const r = t.enter();
    expect([r.name, r.gpa, r.qualification, r.rip]).toEqual(['EPT_VIOLATION', 0xb000, 1n, 0x7c05]);
  });
});

describe('the VT-x of 2005', () => {
  it('runs a guest on its own page tables, without EPT, VPIDs or secondary controls', () => {
    const t = new VmxFixture({}, 'typescript', 'p4-672').on();
    hostTables(t);
    t.vmcs.writeLin(VMCS.GUEST_CR3, HOST.pml4);
    t.vmcs.writeLin(VMCS.GUEST_RIP, HOST.code);
    t.vmcs.writeLin(VMCS.GUEST_RSP, HOST.stack);
    t.machine.ram.writeBytes(HOST.code as Maddr, Uint8Array.from([NOP, 0x0f, 0xa2, ...LOAD(0x50_0000)]));
    t.vmcs.write32(VMCS.EXCEPTION_BITMAP, 1 << 14);
    expect([t.enter().name, t.record().rip]).toEqual(['CPUID', HOST.code + 1]);
    t.skip();
    expect([t.enter().name, t.record().qualification, t.record().errorCode]).toEqual(['EXCEPTION_NMI', 0x50_0000n, 0]);
    expect(t.vmx.vmwrite(VMCS.SECONDARY_VM_EXEC_CONTROL, 0n)).toBe(VM_ERROR.unsupportedField);
    expect(t.vmx.invept(INVEPT.allContext, 0)).toBe(VM_ERROR.invalidOperand);
  });
});
