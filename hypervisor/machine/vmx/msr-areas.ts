// The three lists of MSRs that exits and entries store and load (SDM Vol 3C, 24.7.2, 24.8.2; 26.4, 27.4 and 27.6).

import type { Maddr } from '../addresses.ts';
import { readMsr, writeMsr } from '../system/msr.ts';
import { failingMsr } from './checks.ts';
import type { Vmx } from './vmx.ts';

/** Bytes of an entry: index, 32 reserved bits, the value (Table 24-13). */
const ENTRY_BYTES = 16;

const isX2apic = (index: number): boolean => index >= 0x800 && index <= 0x8ff;
/**
 * Loads `count` MSRs from a list at a physical address. 0 when all went well, else the number of the entry that failed, from 1: for a VM
 * entry that is the exit qualification, for an exit it is a VMX abort.
 */
export function loadMsrs(vmx: Vmx, list: number, count: number): number {
  const { cpu, physical } = vmx;
  const { ram } = cpu;
  for (let i = 0; i < count; i++) {
    const at = physical.locate(list + ENTRY_BYTES * i);
    if (at < 0) return i + 1;
    const index = ram.read32(at as Maddr);
    const reserved = ram.read32((at + 4) as Maddr);
    if (failingMsr(index, reserved) !== undefined || !writeMsr(cpu, index, ram.read64((at + 8) as Maddr))) return i + 1;
  }
  return 0;
}

/** Stores `count` MSRs into the list that names them. */
export function storeMsrs(vmx: Vmx, list: number, count: number): boolean {
  const { cpu, physical } = vmx;
  const { ram } = cpu;
  for (let i = 0; i < count; i++) {
    const at = physical.locate(list + ENTRY_BYTES * i);
    if (at < 0) return false;
    const index = ram.read32(at as Maddr);
    const v = isX2apic(index) || ram.read32((at + 4) as Maddr) !== 0 ? undefined : readMsr(cpu, index);
    if (v === undefined) return false;
    ram.write64((at + 8) as Maddr, v);
  }
  return true;
}
