// A VMCB as text, from its declaration.

import { exitOf } from './exits.ts';
import { SAVE, VMCB, type Vmcb, type VmcbField } from './vmcb.ts';

const SEGMENTS: ReadonlySet<string> = new Set(['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'GDTR', 'LDTR', 'IDTR', 'TR']);
const hex = (v: bigint | number): string => `0x${v.toString(16)}`;

/** One line for each control that is not zero and for all of the state: name, value, of EXITCODE the exit. Segments: selector, attributes, limit, base. */
export function dumpVmcb(v: Vmcb): string[] {
  const lines: string[] = [];
  for (const name of Object.keys(VMCB) as VmcbField[]) {
    const [at] = VMCB[name];
    if (SEGMENTS.has(name)) {
      lines.push(
        `${name.padEnd(22)} ${[v.u16(at), v.u16(at + 2), v.u32(at + 4), BigInt.asUintN(64, BigInt(v.lin(at + 8)))].map(hex).join(' ')}`,
      );
      continue;
    }
    const value = v.get(name);
    if (value === 0n && !(name in SAVE)) continue;
    const exit = name === 'EXITCODE' ? ` ${exitOf(v.lo(at))?.name ?? 'INVALID'}` : '';
    lines.push(`${name.padEnd(22)} ${hex(value)}${exit}`);
  }
  return lines;
}
