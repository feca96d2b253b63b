// System instructions: how they are encoded. They are carried out in TypeScript by machine/system/ under the mnemonics given here.
//
// A mnemonic that several instructions share in the manuals has a suffix after '_' that tells them apart (MOV_TO_CR); the disassembler
// leaves it off. A few that need no privilege and are frequent are staged after all. `check` states the privilege checks that come before
// any other; the rest is with the semantics.

import { CS, DS, EFLAGS, ES, FS, GS, SS, STATE } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';
import { push } from './stack.ts';

const plain = (mnemonic: string, forms: string, sdm = `Vol 2, ${mnemonic}`) => insn(mnemonic, { sdm, forms, operands: {} });
const cpl0 = (mnemonic: string, forms: string) => insn(mnemonic, { sdm: `Vol 2, ${mnemonic}`, forms, operands: {}, check: 'cpl0' });

export const processor = [
  insn('HLT', { sdm: 'Vol 2A, HLT', forms: 'F4', operands: {}, check: 'cpl0', intercept: { vmx: 'HLT', svm: 'VMEXIT_HLT' } }),
  plain('CPUID', '0F A2'),
  insn('RDTSC', { sdm: 'Vol 2B, RDTSC', forms: '0F 31', operands: {}, cpuid: 'tsc' }),
  insn('RDTSCP', { sdm: 'Vol 2B, RDTSCP', forms: '0F 01 F9', operands: {}, cpuid: 'rdtscp' }),
  // Came with the Pentium with MMX and the Pentium Pro.
  insn('RDPMC', { sdm: 'Vol 2B, RDPMC', forms: '0F 33', operands: {}, cpuid: 'mmx' }),
  insn('RDMSR', { sdm: 'Vol 2B, RDMSR', forms: '0F 32', operands: {}, check: 'cpl0', cpuid: 'msr' }),
  insn('WRMSR', { sdm: 'Vol 2D, WRMSR', forms: '0F 30', operands: {}, check: 'cpl0', cpuid: 'msr', ends: true }),
  insn('RDPID', { sdm: 'Vol 2B, RDPID', forms: 'F3 0F C7 /7 Ry {reg f64}', operands: { dst: 'w' }, cpuid: 'rdpid' }),
  insn('RDRAND', {
    sdm: 'Vol 2B, RDRAND',
    forms: 'NFx 0F C7 /6 Rv {reg}',
    operands: { dst: 'w' },
    flags: { writes: OSZAPC },
    cpuid: 'rdrand',
  }),
  insn('RDSEED', {
    sdm: 'Vol 2B, RDSEED',
    forms: 'NFx 0F C7 /7 Rv {reg}',
    operands: { dst: 'w' },
    flags: { writes: OSZAPC },
    cpuid: 'rdseed',
  }),
  insn('MONITOR', { sdm: 'Vol 2B, MONITOR', forms: 'NP 0F 01 C8', operands: {}, cpuid: 'monitor' }),
  insn('MWAIT', { sdm: 'Vol 2B, MWAIT', forms: 'NP 0F 01 C9', operands: {}, cpuid: 'monitor' }),
  plain('RSM', '0F AA', 'Vol 2B, RSM'),
];

export const control = [
  cpl0('CLTS', '0F 06'),
  insn('MOV_FROM_CR', {
    sdm: 'Vol 2B, MOV-Move to/from Control Registers',
    forms: '0F 20 /r Ry,Cy {f64}',
    operands: { dst: 'w', src: 'r' },
    check: 'cpl0',
  }),
  insn('MOV_TO_CR', {
    sdm: 'Vol 2B, MOV-Move to/from Control Registers',
    forms: '0F 22 /r Cy,Ry {f64}',
    operands: { dst: 'w', src: 'r' },
    check: 'cpl0',
    ends: true,
  }),
  insn('MOV_FROM_DR', {
    sdm: 'Vol 2B, MOV-Move to/from Debug Registers',
    forms: '0F 21 /r Ry,Dy {f64}',
    operands: { dst: 'w', src: 'r' },
    check: 'cpl0',
  }),
  insn('MOV_TO_DR', {
    sdm: 'Vol 2B, MOV-Move to/from Debug Registers',
    forms: '0F 23 /r Dy,Ry {f64}',
    operands: { dst: 'w', src: 'r' },
    check: 'cpl0',
    ends: true,
  }),
  insn('SMSW', { sdm: 'Vol 2B, SMSW', forms: '0F 01 /4 Rv/Mw', operands: { dst: 'w' } }),
  insn('LMSW', { sdm: 'Vol 2A, LMSW', forms: '0F 01 /6 Ew', operands: { src: 'r' }, check: 'cpl0', ends: true }),
  insn('INVLPG', { sdm: 'Vol 2A, INVLPG', forms: '0F 01 /7 M', operands: { address: 'r' }, check: 'cpl0' }),
  insn('INVPCID', {
    sdm: 'Vol 2A, INVPCID',
    forms: '66 0F 38 82 /r Gy,Mdq {f64}',
    operands: { type: 'r', descriptor: 'r' },
    check: 'cpl0',
    cpuid: 'invpcid',
  }),
  cpl0('INVD', '0F 08'),
  cpl0('WBINVD', '0F 09'),
  insn('CLAC', { sdm: 'Vol 2A, CLAC', forms: 'NP 0F 01 CA', operands: {}, cpuid: 'smap', ends: true }),
  insn('STAC', { sdm: 'Vol 2B, STAC', forms: 'NP 0F 01 CB', operands: {}, cpuid: 'smap', ends: true }),
  insn('POPF', { sdm: 'Vol 2B, POPF', forms: '9D {d64}', operands: {}, flags: { writes: OSZAPC }, ends: true }),
  /** At level 0 (in real mode too) there is nothing to check: kernels do it all the time. STI must come back to the run loop. */
  insn('CLI', {
    sdm: 'Vol 2A, CLI',
    forms: 'FA',
    operands: {},
    sem(b) {
      b.if(b.ne(b.state(STATE.cpl, 4), b.k(0)), () => b.slow());
      b.setState(STATE.eflags, 4, b.and(b.state(STATE.eflags, 4), b.k(~EFLAGS.IF)));
    },
  }),
  insn('STI', { sdm: 'Vol 2B, STI', forms: 'FB', operands: {}, ends: true }),
];

export const descriptorTables = [
  insn('SGDT', { sdm: 'Vol 2B, SGDT', forms: '0F 01 /0 Ms {f64}', operands: { dst: 'w' } }),
  insn('SIDT', { sdm: 'Vol 2B, SIDT', forms: '0F 01 /1 Ms {f64}', operands: { dst: 'w' } }),
  insn('LGDT', { sdm: 'Vol 2A, LGDT/LIDT', forms: '0F 01 /2 Ms {f64}', operands: { src: 'r' }, check: 'cpl0' }),
  insn('LIDT', { sdm: 'Vol 2A, LGDT/LIDT', forms: '0F 01 /3 Ms {f64}', operands: { src: 'r' }, check: 'cpl0' }),
  insn('SLDT', { sdm: 'Vol 2B, SLDT', forms: '0F 00 /0 Rv/Mw', operands: { dst: 'w' }, check: 'protected' }),
  insn('STR', { sdm: 'Vol 2B, STR', forms: '0F 00 /1 Rv/Mw', operands: { dst: 'w' }, check: 'protected' }),
  insn('LLDT', { sdm: 'Vol 2A, LLDT', forms: '0F 00 /2 Ew', operands: { src: 'r' }, check: ['protected', 'cpl0'] }),
  insn('LTR', { sdm: 'Vol 2A, LTR', forms: '0F 00 /3 Ew', operands: { src: 'r' }, check: ['protected', 'cpl0'] }),
  insn('VERR', { sdm: 'Vol 2B, VERR/VERW', forms: '0F 00 /4 Ew', operands: { src: 'r' }, check: 'protected', flags: { writes: ['ZF'] } }),
  insn('VERW', { sdm: 'Vol 2B, VERR/VERW', forms: '0F 00 /5 Ew', operands: { src: 'r' }, check: 'protected', flags: { writes: ['ZF'] } }),
  insn('LAR', {
    sdm: 'Vol 2A, LAR',
    forms: '0F 02 /r Gv,Rv/Mw',
    operands: { dst: 'rw', src: 'r' },
    check: 'protected',
    flags: { writes: ['ZF'] },
  }),
  insn('LSL', {
    sdm: 'Vol 2A, LSL',
    forms: '0F 03 /r Gv,Rv/Mw',
    operands: { dst: 'rw', src: 'r' },
    check: 'protected',
    flags: { writes: ['ZF'] },
  }),
  insn('ARPL', {
    sdm: 'Vol 2A, ARPL',
    forms: '63 /r Ew,Gw {i64}',
    operands: { dst: 'rw', src: 'r' },
    check: 'protected',
    flags: { writes: ['ZF'] },
  }),
];

/**
 * Staged, since 32-bit kernels push segment registers on every entry. A record for each register, without operand: staged code knows no
 * segment registers as operands. The selector is zero-extended to the operand size.
 */
const pushSreg = (name: string, seg: number, forms: string) =>
  insn(`PUSH_${name}`, {
    sdm: 'Vol 2B, PUSH',
    forms,
    operands: {},
    sem(b, _o, c) {
      push(b, b.state(STATE.seg + 16 * seg, 2), c.size);
    },
  });

export const segments = [
  insn('MOV_FROM_SREG', { sdm: 'Vol 2B, MOV', forms: '8C /r Rv/Mw,Sw', operands: { dst: 'w', src: 'r' } }),
  insn('MOV_TO_SREG', { sdm: 'Vol 2B, MOV', forms: '8E /r Sw,Rv/Mw', operands: { dst: 'w', src: 'r' }, ends: true }),
  insn('LES', { sdm: 'Vol 2A, LDS/LES/LFS/LGS/LSS', forms: 'C4 /r Gv,Mp {i64}', operands: { dst: 'w', src: 'r' }, ends: true }),
  insn('LDS', { sdm: 'Vol 2A, LDS/LES/LFS/LGS/LSS', forms: 'C5 /r Gv,Mp {i64}', operands: { dst: 'w', src: 'r' }, ends: true }),
  insn('LSS', { sdm: 'Vol 2A, LDS/LES/LFS/LGS/LSS', forms: '0F B2 /r Gv,Mp', operands: { dst: 'w', src: 'r' }, ends: true }),
  insn('LFS', { sdm: 'Vol 2A, LDS/LES/LFS/LGS/LSS', forms: '0F B4 /r Gv,Mp', operands: { dst: 'w', src: 'r' }, ends: true }),
  insn('LGS', { sdm: 'Vol 2A, LDS/LES/LFS/LGS/LSS', forms: '0F B5 /r Gv,Mp', operands: { dst: 'w', src: 'r' }, ends: true }),
  pushSreg('ES', ES, '06 {i64}'),
  pushSreg('CS', CS, '0E {i64}'),
  pushSreg('SS', SS, '16 {i64}'),
  pushSreg('DS', DS, '1E {i64}'),
  pushSreg('FS', FS, '0F A0 {d64}'),
  pushSreg('GS', GS, '0F A8 {d64}'),
  insn('POP_SREG', {
    sdm: 'Vol 2B, POP',
    forms: '07 ES {i64} | 17 SS {i64} | 1F DS {i64} | 0F A1 FS {d64} | 0F A9 GS {d64}',
    operands: { dst: 'w' },
    ends: true,
  }),
  insn('SWAPGS', {
    sdm: 'Vol 2B, SWAPGS',
    forms: '0F 01 F8 {o64}',
    operands: {},
    check: 'cpl0',
    sem(b) {
      const at = STATE.seg + GS * 16 + 8;
      const base = b.state(at, 8);
      b.setState(at, 8, b.state(STATE.kernelGsBase, 8));
      b.setState(STATE.kernelGsBase, 8, base);
    },
  }),
  insn('RDFSBASE', { sdm: 'Vol 2B, RDFSBASE/RDGSBASE', forms: 'F3 0F AE /0 Ry {reg o64}', operands: { dst: 'w' }, cpuid: 'fsgsbase' }),
  insn('RDGSBASE', { sdm: 'Vol 2B, RDFSBASE/RDGSBASE', forms: 'F3 0F AE /1 Ry {reg o64}', operands: { dst: 'w' }, cpuid: 'fsgsbase' }),
  insn('WRFSBASE', { sdm: 'Vol 2D, WRFSBASE/WRGSBASE', forms: 'F3 0F AE /2 Ry {reg o64}', operands: { src: 'r' }, cpuid: 'fsgsbase' }),
  insn('WRGSBASE', { sdm: 'Vol 2D, WRFSBASE/WRGSBASE', forms: 'F3 0F AE /3 Ry {reg o64}', operands: { src: 'r' }, cpuid: 'fsgsbase' }),
];

export const transfers = [
  insn('JMPF', { sdm: 'Vol 2A, JMP', forms: 'EA Ap {i64} | FF /5 Mp', operands: { target: 'r' }, ends: true }),
  insn('CALLF', { sdm: 'Vol 2A, CALL', forms: '9A Ap {i64} | FF /3 Mp', operands: { target: 'r' }, ends: true }),
  insn('RETF', { sdm: 'Vol 2B, RET', forms: 'CB | CA Iw', operands: { release: 'r' }, ends: true }),
  insn('INT3', { sdm: 'Vol 2A, INT n', forms: 'CC', operands: {}, ends: true }),
  insn('INT', { sdm: 'Vol 2A, INT n', forms: 'CD Ib', operands: { vector: 'r' }, ends: true }),
  insn('INTO', { sdm: 'Vol 2A, INT n', forms: 'CE {i64}', operands: {}, flags: { reads: ['OF'] }, ends: true }),
  insn('INT1', { sdm: 'Vol 2A, INT n', forms: 'F1', operands: {}, ends: true }),
  insn('IRET', { sdm: 'Vol 2A, IRET', forms: 'CF', operands: {}, flags: { writes: OSZAPC }, ends: true }),
  insn('SYSCALL', { sdm: 'Vol 2B, SYSCALL', forms: '0F 05', operands: {}, cpuid: 'syscall', ends: true }),
  insn('SYSRET', { sdm: 'Vol 2B, SYSRET', forms: '0F 07', operands: {}, check: 'cpl0', cpuid: 'syscall', ends: true }),
  insn('SYSENTER', { sdm: 'Vol 2B, SYSENTER', forms: '0F 34', operands: {}, cpuid: 'sep', ends: true }),
  insn('SYSEXIT', { sdm: 'Vol 2B, SYSEXIT', forms: '0F 35', operands: {}, check: 'cpl0', cpuid: 'sep', ends: true }),
];

export const ports = [
  insn('IN', { sdm: 'Vol 2A, IN', forms: 'E4 AL,Ib | E5 eAX,Ib | EC AL,DX | ED eAX,DX', operands: { dst: 'w', port: 'r' } }),
  insn('OUT', { sdm: 'Vol 2B, OUT', forms: 'E6 Ib,AL | E7 Ib,eAX | EE DX,AL | EF DX,eAX', operands: { port: 'r', src: 'r' } }),
  insn('INS', { sdm: 'Vol 2A, INS', forms: '6C Yb,DX | 6D Yz,DX', operands: { dst: 'w', port: 'r' } }),
  insn('OUTS', { sdm: 'Vol 2B, OUTS', forms: '6E DX,Xb | 6F DX,Xz', operands: { port: 'r', src: 'r' } }),
];

export const extendedState = [
  insn('FXSAVE', { sdm: 'Vol 2A, FXSAVE', forms: 'NP 0F AE /0 M', operands: { dst: 'w' }, cpuid: 'fxsr' }),
  insn('FXRSTOR', { sdm: 'Vol 2A, FXRSTOR', forms: 'NP 0F AE /1 M', operands: { src: 'r' }, cpuid: 'fxsr' }),
  insn('LDMXCSR', { sdm: 'Vol 2A, LDMXCSR', forms: 'NP 0F AE /2 Md', operands: { src: 'r' }, cpuid: 'sse' }),
  insn('STMXCSR', { sdm: 'Vol 2B, STMXCSR', forms: 'NP 0F AE /3 Md', operands: { dst: 'w' }, cpuid: 'sse' }),
  insn('XSAVE', { sdm: 'Vol 2D, XSAVE', forms: 'NP 0F AE /4 M', operands: { dst: 'w' }, cpuid: 'xsave' }),
  insn('XRSTOR', { sdm: 'Vol 2D, XRSTOR', forms: 'NP 0F AE /5 M', operands: { src: 'r' }, cpuid: 'xsave' }),
  insn('XSAVEOPT', { sdm: 'Vol 2D, XSAVEOPT', forms: 'NP 0F AE /6 M', operands: { dst: 'w' }, cpuid: 'xsaveopt' }),
  insn('XSAVEC', { sdm: 'Vol 2D, XSAVEC', forms: 'NP 0F C7 /4 M', operands: { dst: 'w' }, cpuid: 'xsavec' }),
  insn('XSAVES', { sdm: 'Vol 2D, XSAVES', forms: 'NP 0F C7 /5 M', operands: { dst: 'w' }, check: 'cpl0', cpuid: 'xsaves' }),
  insn('XRSTORS', { sdm: 'Vol 2D, XRSTORS', forms: 'NP 0F C7 /3 M', operands: { src: 'r' }, check: 'cpl0', cpuid: 'xsaves' }),
  insn('XGETBV', { sdm: 'Vol 2D, XGETBV', forms: 'NP 0F 01 D0', operands: {}, cpuid: 'xsave' }),
  insn('RDPKRU', { sdm: 'Vol 2B, RDPKRU', forms: 'NP 0F 01 EE', operands: {}, cpuid: 'pku' }),
  insn('WRPKRU', { sdm: 'Vol 2D, WRPKRU', forms: 'NP 0F 01 EF', operands: {}, cpuid: 'pku', ends: true }),
  insn('XSETBV', { sdm: 'Vol 2D, XSETBV', forms: 'NP 0F 01 D1', operands: {}, check: 'cpl0', cpuid: 'xsave' }),
];

/** Caches and order: nothing to do in a machine that executes in order, except where the memory operand is translated and may fault. */
export const caches = [
  insn('LFENCE', { sdm: 'Vol 2A, LFENCE', forms: 'NP 0F AE /5 {reg}', operands: {}, cpuid: 'sse2', sem: () => {} }),
  insn('MFENCE', { sdm: 'Vol 2B, MFENCE', forms: 'NP 0F AE /6 {reg}', operands: {}, cpuid: 'sse2', sem: () => {} }),
  insn('SFENCE', { sdm: 'Vol 2B, SFENCE', forms: 'NP 0F AE /7 {reg}', operands: {}, cpuid: 'sse', sem: () => {} }),
  insn('CLFLUSH', { sdm: 'Vol 2A, CLFLUSH', forms: 'NP 0F AE /7 Mb', operands: { line: 'r' }, cpuid: 'clflush' }),
  insn('CLFLUSHOPT', { sdm: 'Vol 2A, CLFLUSHOPT', forms: '66 0F AE /7 Mb', operands: { line: 'r' }, cpuid: 'clflushopt' }),
  insn('CLWB', { sdm: 'Vol 2A, CLWB', forms: '66 0F AE /6 Mb', operands: { line: 'r' }, cpuid: 'clwb' }),
];
