// NRIP of an intercepted #BR: the core names no length for exceptions, so BOUND is decoded once more.

import type { Lin } from '../addresses.ts';
import { PF } from '../cpu-api.ts';
import { decode } from '../exec/decode.ts';
import { CS, SEG } from '../state.ts';
import { hasProtection, isVm86 } from '../system/mode.ts';
import type { Svm } from './svm.ts';

/** RIP after the BOUND at CS:RIP, which 64-bit code does not have; 0 where its bytes cannot be read. */
export function decodeBound(svm: Svm): number {
  const { cpu, physical } = svm;
  const bytes = new Uint8Array(15);
  let n = 0;
  for (; n < 15; n++) {
    const w = cpu.walk(((cpu.rip + cpu.segBase(CS) + n) >>> 0) as Lin, PF.fetch | (cpu.cpl === 3 ? PF.user : 0));
    const at = w.ok ? physical.locate(w.maddr) : -1;
    if (at < 0) break;
    bytes[n] = physical.ram.u8[physical.ram.base + at]!;
  }
  const wide = hasProtection(cpu) && !isVm86(cpu) && (cpu.segAttributes(CS) & SEG.db) !== 0;
  const d = decode(bytes, 0, n, { bits: wide ? 32 : 16 });
  return typeof d === 'string' ? 0 : (cpu.rip + d.length) >>> 0;
}
