// VM entry: checks on the host-state area (SDM Vol 3C, 26.2.2 to 26.2.4). What fails here makes VMLAUNCH and VMRESUME fail with error 8.

import { CR4, EFER } from '../system/bits.ts';
import { block, type EntryContext, isPat, type RuleBlock } from './checks-context.ts';
import { ENTRY, EXIT } from './controls.ts';
import { VMCS } from './fields.ts';

const to64 = (c: EntryContext): boolean => (c.exit & EXIT.hostAddressSpaceSize) !== 0;
/** RPL and TI: bits 2:0 of a selector. */
const isPlain = (selector: number): boolean => (selector & 7) === 0;
/** CR0.NW and CR0.CD: an exit does not change them, so they are never checked (26.2.2, note). */
const UNCHECKED = 0x6000_0000;

const REGISTERS = '26.2.2';
const SEGMENTS = '26.2.3';
const SIZE = '26.2.4';

export const HOST_CHECKS: readonly RuleBlock[] = [
  block(REGISTERS, undefined, {
    'host CR0 has the bits that VMX operation fixes': (c) => {
      const cr0 = c.vmcs.lo(VMCS.HOST_CR0);
      return ((~cr0 & c.caps.cr0Fixed0) | (cr0 & ~c.caps.cr0Fixed1 & ~UNCHECKED)) === 0 && c.isLow(VMCS.HOST_CR0);
    },
    'host CR4 has the bits that VMX operation fixes': (c) => {
      const cr4 = c.vmcs.lo(VMCS.HOST_CR4);
      return ((~cr4 & c.caps.cr4Fixed0) | (cr4 & ~c.caps.cr4Fixed1)) === 0 && c.isLow(VMCS.HOST_CR4);
    },
    'host CR3 is within the physical-address width': (c) => c.fits(VMCS.HOST_CR3),
    'host IA32_SYSENTER_ESP is canonical': (c) => c.isCanonical(VMCS.HOST_SYSENTER_ESP),
    'host IA32_SYSENTER_EIP is canonical': (c) => c.isCanonical(VMCS.HOST_SYSENTER_EIP),
  }),
  block(REGISTERS, (c) => (c.exit & EXIT.loadPat) !== 0, {
    'host IA32_PAT holds memory types': (c) => isPat(c.vmcs.lo(VMCS.HOST_PAT), c.vmcs.hi(VMCS.HOST_PAT)),
  }),
  block(REGISTERS, (c) => (c.exit & EXIT.loadEfer) !== 0, {
    'host IA32_EFER has no reserved bits': (c) => (c.vmcs.lo(VMCS.HOST_EFER) & ~c.caps.efer) === 0 && c.isLow(VMCS.HOST_EFER),
    'host IA32_EFER.LMA is the host address-space size': (c) => ((c.vmcs.lo(VMCS.HOST_EFER) & EFER.LMA) !== 0) === to64(c),
    'host IA32_EFER.LME is the host address-space size': (c) => ((c.vmcs.lo(VMCS.HOST_EFER) & EFER.LME) !== 0) === to64(c),
  }),
  block(SEGMENTS, undefined, {
    'the host ES selector has RPL and TI 0': (c) => isPlain(c.vmcs.read32(VMCS.HOST_ES_SELECTOR)),
    'the host CS selector has RPL and TI 0': (c) => isPlain(c.vmcs.read32(VMCS.HOST_CS_SELECTOR)),
    'the host SS selector has RPL and TI 0': (c) => isPlain(c.vmcs.read32(VMCS.HOST_SS_SELECTOR)),
    'the host DS selector has RPL and TI 0': (c) => isPlain(c.vmcs.read32(VMCS.HOST_DS_SELECTOR)),
    'the host FS selector has RPL and TI 0': (c) => isPlain(c.vmcs.read32(VMCS.HOST_FS_SELECTOR)),
    'the host GS selector has RPL and TI 0': (c) => isPlain(c.vmcs.read32(VMCS.HOST_GS_SELECTOR)),
    'the host TR selector has RPL and TI 0': (c) => isPlain(c.vmcs.read32(VMCS.HOST_TR_SELECTOR)),
    'the host CS selector is not 0': (c) => c.vmcs.read32(VMCS.HOST_CS_SELECTOR) !== 0,
    'the host TR selector is not 0': (c) => c.vmcs.read32(VMCS.HOST_TR_SELECTOR) !== 0,
    'the host SS selector is not 0 for a 32-bit host': (c) => to64(c) || c.vmcs.read32(VMCS.HOST_SS_SELECTOR) !== 0,
    'the host FS base is canonical': (c) => c.isCanonical(VMCS.HOST_FS_BASE),
    'the host GS base is canonical': (c) => c.isCanonical(VMCS.HOST_GS_BASE),
    'the host TR base is canonical': (c) => c.isCanonical(VMCS.HOST_TR_BASE),
    'the host GDTR base is canonical': (c) => c.isCanonical(VMCS.HOST_GDTR_BASE),
    'the host IDTR base is canonical': (c) => c.isCanonical(VMCS.HOST_IDTR_BASE),
  }),
  block(SIZE, (c) => !to64(c), {
    'a guest in IA-32e mode has a 64-bit host': (c) => (c.entry & ENTRY.ia32eModeGuest) === 0,
    'a 32-bit host has CR4.PCIDE 0': (c) => (c.vmcs.lo(VMCS.HOST_CR4) & CR4.PCIDE) === 0,
    'a 32-bit host has a 32-bit RIP': (c) => c.isLow(VMCS.HOST_RIP),
  }),
  block(SIZE, to64, {
    'a 64-bit host has CR4.PAE 1': (c) => (c.vmcs.lo(VMCS.HOST_CR4) & CR4.PAE) !== 0,
    'a 64-bit host has a canonical RIP': (c) => c.isCanonical(VMCS.HOST_RIP),
  }),
  block(SIZE, (c) => !c.inIa32e, {
    'a guest is entered in IA-32e mode only from IA-32e mode': (c) => (c.entry & ENTRY.ia32eModeGuest) === 0,
    'exits go to 64-bit mode only if the entry came from IA-32e mode': (c) => !to64(c),
  }),
  block(SIZE, (c) => c.inIa32e, {
    'exits go to 64-bit mode if the entry came from IA-32e mode': to64,
  }),
];
