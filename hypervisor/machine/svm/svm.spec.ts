// Each kind of exit once, with every field of information, taken by code that runs: without and with nested paging.

import { describe, expect, it } from 'vitest';
import type { Lin } from '../addresses.ts';
import { INSTRUCTIONS } from '../isa/index.ts';
import { RAX, RBX, RCX, RDI, RDX, RSI, STATE } from '../state.ts';
import { CR0, CR4 } from '../system/bits.ts';
import { REQUEST } from '../system/ports.ts';
import { dumpVmcb } from './dump.ts';
import { EXIT, exitOf, FAMILY } from './exits.ts';
import { CODE, DATA, HANDLER, IDT, IOPM, MSRPM, PT, type Rig, STACK, svmRig } from './rig.ts';

/** EXITINFO1 bit 63. */
const MOV_CR = 1n << 63n;
const A64 = 1 << 9;

interface Case {
  readonly name: string;
  readonly code: number;
  readonly bytes: readonly number[];
  readonly setup?: (r: Rig) => void;
  readonly info1?: number | bigint;
  readonly info2?: number | bigint;
  /** RIP of the exit, after CODE; NRIP after CODE, where it is not 0. */
  readonly at?: number;
  readonly next?: number;
  readonly interrupted?: number;
  /** Instruction bytes that decode assists store. */
  readonly stored?: number;
}

/** An instruction at CODE, intercepted by the bit of its code; NRIP after its bytes. */
const one = (name: string, code: number, bytes: readonly number[], more: Partial<Case> = {}): Case => ({
  name,
  code,
  bytes,
  next: bytes.length,
  ...more,
});
const regs =
  (values: Readonly<Record<number, number>>) =>
  (r: Rig): void => {
    for (const [n, v] of Object.entries(values)) r.cpu.setReg(Number(n), BigInt(v));
  };
const set =
  (name: Parameters<Rig['vmcb']['set']>[0], v: number | bigint, more?: (r: Rig) => void) =>
  (r: Rig): void => {
    r.vmcb.set(name, v);
    more?.(r);
  };

const CR0_NOW = (CR0.PG | CR0.PE | CR0.NE | CR0.ET | CR0.WP) >>> 0;
const CR4_NOW = CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT;

const registers: Case[] = [
  one('MOV RBX, CR0', FAMILY.CR_READ, [0x0f, 0x20, 0xc3], { info1: MOV_CR | 3n }),
  one('MOV RCX, CR2', FAMILY.CR_READ + 2, [0x0f, 0x20, 0xd1], { info1: MOV_CR | 1n }),
  one('MOV R9, CR3', FAMILY.CR_READ + 3, [0x41, 0x0f, 0x20, 0xd9], { info1: MOV_CR | 9n }),
  one('MOV RAX, CR4', FAMILY.CR_READ + 4, [0x0f, 0x20, 0xe0], { info1: MOV_CR }),
  one('MOV RAX, CR8', FAMILY.CR_READ + 8, [0x44, 0x0f, 0x20, 0xc0], { info1: MOV_CR }),
  one('SMSW EAX', FAMILY.CR_READ, [0x0f, 0x01, 0xe0]),
  one('MOV CR0, RCX', FAMILY.CR_WRITE, [0x0f, 0x22, 0xc1], { info1: MOV_CR | 1n, setup: regs({ [RCX]: CR0_NOW }) }),
  one('MOV CR2, RDX', FAMILY.CR_WRITE + 2, [0x0f, 0x22, 0xd2], { info1: MOV_CR | 2n }),
  one('MOV CR3, RBX', FAMILY.CR_WRITE + 3, [0x0f, 0x22, 0xdb], { info1: MOV_CR | 3n }),
  one('MOV CR4, RBX', FAMILY.CR_WRITE + 4, [0x0f, 0x22, 0xe3], { info1: MOV_CR | 3n, setup: regs({ [RBX]: CR4_NOW }) }),
  one('MOV CR8, RBX', FAMILY.CR_WRITE + 8, [0x44, 0x0f, 0x22, 0xc3], { info1: MOV_CR | 3n, setup: regs({ [RBX]: 5 }) }),
  one('CLTS', FAMILY.CR_WRITE, [0x0f, 0x06]),
  one('LMSW AX', FAMILY.CR_WRITE, [0x0f, 0x01, 0xf0]),
  one('MOV CR0, RCX that changes AM', EXIT.CR0_SEL_WRITE.code, [0x0f, 0x22, 0xc1], {
    info1: MOV_CR | 1n,
    setup: regs({ [RCX]: (CR0_NOW | CR0.AM) >>> 0 }),
  }),
  one('LMSW that changes nothing', EXIT.CR0_SEL_WRITE.code, [0x0f, 0x01, 0xf1], { setup: regs({ [RCX]: 1 }) }),
  ...[0, 1, 2, 3, 4, 5, 6, 7].flatMap((n) => [
    one(`MOV RBX, DR${n}`, FAMILY.DR_READ + n, [0x0f, 0x21, 0xc3 | (n << 3)], { info1: 3 }),
    one(`MOV DR${n}, RCX`, FAMILY.DR_WRITE + n, [0x0f, 0x23, 0xc1 | (n << 3)], { info1: 1 }),
  ]),
];

const instructions: Case[] = [
  one('SIDT [RBX]', EXIT.IDTR_READ.code, [0x0f, 0x01, 0x0b]),
  one('SGDT [RBX]', EXIT.GDTR_READ.code, [0x0f, 0x01, 0x03]),
  one('SLDT AX', EXIT.LDTR_READ.code, [0x0f, 0x00, 0xc0]),
  one('STR AX', EXIT.TR_READ.code, [0x0f, 0x00, 0xc8]),
  one('LIDT [RBX]', EXIT.IDTR_WRITE.code, [0x0f, 0x01, 0x1b]),
  one('LGDT [RBX]', EXIT.GDTR_WRITE.code, [0x0f, 0x01, 0x13]),
  one('LLDT AX', EXIT.LDTR_WRITE.code, [0x0f, 0x00, 0xd0]),
  one('LTR AX', EXIT.TR_WRITE.code, [0x0f, 0x00, 0xd8]),
  one('RDTSC', EXIT.RDTSC.code, [0x0f, 0x31]),
  one('RDPMC', EXIT.RDPMC.code, [0x0f, 0x33]),
  one('PUSHF', EXIT.PUSHF.code, [0x9c]),
  one('POPF', EXIT.POPF.code, [0x9d]),
  one('CPUID', EXIT.CPUID.code, [0x0f, 0xa2]),
  one('RSM', EXIT.RSM.code, [0x0f, 0xaa]),
  one('IRETQ', EXIT.IRET.code, [0x48, 0xcf]),
  one('INT 80h', EXIT.SWINT.code, [0xcd, 0x80], { info1: 0x80 }),
  one('INVD', EXIT.INVD.code, [0x0f, 0x08]),
  one('PAUSE', EXIT.PAUSE.code, [0xf3, 0x90]),
  one('HLT', EXIT.HLT.code, [0xf4]),
  one('INVLPG [RBX]', EXIT.INVLPG.code, [0x0f, 0x01, 0x3b], { info1: DATA, setup: regs({ [RBX]: DATA }) }),
  one('INVLPG of a negative address', EXIT.INVLPG.code, [0x0f, 0x01, 0x3b], {
    info1: 0xffff_8000_0000_0000n,
    setup: (r) => r.cpu.setReg(RBX, 0xffff_8000_0000_0000n),
  }),
  one('INVLPGA', EXIT.INVLPGA.code, [0x0f, 0x01, 0xdf], { info1: DATA, setup: set('RAX', DATA) }),
  one('RDMSR outside the map', EXIT.MSR.code, [0x0f, 0x32], { info1: 0, setup: regs({ [RCX]: 0x4000_0000 }) }),
  one('RDMSR with its bit set', EXIT.MSR.code, [0x0f, 0x32], {
    info1: 0,
    setup: (r) => {
      r.cpu.setReg(RCX, 0xc000_0082n);
      r.bytes(MSRPM + 0x800 + 0x20, [0x10]);
    },
  }),
  one('WRMSR with its bit set', EXIT.MSR.code, [0x0f, 0x30], {
    info1: 1,
    setup: (r) => {
      r.cpu.setReg(RCX, 0xc001_0117n);
      r.bytes(MSRPM + 0x1000 + 0x45, [0x80]);
    },
  }),
  one('VMRUN', EXIT.VMRUN.code, [0x0f, 0x01, 0xd8]),
  one('VMMCALL', EXIT.VMMCALL.code, [0x0f, 0x01, 0xd9]),
  one('VMLOAD', EXIT.VMLOAD.code, [0x0f, 0x01, 0xda]),
  one('VMSAVE', EXIT.VMSAVE.code, [0x0f, 0x01, 0xdb]),
  one('STGI', EXIT.STGI.code, [0x0f, 0x01, 0xdc]),
  one('CLGI', EXIT.CLGI.code, [0x0f, 0x01, 0xdd]),
  one('SKINIT', EXIT.SKINIT.code, [0x0f, 0x01, 0xde]),
  one('RDTSCP', EXIT.RDTSCP.code, [0x0f, 0x01, 0xf9]),
  one('INT1', EXIT.ICEBP.code, [0xf1]),
  one('WBINVD', EXIT.WBINVD.code, [0x0f, 0x09]),
  one('MONITOR', EXIT.MONITOR.code, [0x0f, 0x01, 0xc8]),
  one('MWAIT', EXIT.MWAIT.code, [0x0f, 0x01, 0xc9]),
  one('MWAIT after MONITOR', EXIT.MWAIT.code, [0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9], { info1: 1, at: 3, setup: set('RAX', DATA) }),
  one('MWAIT, if armed', EXIT.MWAIT_CONDITIONAL.code, [0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9], { at: 3, setup: set('RAX', DATA) }),
  one('XSETBV', EXIT.XSETBV.code, [0x0f, 0x01, 0xd1], { setup: set('CR4', CR4_NOW | CR4.OSXSAVE) }),
];

const allPorts = (r: Rig): void => r.bytes(IOPM, new Array(0x2001).fill(0xff));
const io = (name: string, bytes: readonly number[], info1: number, setup?: (r: Rig) => void): Case =>
  one(name, EXIT.IOIO.code, bytes, {
    info1,
    info2: CODE + bytes.length,
    setup: (r) => {
      allPorts(r);
      setup?.(r);
    },
  });
const ports: Case[] = [
  io('IN AL, 71h', [0xe4, 0x71], 0x71_0000 | A64 | 0x11),
  io('IN EAX, DX', [0xed], 0x1_0000 * 0x3f8 + (A64 | 0x41), regs({ [RDX]: 0x3f8 })),
  io('OUT 80h, AX', [0x66, 0xe7, 0x80], 0x80_0000 | A64 | 0x20),
  io('OUT DX, AL at the last port', [0xee], 0x1_0000 * 0xffff + (A64 | 0x10), regs({ [RDX]: 0xffff })),
  io('REP INSB', [0xf3, 0x6c], 0x1f0_0000 | A64 | 0x1d, regs({ [RDX]: 0x1f0, [RDI]: DATA, [RCX]: 4 })),
  io(
    'OUTSD from FS with 32-bit addresses',
    [0x64, 0x67, 0x6f],
    0x1f0_0000 | (4 << 10) | (1 << 8) | 0x44,
    regs({ [RDX]: 0x1f0, [RSI]: DATA }),
  ),
  one('a word of which only the second port is in the map', EXIT.IOIO.code, [0x66, 0xef], {
    info1: 0x3ff_0000 | A64 | 0x20,
    info2: CODE + 2,
    setup: (r) => {
      r.cpu.setReg(RDX, 0x3ffn);
      r.bytes(IOPM + 0x80, [1]);
    },
  }),
];

const exception = (name: string, vector: number, bytes: readonly number[], more: Partial<Case> = {}): Case => ({
  name,
  code: FAMILY.EXCEPTION + vector,
  bytes,
  ...more,
});
const UNMAPPED = 0x20_0000;
const exceptions: Case[] = [
  exception('DIV by zero', 0, [0x31, 0xc9, 0xf7, 0xf1], { at: 2 }),
  exception('a single step', 1, [0x90, 0x90], { at: 1, setup: set('RFLAGS', 0x102) }),
  exception('INT3', 3, [0xcc], { next: 1 }),
  exception('UD2', 6, [0x0f, 0x0b]),
  exception('x87 with CR0.TS', 7, [0xd9, 0xd0], { setup: set('CR0', (CR0_NOW | CR0.TS) >>> 0) }),
  exception('a selector past the GDT', 13, [0x8e, 0xd8], { info1: 0x1000, setup: set('RAX', 0x1000) }),
  exception('an absent segment', 11, [0x8e, 0xd8], {
    info1: 0x18,
    setup: set('RAX', 0x18, (r) => r.put64(0x9018, 0x00cf_1300_0000_ffffn)),
  }),
  exception('PUSH below a non-canonical RSP', 12, [0x50], { setup: set('RSP', 0x8000_0000_0000_0000n) }),
  exception('a write to a page that is not there', 14, [0x89, 0x03], {
    info1: 2,
    info2: UNMAPPED,
    stored: 15,
    setup: regs({ [RBX]: UNMAPPED }),
  }),
  exception('a fetch from a page that is not there', 14, [0xff, 0xe3], {
    info1: 0x10,
    info2: UNMAPPED,
    at: UNMAPPED - CODE,
    setup: regs({ [RBX]: UNMAPPED }),
  }),
  exception('an SSE exception', 19, [0x0f, 0x5e, 0xc9], {
    setup: (r) => {
      r.cpu.setU32(STATE.mxcsr, 0x1f00);
      for (const i of [0, 8]) r.cpu.setBig(STATE.xmm + 16 + i, 0n);
    },
  }),
];

const IF = 0x202;
const V_IRQ = 1 << 8;
const events: Case[] = [
  { name: 'INTR', code: EXIT.INTR.code, bytes: [0x90], setup: set('RFLAGS', IF, (r) => (r.apic.requests = REQUEST.intr)) },
  { name: 'NMI', code: EXIT.NMI.code, bytes: [0x90], setup: (r) => (r.apic.requests = REQUEST.nmi) },
  {
    name: 'INTR with V_INTR_MASKING, though the guest has IF clear',
    code: EXIT.INTR.code,
    bytes: [0x90],
    setup: set('V_INTR', 1 << 24, (r) => (r.apic.requests = REQUEST.intr)),
  },
  {
    name: 'VINTR',
    code: EXIT.VINTR.code,
    bytes: [0x90],
    setup: set('RFLAGS', IF, set('V_INTR', V_IRQ | (3 << 16) | 2)),
  },
  {
    name: 'VINTR after STI and one more instruction',
    code: EXIT.VINTR.code,
    bytes: [0xfb, 0x90, 0x90],
    at: 2,
    setup: set('V_INTR', V_IRQ | (3 << 16) | 2),
  },
  {
    name: 'a triple fault',
    code: EXIT.SHUTDOWN.code,
    bytes: [0x0f, 0x0b],
    interrupted: 0x8000_0b08,
    setup: (r) => r.vmcb.setSegment('IDTR', 0, 0, 0, IDT),
  },
];

function take(c: Case, nested: boolean): Rig {
  // With nested paging, each block is compiled when it is first entered as well.
  const r = svmRig('zen', nested, nested);
  r.bytes(CODE, c.bytes);
  c.setup?.(r);
  r.intercept(c.code);
  expect(r.enter()).toBe('vmexit');
  const info = {
    code: exitOf(Number(r.vmcb.get('EXITCODE')))?.name,
    info1: r.vmcb.get('EXITINFO1'),
    info2: r.vmcb.get('EXITINFO2'),
    interrupted: Number(r.vmcb.get('EXITINTINFO')),
    rip: r.vmcb.get('RIP'),
    nrip: r.vmcb.get('NRIP'),
    stored: r.vmcb.u8(0xd0),
  };
  expect(info).toEqual({
    code: exitOf(c.code)?.name,
    info1: BigInt(c.info1 ?? 0),
    info2: BigInt(c.info2 ?? 0),
    interrupted: c.interrupted ?? 0,
    rip: BigInt(CODE + (c.at ?? 0)),
    nrip: c.next === undefined ? 0n : BigInt(CODE + c.next),
    stored: c.stored ?? 0,
  });
  expect([r.svm.inGuest, r.svm.gif, r.cpu.nonRoot]).toEqual([false, false, null]);
  return r;
}

for (const nested of [false, true])
  describe(`exits of a 64-bit guest ${nested ? 'with' : 'without'} nested paging (APM Vol 2, 15.7 to 15.14)`, () => {
    for (const c of [...registers, ...instructions, ...ports, ...exceptions, ...events]) it(c.name, () => void take(c, nested));
  });

describe('what is not intercepted', () => {
  /** Runs bytes and a HLT, which exits, with some codes intercepted: where the HLT was reached. */
  const passes = (bytes: readonly number[], codes: readonly number[], setup?: (r: Rig) => void): [string | undefined, number] => {
    const r = svmRig();
    r.bytes(CODE, [...bytes, 0xf4]);
    setup?.(r);
    r.intercept(EXIT.HLT.code, ...codes);
    r.enter();
    return [exitOf(Number(r.vmcb.get('EXITCODE')))?.name, Number(r.vmcb.get('RIP')) - CODE];
  };
  const cases: [string, readonly number[], readonly number[], ((r: Rig) => void)?][] = [
    ['a port whose bit is clear', [0xe4, 0x71], [EXIT.IOIO.code]],
    ['an MSR whose bits are clear', [0x0f, 0x32], [EXIT.MSR.code], regs({ [RCX]: 0xc000_0082 })],
    [
      'CR0 writes of TS under the selective intercept',
      [0x0f, 0x22, 0xc1],
      [EXIT.CR0_SEL_WRITE.code],
      regs({ [RCX]: (CR0_NOW | CR0.TS) >>> 0 }),
    ],
    ['MWAIT that is not armed, under the conditional intercept', [0x0f, 0x01, 0xc9], [EXIT.MWAIT_CONDITIONAL.code]],
    ['INVLPG without its bit', [0x0f, 0x01, 0x3b], [], regs({ [RBX]: DATA })],
    ['V_IRQ below V_TPR', [0x90], [EXIT.VINTR.code], set('RFLAGS', IF, set('V_INTR', V_IRQ | (3 << 16) | 3))],
    ['V_IRQ while the virtual GIF is clear', [0x90], [EXIT.VINTR.code], set('RFLAGS', IF, set('V_INTR', V_IRQ | (3 << 16) | (1 << 25)))],
    ['PAUSE while its count lasts', [0xf3, 0x90, 0xf3, 0x90], [EXIT.PAUSE.code], set('PAUSE_FILTER_COUNT', 2)],
  ];
  for (const [name, bytes, codes, setup] of cases) it(name, () => expect(passes(bytes, codes, setup)).toEqual(['HLT', bytes.length]));

  it('V_IGN_TPR lets V_IRQ past V_TPR', () => {
    const r = take({ ...events[3]!, setup: set('RFLAGS', IF, set('V_INTR', V_IRQ | (1 << 20) | (3 << 16) | 15)) }, false);
    expect(Number(r.vmcb.get('V_INTR')) & (V_IRQ | 0xff)).toBe(V_IRQ | 15);
  });
  it('the third PAUSE exits, and PauseFilterThreshold starts the count again', () => {
    expect(passes([0xf3, 0x90, 0xf3, 0x90, 0xf3, 0x90], [EXIT.PAUSE.code], set('PAUSE_FILTER_COUNT', 2))).toEqual(['PAUSE', 4]);
    const nops = new Array(20).fill(0x90);
    const spread = [0xf3, 0x90, 0xf3, 0x90, ...nops, 0xf3, 0x90];
    const both = (r: Rig) => {
      r.vmcb.set('PAUSE_FILTER_COUNT', 2);
      r.vmcb.set('PAUSE_FILTER_THRESHOLD', 10);
    };
    expect(passes(spread, [EXIT.PAUSE.code], both)).toEqual(['HLT', spread.length]);
  });
  it('an exception comes before the intercept where the manual says so', () => {
    for (const [bytes, code, vector, setup] of [
      [[0x0f, 0x22, 0xe3], FAMILY.CR_WRITE + 4, 13, regs({ [RBX]: 1 << 31 })],
      [[0x0f, 0x21, 0xe3], FAMILY.DR_READ + 4, 6, set('CR4', CR4_NOW | CR4.DE)],
      [[0x0f, 0x01, 0xd1], EXIT.XSETBV.code, 6, undefined],
      [[0x0f, 0x31], EXIT.RDTSC.code, 13, set('CPL', 3, set('CR4', CR4_NOW | CR4.TSD))],
      [[0xf4], EXIT.HLT.code, 13, set('CPL', 3)],
    ] as const) {
      const r = svmRig();
      r.bytes(CODE, bytes);
      setup?.(r);
      r.intercept(code, FAMILY.EXCEPTION + vector);
      r.enter();
      expect(Number(r.vmcb.get('EXITCODE')), `${exitOf(code)?.name}`).toBe(FAMILY.EXCEPTION + vector);
    }
  });
  it('PUSHF exits at every level, before its own exceptions', () => {
    const r = svmRig();
    r.bytes(CODE, [0x9c]);
    r.vmcb.set('CPL', 3);
    r.vmcb.set('RSP', 1n << 63n);
    r.intercept(EXIT.PUSHF.code, FAMILY.EXCEPTION + 12);
    r.enter();
    expect(Number(r.vmcb.get('EXITCODE'))).toBe(EXIT.PUSHF.code);
  });
});

describe('on a processor of 2006', () => {
  const old = (bytes: readonly number[], code: number, setup?: (r: Rig) => void): Rig => {
    const r = svmRig('k8-revf');
    r.bytes(CODE, bytes);
    setup?.(r);
    r.intercept(code);
    expect(r.enter()).toBe('vmexit');
    return r;
  };
  it('there is neither NRIP save nor decode assists', () => {
    const a = old([0x0f, 0x20, 0xc3], FAMILY.CR_READ);
    const b = old([0x0f, 0x01, 0x3b], EXIT.INVLPG.code, regs({ [RBX]: DATA }));
    const c = old([0x89, 0x03], FAMILY.EXCEPTION + 14, regs({ [RBX]: UNMAPPED }));
    const d = old([0xcd, 0x80], EXIT.SWINT.code);
    for (const r of [a, b, c, d]) expect([r.vmcb.get('NRIP'), r.vmcb.u8(0xd0)]).toEqual([0n, 0]);
    for (const r of [a, b, d]) expect(r.vmcb.get('EXITINFO1')).toBe(0n);
    expect(c.vmcb.get('EXITINFO2')).toBe(BigInt(UNMAPPED));
  });
  it('NP_ENABLE and PauseFilterCount mean nothing', () => {
    const r = old([0xf3, 0x90], EXIT.PAUSE.code, set('NESTED_CTL', 1, set('N_CR3', 0x3f_f000, set('PAUSE_FILTER_COUNT', 9))));
    expect(r.vmcb.get('RIP')).toBe(BigInt(CODE));
  });
});

describe('event injection (APM Vol 2, 15.20)', () => {
  const EV = 0x8000_0000;
  /** Injects, runs to the HLT of the handler, and gives the frame as it lies on the stack. */
  function inject(event: number, setup?: (r: Rig) => void): { r: Rig; frame: bigint[]; name: string | undefined } {
    const r = svmRig();
    r.bytes(CODE, [0x90, 0x90]);
    r.vmcb.set('EVENTINJ', event);
    r.gate(event & 0xff);
    r.gate(2);
    setup?.(r);
    r.intercept(EXIT.HLT.code);
    r.enter();
    const rsp = Number(r.vmcb.get('RSP'));
    const frame: bigint[] = [];
    for (let at = rsp; at < STACK; at += 8) frame.push(r.ram.read64(at as never));
    return { r, frame, name: exitOf(Number(r.vmcb.get('EXITCODE')))?.name };
  }
  it('an external interrupt pushes RIP, and clears EVENTINJ.V at the exit', () => {
    const { r, frame, name } = inject(EV + 0x40);
    expect([name, r.vmcb.get('RIP'), frame[0], r.vmcb.get('EVENTINJ')]).toEqual(['HLT', BigInt(HANDLER), BigInt(CODE), 0x40n]);
  });
  it('an exception pushes its error code and is not intercepted itself', () => {
    const { r, frame } = inject(EV + (3 << 8) + (1 << 11) + 13, (t) => {
      t.vmcb.set('EVENTINJ_ERROR', 0x77);
      t.intercept(FAMILY.EXCEPTION + 13);
    });
    expect([r.vmcb.get('RIP'), frame[0], frame[1]]).toEqual([BigInt(HANDLER), 0x77n, BigInt(CODE)]);
  });
  it('INT n returns to NRIP where there is NRIP save', () => {
    const { frame } = inject(EV + (4 << 8) + 0x80, set('NRIP', CODE + 2));
    expect(frame[0]).toBe(BigInt(CODE + 2));
  });
  it('an NMI goes to vector 2 and does not hold off another', () => {
    const { r, name } = inject(EV + (2 << 8) + 9);
    expect([name, r.vmcb.get('RIP'), r.cpu.thread.nmiBlocked]).toEqual(['HLT', BigInt(HANDLER), false]);
  });
  it('a fault on the way that is intercepted tells of the event in EXITINTINFO', () => {
    const { r, name } = inject(EV + (3 << 8) + (1 << 11) + 13, (t) => {
      t.vmcb.set('EVENTINJ_ERROR', 0x77);
      t.vmcb.setSegment('IDTR', 0, 0, 0xf, IDT);
      t.intercept(FAMILY.EXCEPTION + 13);
    });
    expect([name, r.vmcb.get('EXITINFO1'), r.vmcb.get('EXITINTINFO'), r.vmcb.get('EXITINTINFO_ERROR')]).toEqual([
      'EXCP_GP',
      BigInt(13 * 8 + 3),
      BigInt(EV + (3 << 8) + (1 << 11) + 13),
      0x77n,
    ]);
    // A fault leaves RIP where it was.
    expect(r.vmcb.get('RIP')).toBe(BigInt(CODE));
  });
  it('a virtual interrupt is taken when IF and V_TPR allow, and V_IRQ goes', () => {
    const r = svmRig();
    r.bytes(CODE, [0xfb, 0x90, 0x90]);
    r.vmcb.set('V_INTR', V_IRQ | (3 << 16));
    r.vmcb.set('V_INTR_VECTOR', 0x55);
    r.gate(0x55);
    r.intercept(EXIT.HLT.code);
    r.enter();
    expect([r.vmcb.get('RIP'), r.vmcb.get('V_INTR') & 0x100n]).toEqual([BigInt(HANDLER), 0n]);
  });
  it('with V_INTR_MASKING CR8 is V_TPR, without it the local APIC has it', () => {
    for (const masking of [true, false]) {
      const r = svmRig();
      r.bytes(CODE, [0x44, 0x0f, 0x22, 0xc3, 0xf4]);
      r.cpu.setReg(RBX, 7n);
      r.vmcb.set('V_INTR', masking ? 1 << 24 : 0);
      r.intercept(EXIT.HLT.code);
      r.enter();
      expect([Number(r.vmcb.get('V_INTR') & 0xffn), r.apic.cr8]).toEqual(masking ? [7, 0] : [0, 7]);
    }
  });
  it('a physical interrupt that is not intercepted goes to the guest', () => {
    for (const masking of [true, false]) {
      const r = svmRig();
      r.bytes(CODE, [0x90]);
      r.vmcb.set('RFLAGS', masking ? 2 : IF);
      r.vmcb.set('V_INTR', masking ? 1 << 24 : 0);
      r.gate(0x40);
      r.apic.requests = REQUEST.intr;
      r.intercept(EXIT.HLT.code);
      r.enter();
      expect([r.vmcb.get('RIP'), r.apic.requests]).toEqual([BigInt(HANDLER), 0]);
    }
  });
});

describe('state of a guest', () => {
  it('RAX, RSP, CR2, segments and CPL come from the VMCB and go back; other registers stay in the CPU', () => {
    const r = svmRig();
    // inc rax; inc rbx; push rax; hlt
    r.bytes(CODE, [0x48, 0xff, 0xc0, 0x48, 0xff, 0xc3, 0x50, 0xf4]);
    r.vmcb.set('RAX', 41);
    r.vmcb.set('CR2', 0x1234_5678_9abcn);
    r.vmcb.setSegment('DS', 0x33, 0xc0f3, 0x1234_5fff, 0x7000_0000);
    r.cpu.setReg(RBX, 1n);
    r.intercept(EXIT.HLT.code);
    r.enter();
    expect([r.vmcb.get('RAX'), r.cpu.reg(RBX), r.cpu.reg(RAX), r.vmcb.get('RSP')]).toEqual([42n, 2n, 42n, BigInt(STACK - 8)]);
    expect([r.vmcb.get('CR2'), r.vmcb.u16(0x430), r.vmcb.u16(0x432), r.vmcb.u32(0x434), r.vmcb.lin(0x438)]).toEqual([
      0x1234_5678_9abcn,
      0x33,
      0xcf3,
      0x1234_5fff,
      0x7000_0000,
    ]);
  });
  it('an intercepted page fault leaves CR2 alone, another writes it', () => {
    for (const intercepted of [true, false]) {
      const r = svmRig();
      r.bytes(CODE, [0x89, 0x03]);
      r.cpu.setReg(RBX, BigInt(UNMAPPED));
      r.gate(14);
      r.intercept(EXIT.HLT.code, ...(intercepted ? [FAMILY.EXCEPTION + 14] : []));
      r.enter();
      expect(r.vmcb.get('CR2')).toBe(intercepted ? 0n : BigInt(UNMAPPED));
    }
  });
  it('a single step shows in DR6', () => {
    const r = take(exceptions[1]!, false);
    expect(r.vmcb.get('DR6')).toBe(0xffff_4ff0n);
  });
  it('TSC_OFFSET is added in the guest and gone after it', () => {
    const r = svmRig();
    r.bytes(CODE, [0x0f, 0x31, 0xf4]);
    r.vmcb.set('TSC_OFFSET', -500n);
    r.intercept(EXIT.HLT.code);
    r.cpu.cycles = 10_000;
    r.enter();
    expect(Number(r.vmcb.get('RAX'))).toBeGreaterThan(9_400);
    expect(Number(r.vmcb.get('RAX'))).toBeLessThan(9_600);
    expect(r.ram.f64[(r.cpu.base + STATE.tscOffset) >>> 3]).toBe(0);
  });
  it('the interrupt shadow holds a virtual interrupt off for one instruction', () => {
    const r = svmRig();
    r.bytes(CODE, [0x90, 0x90]);
    r.vmcb.set('RFLAGS', IF);
    r.vmcb.set('V_INTR', V_IRQ | (3 << 16));
    r.vmcb.set('INTERRUPT_SHADOW', 1);
    r.intercept(EXIT.VINTR.code);
    r.enter();
    expect([r.vmcb.get('RIP'), r.vmcb.get('INTERRUPT_SHADOW')]).toEqual([BigInt(CODE + 1), 0n]);
  });
  it('an exit of the instruction after STI still has the shadow, one of the instruction after that has not', () => {
    for (const [bytes, shadow] of [
      [[0xfb, 0xf4], 1n],
      [[0xfb, 0x90, 0xf4], 0n],
      [[0x8e, 0xd0, 0xf4], 1n],
    ] as const) {
      const r = svmRig();
      r.bytes(CODE, bytes);
      r.vmcb.set('RAX', 0x10);
      r.intercept(EXIT.HLT.code);
      r.enter();
      expect([r.vmcb.get('RIP'), r.vmcb.get('INTERRUPT_SHADOW')]).toEqual([BigInt(CODE + bytes.length - 1), shadow]);
    }
  });
  it('DebugCtl is switched with LBR virtualization', () => {
    const r = svmRig();
    // rdmsr (1d9h); wrmsr 1; hlt
    r.bytes(CODE, [0x0f, 0x32, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xf4]);
    r.cpu.setReg(RCX, 0x1d9n);
    r.vmcb.set('VIRT_EXT', 1);
    r.vmcb.set('DBGCTL', 2);
    r.vmcb.set('BR_FROM', 0x1234);
    r.intercept(EXIT.HLT.code);
    r.enter();
    expect([r.cpu.reg(RBX), r.vmcb.get('DBGCTL'), r.vmcb.get('BR_FROM')]).toEqual([2n, 1n, 0x1234n]);
  });
  it('translations are kept under an ASID, and dropped as TLB_CONTROL and INVLPGA say', () => {
    const r = svmRig();
    r.bytes(CODE, [0x8b, 0x03, 0xf4]);
    r.cpu.setReg(RBX, BigInt(DATA));
    r.bytes(DATA, [1, 0, 0, 0]);
    r.bytes(DATA + 0x1000, [2, 0, 0, 0]);
    r.intercept(EXIT.HLT.code);
    const read = (): bigint => {
      r.vmcb.set('RIP', CODE);
      r.enter();
      return r.vmcb.get('RAX');
    };
    const map = (to: number) => r.put64(PT + (DATA >> 12) * 8, to | 7);
    expect(read()).toBe(1n);
    map(DATA + 0x1000);
    // Another guest that runs in between does not take them away.
    r.bytes(CODE + 0x100, [0xf4]);
    r.vmcb.set('GUEST_ASID', 2);
    r.vmcb.set('RIP', CODE + 0x100);
    r.enter();
    r.vmcb.set('GUEST_ASID', 1);
    expect(read()).toBe(1n);
    r.vmcb.set('GUEST_ASID', 2);
    expect(read()).toBe(2n);
    r.vmcb.set('GUEST_ASID', 1);
    r.vmcb.set('TLB_CONTROL', 3);
    expect(read()).toBe(2n);
    map(DATA);
    r.vmcb.set('TLB_CONTROL', 0);
    expect(read()).toBe(2n);
    r.svm.invlpga(DATA as Lin, 1);
    expect(read()).toBe(1n);
  });
});

it('a dump names the exit and the fields', () => {
  const r = take(one('HLT', EXIT.HLT.code, [0xf4]), false);
  const lines = dumpVmcb(r.vmcb).map((l) => l.replace(/ +/, ' '));
  expect(lines).toEqual(expect.arrayContaining(['EXITCODE 0x78 HLT', 'GUEST_ASID 0x1', 'CS 0x8 0xa9b 0xffffffff 0x0', 'RIP 0x10000']));
  expect(lines.filter((l) => l.startsWith('EXITINFO'))).toEqual([]);
});

it('the names that instructions give for their intercepts are those of exit codes', () => {
  const named = INSTRUCTIONS.filter((i) => i.intercept !== undefined).map((i) => i.intercept!.svm);
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((n) => !Object.keys(EXIT).includes(n.replace(/^VMEXIT_/, '')))).toEqual([]);
});
