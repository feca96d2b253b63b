// Entries of the virtual IDT, from and to struct trap_info (public/arch-x86/xen.h).

import type { Infer, trap_info } from '@ringworld/abi';
import type { TrapEntry } from '../core/pv-vcpu.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { fixupSelector } from './selectors.ts';

export type TrapInfo = Infer<typeof trap_info>;

/** TI_GET_DPL and TI_GET_IF. */
const DPL = 3;
const IF = 4;

export function setTrapEntry(vcpu: Vcpu, vector: number, info: TrapInfo): void {
  // SAFE: 256 entries, vectors are bytes.
  const t = vcpu.pv.trapTable[vector]!;
  t.selector = fixupSelector(vcpu.domain.is32bit, info.cs);
  t.address = info.address as number as Lin;
  t.dpl = info.flags & DPL;
  t.ifFlag = (info.flags & IF) !== 0;
}

export function clearTrapEntry(t: TrapEntry): void {
  t.selector = 0;
  t.address = 0 as Lin;
  t.dpl = 0;
  t.ifFlag = false;
}

export const trapInfoOf = (vector: number, t: TrapEntry): TrapInfo => ({
  vector: t.address === 0 && t.selector === 0 ? 0 : vector,
  flags: t.dpl | (t.ifFlag ? IF : 0),
  cs: t.selector,
  // SAFE: an address is a GuestVaddr under another brand.
  address: t.address as number as TrapInfo['address'],
});
