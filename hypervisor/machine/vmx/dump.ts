// A VMCS as text, from its declaration: for logs, crashes and `ringworld dump`.

import { CONTROLS, type ControlWord } from './controls.ts';
import { decodeBits, EXIT_NAMES, VMX_EXIT } from './exits.ts';
import { ALL_FIELDS, type Field, type VmcsName } from './fields.ts';
import type { Vmcs } from './vmcs.ts';

const WORDS: Partial<Record<VmcsName, ControlWord>> = {
  PIN_BASED_VM_EXEC_CONTROL: 'pin',
  CPU_BASED_VM_EXEC_CONTROL: 'primary',
  SECONDARY_VM_EXEC_CONTROL: 'secondary',
  VM_EXIT_CONTROLS: 'exit',
  VM_ENTRY_CONTROLS: 'entry',
};
const named = (word: ControlWord, value: number): string =>
  Object.entries(CONTROLS[word])
    .filter(([, bit]) => (value & bit) !== 0)
    .map(([name]) => name)
    .join(' ');

/** What the number of a field means, where the declarations know it; empty where they do not. */
function meaning(f: Field, vmcs: Vmcs): string {
  const value = vmcs.fieldLo(f);
  const word = WORDS[f.name];
  if (word !== undefined) return named(word, value);
  const reason = vmcs.fieldLo(REASON);
  const name = EXIT_NAMES[reason & 0xffff];
  if (f.name === 'VM_EXIT_REASON') return `${name ?? '?'}${reason & 0x8000_0000 ? ', VM entry failed' : ''}`;
  if (f.name !== 'EXIT_QUALIFICATION' || name === undefined) return '';
  const { qualification, whole } = VMX_EXIT[name];
  if (whole !== undefined) return whole;
  return Object.entries(decodeBits(qualification, value))
    .filter(([, v]) => v !== false)
    .map(([key, v]) => (v === true ? key : `${key}=${v}`))
    .join(' ');
}
const REASON = ALL_FIELDS.find((f) => f.name === 'VM_EXIT_REASON')!;

/** One line for each field that is not zero: name, value, and what its bits say. `fields`: those of a processor (VmxCapabilities.fields). */
export function dumpVmcs(vmcs: Vmcs, fields: ReadonlyMap<number, Field>): string[] {
  const lines: string[] = [];
  for (const f of fields.values()) {
    const value = (BigInt(vmcs.fieldHi(f)) << 32n) | BigInt(vmcs.fieldLo(f));
    if (f.isHigh || value === 0n) continue;
    lines.push(`${f.name.padEnd(30)} 0x${value.toString(16)} ${meaning(f, vmcs)}`.trimEnd());
  }
  return lines;
}
