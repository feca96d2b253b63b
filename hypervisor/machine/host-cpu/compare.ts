// The differences between two outcomes of a case, as sentences. What the manuals leave undefined is left out.

import type { Outcome } from './case.ts';
import { WINDOW } from './case.ts';
import type { Generated } from './generate.ts';
import { X87_BYTES } from './x87-image.ts';

export const FLAG_BITS = { CF: 0x1n, PF: 0x4n, AF: 0x10n, ZF: 0x40n, SF: 0x80n, OF: 0x800n } as const;
const TASK_SIZE_MAX = 0x7fff_ffff_f000n;
/** The arithmetic flags and DF. */
export const ALL_VISIBLE = 0xcd5n;
const NAMES = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI'];

/** RFLAGS bits that the manuals define for this very case. */
export function definedFlags(g: Generated): bigint {
  let mask = ALL_VISIBLE;
  // OF is undefined only for counts other than one.
  const byOne = g.form.operands.some((o) => o.letter === 'one');
  for (const f of g.decoded.insn.flags?.undefined ?? []) if (!(byOne && f === 'OF')) mask &= ~FLAG_BITS[f as keyof typeof FLAG_BITS];
  return mask;
}

export const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(' ');
export const describeCase = (g: Generated): string => `${g.decoded.insn.mnemonic} ${g.form.text}: ${hex(g.case.code)} (${g.case.bits}-bit)`;

/** Every single in the XMM registers within the error that RCPPS and RSQRTPS are allowed, 1.5 * 2^-12, twice. */
function approximates(a: Uint8Array, b: Uint8Array): boolean {
  const [x, y] = [a, b].map((v) => new DataView(v.buffer, v.byteOffset));
  for (let i = 160; i < 416; i += 4) {
    const p = x?.getFloat32(i, true) ?? 0;
    const q = y?.getFloat32(i, true) ?? 0;
    const same = x?.getUint32(i, true) === y?.getUint32(i, true);
    if (!same && !(Math.abs(p - q) <= Math.abs(p) * 3 * 2 ** -12)) return false;
  }
  return true;
}

/** `mask`: the RFLAGS bits that are defined; `codes`: the condition codes of the x87 status word that are not. */
export function differences(want: Outcome, got: Outcome, mask: bigint, approximate = false, codes = 0): string[] {
  const found: string[] = [];
  const differ = (what: string, a: bigint | number, b: bigint | number): void => {
    if (a !== b) found.push(`${what} ${b.toString(16)}, not ${a.toString(16)}`);
  };
  differ('vector', want.vector, got.vector);
  if (want.vector === got.vector) {
    // Linux reports all that is not a process's as present, whether it is or not (arch/x86/mm/fault.c, sanitize_error_code).
    const known = want.address >= TASK_SIZE_MAX ? ~1 : ~0;
    differ('error code', want.errorCode & known, got.errorCode & known);
    differ('fault address', want.address, got.address);
  }
  differ('RIP', want.rip, got.rip);
  for (let n = 0; n < 16; n++) differ(NAMES[n] ?? `R${n}`, want.gpr[n] ?? 0n, got.gpr[n] ?? 0n);
  differ('RFLAGS', want.rflags & mask, got.rflags & mask);
  for (let i = 0; i < want.window.length; i++)
    differ(`byte at ${(WINDOW + BigInt(i)).toString(16)}`, want.window[i] ?? 0, got.window[i] ?? 0);
  const word = (o: Outcome, at: number) => new DataView(o.fxsave.buffer, o.fxsave.byteOffset).getUint16(at, true);
  differ('FCW', word(want, 0), word(got, 0));
  differ('FSW', word(want, 2) & ~codes, word(got, 2) & ~codes);
  differ('FTW', want.fxsave[4] ?? 0, got.fxsave[4] ?? 0);
  differ('MXCSR', word(want, 24), word(got, 24));
  for (let i = 32; i < 160; i++)
    if (((i - 32) & 15) < X87_BYTES) differ(`byte ${i & 15} of ST${(i - 32) >> 4}`, want.fxsave[i] ?? 0, got.fxsave[i] ?? 0);
  if (approximate && approximates(want.fxsave, got.fxsave)) return found;
  for (let i = 160; i < 416; i++) differ(`byte ${(i - 160) & 15} of XMM${(i - 160) >> 4}`, want.fxsave[i] ?? 0, got.fxsave[i] ?? 0);
  return found;
}
