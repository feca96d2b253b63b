// The host is code: a 64-bit kernel that sets SVM up, enters a guest and comes back, all by opcodes.

import { describe, expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { CS, DS, ES, GS, RAX, RBX, RCX, RSP, SS, STATE } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { MSR_AMD } from '../system/msr-vendor.ts';
import { REQUEST } from '../system/ports.ts';
import { EXIT, exitOf, FAMILY } from './exits.ts';
import { CODE, DATA, GDT, HSAVE, IDT, type Rig, ROOT, svmRig, VMCB_AT } from './rig.ts';
import { VM_CR } from './svm.ts';

const HOST = 0x2_0000;
const HOST_STACK = 0x9_0000;
const VMRUN = [0x0f, 0x01, 0xd8];
const VMMCALL = [0x0f, 0x01, 0xd9];
const VMLOAD = [0x0f, 0x01, 0xda];
const VMSAVE = [0x0f, 0x01, 0xdb];
const STGI = [0x0f, 0x01, 0xdc];
const CLGI = [0x0f, 0x01, 0xdd];
const SKINIT = [0x0f, 0x01, 0xde];
const INVLPGA = [0x0f, 0x01, 0xdf];
const HLT = 0xf4;
const imm32 = (v: number): number[] => [v & 255, (v >>> 8) & 255, (v >>> 16) & 255, v >>> 24];
const movRax = (v: number): number[] => [0xb8, ...imm32(v)];
const movRcx = (v: number): number[] => [0xb9, ...imm32(v)];
const WRMSR = [0x31, 0xd2, 0x0f, 0x30];
/** EFER.SVME on, VM_HSAVE_PA set. */
const ENABLE = [...movRcx(0xc000_0080), 0x0f, 0x32, 0x80, 0xcc, 0x10, 0x0f, 0x30, ...movRcx(0xc001_0117), ...movRax(HSAVE), ...WRMSR];

/** The host's code at level 0 in the same address space as the guest's; stops at a HLT, or where an exception is met (host delivery). */
function host(code: readonly number[], guest: readonly number[], setup?: (r: Rig) => void, profile = 'zen'): { r: Rig; end: string } {
  const r = svmRig(profile);
  const { cpu } = r;
  r.svm.host = 'code';
  r.bytes(HOST, code);
  r.bytes(CODE, guest);
  cpu.setU32(STATE.cr0, CR0.PG | CR0.PE | CR0.NE | CR0.ET | CR0.WP);
  cpu.setU32(STATE.cr4, CR4.PAE | CR4.OSFXSR);
  cpu.setU32(STATE.efer, EFER.LME | EFER.LMA | EFER.NXE);
  cpu.setLin(STATE.cr3, ROOT);
  cpu.setSegment(CS, 8, 0xa09b, 0xffff_ffff, 0);
  for (const s of [SS, DS, ES]) cpu.setSegment(s, 0x10, 0xc093, 0xffff_ffff, 0);
  cpu.setLin(STATE.gdtrBase, GDT);
  cpu.setU32(STATE.gdtrLimit, 0xff);
  cpu.setLin(STATE.idtrBase, IDT);
  cpu.setU32(STATE.idtrLimit, 0xfff);
  cpu.setRegLin(RSP, HOST_STACK);
  cpu.rip = HOST as Lin;
  cpu.rflags = 2;
  r.intercept(EXIT.VMMCALL.code);
  setup?.(r);
  cpu.modeChanged();
  const exit = cpu.run(cpu.cycles + 10_000);
  return { r, end: exit === 5 ? `hlt at ${(cpu.rip - HOST).toString(16)}` : `exit ${exit}` };
}
const exitName = (r: Rig): string | undefined => exitOf(Number(r.vmcb.get('EXITCODE')))?.name;

describe('a host in code', () => {
  it('goes on after VMRUN with its own state, RAX and RSP among it, and GIF = 0', () => {
    // inc rbx; mov rsp, rax; vmmcall in the guest
    const { r, end } = host([...ENABLE, ...movRax(VMCB_AT), ...VMRUN, HLT], [0x48, 0xff, 0xc3, 0x48, 0x89, 0xc4, ...VMMCALL], (t) => {
      t.cpu.setReg(RBX, 1n);
      t.vmcb.set('RAX', 0x7777);
      t.vmcb.set('CR3', ROOT);
    });
    const after = ENABLE.length + 5 + 3;
    expect([end, exitName(r)]).toEqual([`hlt at ${(after + 1).toString(16)}`, 'VMMCALL']);
    expect([r.cpu.reg(RAX), r.cpu.reg(RBX), r.cpu.regLin(RSP)]).toEqual([BigInt(VMCB_AT), 2n, HOST_STACK]);
    expect([r.vmcb.get('RAX'), r.vmcb.get('RSP'), r.vmcb.get('RIP'), r.vmcb.get('NRIP')]).toEqual([
      0x7777n,
      0x7777n,
      BigInt(CODE + 6),
      BigInt(CODE + 9),
    ]);
    expect([r.svm.gif, r.svm.inGuest]).toEqual([false, false]);
    expect(r.cpu.big(STATE.dr + 56)).toBe(0x400n);
  });
  it('enters again where the guest was, over and over', () => {
    // The host skips the guest's VMMCALL by NRIP, three times: mov rdx, [VMCB + c8h]; mov [VMCB + 578h], rdx; dec ecx; jnz
    const loop = [
      ...VMRUN,
      0x48,
      0x8b,
      0x14,
      0x25,
      ...imm32(VMCB_AT + 0xc8),
      0x48,
      0x89,
      0x14,
      0x25,
      ...imm32(VMCB_AT + 0x578),
      0xff,
      0xce,
    ];
    const code = [...ENABLE, ...movRax(VMCB_AT), 0xbe, 3, 0, 0, 0, ...loop, 0x75, 256 - loop.length - 2, HLT];
    // inc rbx; vmmcall; jmp back
    const { r, end } = host(code, [0x48, 0xff, 0xc3, ...VMMCALL, 0xeb, 0xf8], (t) => t.cpu.setReg(RBX, 0n));
    expect([end, r.cpu.reg(RBX), r.svm.exits.get(EXIT.VMMCALL.code)]).toEqual([`hlt at ${code.length.toString(16)}`, 3n, 3]);
  });
  it('VMLOAD and VMSAVE carry what VMRUN leaves: segments, system-call MSRs', () => {
    // vmload; wrmsr KernelGSBase = 1234h; vmsave of another page
    const code = [
      ...ENABLE,
      ...movRax(VMCB_AT),
      ...VMLOAD,
      ...movRcx(0xc000_0102),
      ...movRax(0x1234),
      ...WRMSR,
      ...movRax(DATA),
      ...VMSAVE,
      HLT,
    ];
    const { r, end } = host(code, [], (t) => {
      t.vmcb.setSegment('GS', 0x2b, 0xc0f3, 0xfffff, 0x5555_0000);
      t.vmcb.setSegment('TR', 0x40, 0x8b, 0x67, 0x7000);
      t.vmcb.set('STAR', 0x1122_3344_5566_7788n);
      t.vmcb.set('LSTAR', 0x0000_8000_0000_0001n);
      t.vmcb.set('SYSENTER_CS', 0x10);
    });
    expect(end).toBe(`hlt at ${code.length.toString(16)}`);
    expect([r.cpu.selector(GS), r.cpu.segAttributes(GS), r.cpu.segBase(GS)]).toEqual([0x2b, 0xc0f3, 0x5555_0000]);
    const saved = (offset: number): bigint => r.ram.read64((DATA + offset) as Maddr);
    expect([saved(0x450) & 0xffff_ffffn, saved(0x458), saved(0x498), saved(0x600), saved(0x620), saved(0x628)]).toEqual([
      0x0cf3_002bn,
      0x5555_0000n,
      0x7000n,
      0x1122_3344_5566_7788n,
      0x1234n,
      0x10n,
    ]);
    // Canonicalized from 48 bits.
    expect(saved(0x608)).toBe(0xffff_8000_0000_0001n);
  });
  it('VMEXIT_INVALID comes back behind VMRUN', () => {
    const { r, end } = host([...ENABLE, ...movRax(VMCB_AT), ...VMRUN, HLT], [], (t) => t.vmcb.set('GUEST_ASID', 0));
    expect([end, r.vmcb.get('EXITCODE'), r.svm.violated]).toEqual([
      `hlt at ${(ENABLE.length + 9).toString(16)}`,
      (1n << 64n) - 1n,
      'the ASID is zero',
    ]);
  });
  it('an exit in the middle of an instruction and a nested fault come back too', () => {
    for (const [guest, code, setup] of [
      [[0x0f, 0xa2], EXIT.CPUID.code, undefined],
      [[0x89, 0x03], FAMILY.EXCEPTION + 14, undefined],
      [[0x8b, 0x03], EXIT.NPF.code, (t: Rig) => t.vmcb.set('NESTED_CTL', 1)],
    ] as const) {
      const { r, end } = host([...ENABLE, ...movRax(VMCB_AT), ...VMRUN, HLT], guest, (t) => {
        t.cpu.setReg(RBX, 0x20_0000n);
        setup?.(t);
        if (code === EXIT.NPF.code) t.put64(0x4000 + 8 * 0x1ff, 0x30_0007);
        if (code === EXIT.NPF.code) t.cpu.setReg(RBX, 0x1f_f000n);
        else t.intercept(code);
      });
      expect([end, Number(r.vmcb.get('EXITCODE')), r.vmcb.get('RIP')]).toEqual([
        `hlt at ${(ENABLE.length + 9).toString(16)}`,
        code,
        BigInt(CODE),
      ]);
    }
  });
});

describe('the global interrupt flag (APM Vol 2, 15.17)', () => {
  const IF = 0x202;
  it('CLGI holds interrupts and NMIs off, STGI lets them in', () => {
    for (const request of [REQUEST.intr, REQUEST.nmi]) {
      // clgi; inc rbx; stgi; inc rcx
      const code = [...ENABLE, ...CLGI, 0x48, 0xff, 0xc3, 0x48, 0xff, 0xc3, ...STGI, 0x48, 0xff, 0xc1, HLT];
      const { r } = host(code, [], (t) => {
        t.gate(0x40);
        t.gate(2);
        t.cpu.setReg(RBX, 0n);
        t.cpu.rflags = IF;
        t.cpu.io = { in: () => 0, out: () => {} };
        // The request comes once GIF is clear: at the first INC.
        const clgi = t.svm.clgi.bind(t.svm);
        t.svm.clgi = () => {
          clgi();
          t.apic.requests = request;
        };
      });
      const frame = r.ram.read64((HOST_STACK - 40) as Maddr);
      expect([Number(frame) - HOST, r.cpu.reg(RBX), r.apic.requests]).toEqual([ENABLE.length + 12, 2n, 0]);
    }
  });
  it('an interrupt that made a guest exit waits for STGI', () => {
    // vmrun; inc rbx; stgi; hlt
    const code = [...ENABLE, ...movRax(VMCB_AT), 0xfb, ...VMRUN, 0x48, 0xff, 0xc3, ...STGI, HLT];
    const { r } = host(code, [0x90], (t) => {
      t.gate(0x40);
      t.cpu.setReg(RBX, 0n);
      t.intercept(EXIT.INTR.code);
      t.vmcb.set('V_INTR', 1 << 24);
      const { guest } = t.svm;
      const boundary = guest.boundary.bind(guest);
      guest.boundary = (cpu, requests) => {
        if (requests === 0) t.apic.requests = REQUEST.intr;
        return boundary(cpu, t.apic.requests);
      };
    });
    const frame = r.ram.read64((HOST_STACK - 40) as Maddr);
    expect([exitName(r), r.cpu.reg(RBX), Number(frame) - HOST]).toEqual(['INTR', 1n, code.length - 1]);
  });
  it('a guest has one of its own where it is virtualized', () => {
    // clgi; vmmcall
    for (const enabled of [true, false]) {
      const { r } = host([...ENABLE, ...movRax(VMCB_AT), ...VMRUN, HLT], [...CLGI, ...VMMCALL], (t) =>
        t.vmcb.set('V_INTR', enabled ? (1 << 25) | (1 << 9) : 1 << 9),
      );
      expect([exitName(r), Number(r.vmcb.get('V_INTR')) & (1 << 9)]).toEqual(['VMMCALL', enabled ? 0 : 1 << 9]);
    }
  });
});

describe('conditions of the instructions (APM Vol 3, chapter 4)', () => {
  /** Runs one instruction with the exception it meets going to the test. */
  const outcome = (code: readonly number[], setup?: (r: Rig) => void, profile = 'zen'): string => {
    const { r, end } = host(
      [...code, HLT],
      [],
      (t) => {
        t.cpu.delivery = 'host';
        setup?.(t);
      },
      profile,
    );
    return end === 'exit 1' ? `#${r.cpu.event.vector}` : end;
  };
  const svme = (r: Rig): void => r.cpu.setU32(STATE.efer, r.cpu.lo(STATE.efer) | EFER.SVME);
  const hsave = (r: Rig): void => void r.cpu.thread.msrs.set(MSR_AMD.VM_HSAVE_PA, BigInt(HSAVE));
  const rax =
    (v: bigint) =>
    (r: Rig): void => {
      svme(r);
      hsave(r);
      r.cpu.setReg(RAX, v);
    };
  const level3 = (r: Rig): void => {
    svme(r);
    r.cpu.setU32(STATE.cpl, 3);
    r.cpu.setSegment(CS, 0x1b, 0xa0fb, 0xffff_ffff, 0);
  };
  const realMode = (r: Rig): void => {
    svme(r);
    r.cpu.setU32(STATE.efer, EFER.SVME);
    r.cpu.setU32(STATE.cr0, CR0.ET);
    r.cpu.setSegment(CS, HOST >> 4, 0x9b, 0xffff, HOST);
    r.cpu.rip = 0 as Lin;
  };
  const all: [string, readonly number[]][] = [
    ['VMRUN', VMRUN],
    ['VMLOAD', VMLOAD],
    ['VMSAVE', VMSAVE],
    ['CLGI', CLGI],
    ['INVLPGA', INVLPGA],
  ];
  for (const [name, code] of all)
    it(`${name} is #UD without EFER.SVME, #GP(0) above level 0`, () => {
      expect(outcome(code)).toBe('#6');
      expect(outcome(code, level3)).toBe('#13');
      expect(outcome(code, svme, 'k8-revf')).not.toBe('#6');
      // Nor is it there in real mode.
      expect(outcome(code, realMode)).toBe('#6');
    });
  it('VMRUN, VMLOAD and VMSAVE want an aligned address of RAM, VMRUN a host save area', () => {
    for (const code of [VMRUN, VMLOAD, VMSAVE]) {
      expect(outcome(code, rax(0x6800n))).toBe('#13');
      expect(outcome(code, rax(1n << 48n))).toBe('#13');
      expect(outcome(code, rax(1n << 40n))).toBe('#13');
    }
    const unset = (r: Rig): void => {
      svme(r);
      r.cpu.setReg(RAX, BigInt(VMCB_AT));
    };
    expect(outcome(VMRUN, unset)).toBe('#13');
    expect(outcome([0x67, ...VMLOAD], rax(0xffff_0000_0000_0000n + BigInt(VMCB_AT)))).toBe('hlt at 5');
  });
  it('VMMCALL is #UD outside guests', () => {
    expect(outcome(VMMCALL, svme)).toBe('#6');
  });
  it('STGI and SKINIT work without EFER.SVME where there is SKINIT', () => {
    expect(outcome(STGI)).toBe('hlt at 4');
    expect(outcome(STGI, undefined, 'k8-revf')).toBe('#6');
    expect(outcome(SKINIT, undefined, 'k8-revf')).toBe('#6');
  });
  it('INVLPGA drops a translation of the host under ASID 0', () => {
    // mov ebx, [DATA]; (the page goes elsewhere: mov [PTE], rdx); mov rax, DATA; invlpga; mov ebx, [DATA]
    const read = [0x8b, 0x1c, 0x25, ...imm32(DATA)];
    const move = [0x48, 0x89, 0x14, 0x25, ...imm32(0x4000 + (DATA >> 12) * 8)];
    const { r } = host(
      [...ENABLE, ...read, 0xba, ...imm32((DATA + 0x1000) | 7), ...move, ...movRax(DATA), ...movRcx(0), ...INVLPGA, ...read, HLT],
      [],
      (t) => {
        t.bytes(DATA, [1]);
        t.bytes(DATA + 0x1000, [2]);
      },
    );
    expect(r.cpu.reg(RBX)).toBe(2n);
  });
  it('SKINIT starts the secure loader in flat protected mode, with GIF = 0 (APM Vol 2, 15.27)', () => {
    const slb = 0x5_0000;
    let told: [number, number] | undefined;
    const { r } = host([...ENABLE, ...movRax(slb + 0x123), ...SKINIT], [], (t) => {
      // The header: entry point 0x40, length 0x200; there: mov cx, ax would be 16-bit; mov ecx, eax is 89 c1 in 32-bit code
      t.bytes(slb, [0x40, 0, 0, 2]);
      t.bytes(slb + 0x40, [0x89, 0xc1, HLT]);
      t.svm.onSecureLoader = (at, length) => {
        told = [at, length];
      };
    });
    expect([r.cpu.reg(RCX), r.cpu.regLin(RSP), r.cpu.rip, r.cpu.lo(STATE.cr0) & (CR0.PE | CR0.PG)]).toEqual([
      BigInt(slb),
      slb + 0x1_0000,
      slb + 0x43,
      1,
    ]);
    expect([told, r.svm.gif, r.svm.vmCr, r.cpu.lo(STATE.efer)]).toEqual([
      [slb, 0x200],
      false,
      VM_CR.DPD | VM_CR.R_INIT | VM_CR.DIS_A20M,
      0,
    ]);
  });
});

it('virtualized VMLOAD and VMSAVE take guest-physical addresses (APM Vol 2, 15.33.1)', () => {
  const r = svmRig('zen', true);
  // vmload; vmsave of rbx by way of rax; hlt. Guest-physical DATA is machine DATA + 1000h.
  r.bytes(CODE, [...VMLOAD, 0x48, 0x89, 0xd8, ...VMSAVE, HLT]);
  r.put64(0x11_3000 + (DATA >> 12) * 8, (DATA + 0x1000) | 7);
  r.put64((DATA + 0x1000 + 0x600) as number, 0x1234_5678n);
  r.vmcb.set('RAX', DATA);
  r.cpu.setReg(RBX, BigInt(DATA + 0x2000));
  r.vmcb.set('VIRT_EXT', 2);
  r.intercept(EXIT.HLT.code);
  expect(r.enter()).toBe('vmexit');
  expect([exitName(r), r.cpu.big(STATE.star), r.ram.read64((DATA + 0x2600) as Maddr)]).toEqual(['HLT', 0x1234_5678n, 0x1234_5678n]);
  r.vmcb.set('RIP', CODE);
  r.vmcb.set('RAX', DATA);
  r.put64(0x11_3000 + (DATA >> 12) * 8, 0);
  r.vmcb.set('TLB_CONTROL', 1);
  r.enter();
  expect([exitName(r), r.vmcb.get('EXITINFO2')]).toEqual(['NPF', BigInt(DATA)]);
});
