// What stops the instructions of SSE3 to SSE4.2, AES-NI, PCLMULQDQ and SHA: CR0.EM, CR0.TS, CR4.OSFXSR and CPUID (SDM Vol 3A, 13.1), which
// the comparison with the host's CPU cannot set up. One instruction of each kind; what they raise does not depend on which.

import { describe, expect, it } from 'vitest';
import { flat64 } from '../exec/flat64.ts';
import { RBX, STATE } from '../state.ts';

const CODE = 0x10000;
const DATA = 0x30000;
const UD2 = [0x0f, 0x0b];
const EM = 4;
const TS = 8;
const OSFXSR = 0x200;
const VECTORS: Readonly<Record<number, string>> = { 6: '#UD', 7: '#NM', 13: '#GP', 14: '#PF' };

interface Setting {
  readonly cr0?: number;
  readonly noOsfxsr?: true;
  /** A processor that has all of them, or one that has SSE3 only. */
  readonly profile?: 'zen' | 'k8-revf';
}

/** Runs one instruction; 'ok' when the UD2 after it was reached. RBX points to aligned memory. */
function run(code: readonly number[], { cr0 = 0, noOsfxsr, profile = 'zen' }: Setting = {}): string {
  const t = flat64(profile);
  const { cpu } = t;
  cpu.setReg(RBX, BigInt(DATA));
  cpu.setU32(STATE.cr0, (cpu.u32(STATE.cr0) & ~(EM | TS)) | cr0);
  if (noOsfxsr) cpu.setU32(STATE.cr4, cpu.u32(STATE.cr4) & ~OSFXSR);
  cpu.modeChanged();
  t.run(CODE, [...code, ...UD2]);
  return cpu.rip === CODE + code.length ? 'ok' : (VECTORS[cpu.event.vector] ?? String(cpu.event.vector));
}

const XMM: readonly (readonly [string, string, readonly number[]])[] = [
  ['ADDSUBPD', 'sse3', [0x66, 0x0f, 0xd0, 0xc1]],
  ['LDDQU', 'sse3', [0xf2, 0x0f, 0xf0, 0x03]],
  ['PSHUFB', 'ssse3', [0x66, 0x0f, 0x38, 0x00, 0xc1]],
  ['PTEST', 'sse4_1', [0x66, 0x0f, 0x38, 0x17, 0xc1]],
  ['BLENDVPS', 'sse4_1', [0x66, 0x0f, 0x38, 0x14, 0x0b]],
  ['ROUNDSD', 'sse4_1', [0x66, 0x0f, 0x3a, 0x0b, 0xc1, 0]],
  ['PCMPISTRI', 'sse4_2', [0x66, 0x0f, 0x3a, 0x63, 0xc1, 0]],
  ['AESENC', 'aes', [0x66, 0x0f, 0x38, 0xdc, 0xc1]],
  ['PCLMULQDQ', 'pclmulqdq', [0x66, 0x0f, 0x3a, 0x44, 0xc1, 0]],
  ['SHA256RNDS2', 'sha_ni', [0x0f, 0x38, 0xcb, 0xca]],
];
const PABSB_MM0_MM1 = [0x0f, 0x38, 0x1c, 0xc1];
const CRC32_EAX_ECX = [0xf2, 0x0f, 0x38, 0xf1, 0xc1];

describe.each(XMM)('%s', (_, feature, code) => {
  it('runs where all is allowed', () => {
    expect(run(code)).toBe('ok');
  });
  it('is #UD with CR0.EM, #NM with CR0.TS, #UD with both', () => {
    expect([EM, TS, EM | TS].map((cr0) => run(code, { cr0 }))).toEqual(['#UD', '#NM', '#UD']);
  });
  it('is #UD without CR4.OSFXSR, even if CR0.TS is set', () => {
    expect([0, TS].map((cr0) => run(code, { cr0, noOsfxsr: true }))).toEqual(['#UD', '#UD']);
  });
  it('is #UD on a processor that has not got it, whatever CR0 says', () => {
    const got = [0, TS].map((cr0) => run(code, { cr0, profile: 'k8-revf' }));
    expect(got).toEqual(feature === 'sse3' ? ['ok', '#NM'] : ['#UD', '#UD']);
  });
});

describe('an MMX form of SSSE3', () => {
  it('is stopped by CR0 as MMX is, and does not ask for CR4.OSFXSR', () => {
    expect([EM, TS].map((cr0) => run(PABSB_MM0_MM1, { cr0 }))).toEqual(['#UD', '#NM']);
    expect(run(PABSB_MM0_MM1, { noOsfxsr: true })).toBe('ok');
    expect(run(PABSB_MM0_MM1, { profile: 'k8-revf' })).toBe('#UD');
  });
});

describe('CRC32', () => {
  it('is of SSE4.2 and otherwise an integer instruction', () => {
    expect(run(CRC32_EAX_ECX, { cr0: EM | TS, noOsfxsr: true })).toBe('ok');
    expect(run(CRC32_EAX_ECX, { profile: 'k8-revf' })).toBe('#UD');
  });
});

describe('16 bytes of memory', () => {
  const at = (offset: number, ...code: number[]): string => run([0x48, 0x83, 0xc3, offset, ...code]);
  it('must be aligned', () => {
    expect(at(8, 0x66, 0x0f, 0x38, 0x00, 0x03)).toBe('#GP');
    expect(at(8, 0x66, 0x0f, 0x38, 0x2a, 0x03)).toBe('#GP');
    expect(at(8, 0x66, 0x0f, 0x38, 0xdc, 0x03)).toBe('#GP');
  });
  it('need not be for LDDQU and the string comparisons', () => {
    expect(at(8, 0xf2, 0x0f, 0xf0, 0x03)).toBe('ok');
    expect(at(8, 0x66, 0x0f, 0x3a, 0x63, 0x03, 0)).toBe('ok');
  });
});
