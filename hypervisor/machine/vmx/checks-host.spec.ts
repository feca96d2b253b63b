// Every check on host state is violated once, and reported by its own name.

import { describe } from 'vitest';
import { eachViolation, NOT_CANONICAL, type Table, TOO_HIGH, type Violation, v } from '../testing/vmx-entry.ts';
import { ENTRY, EXIT } from './controls.ts';
import { VMCS } from './fields.ts';

const HOST: Table = {
  'host CR0 has the bits that VMX operation fixes': v((s) => s.offLow(VMCS.HOST_CR0, 0x20)),
  'host CR4 has the bits that VMX operation fixes': v((s) => s.onLow(VMCS.HOST_CR4, 1 << 14)),
  'host CR3 is within the physical-address width': v((s) => s.high(VMCS.HOST_CR3, TOO_HIGH)),
  'host IA32_SYSENTER_ESP is canonical': v((s) => s.lin(VMCS.HOST_SYSENTER_ESP, NOT_CANONICAL)),
  'host IA32_SYSENTER_EIP is canonical': v((s) => s.lin(VMCS.HOST_SYSENTER_EIP, NOT_CANONICAL)),
  'host IA32_PAT holds memory types': v(
    (s) => s.high(VMCS.HOST_PAT, 0x0200_0000),
    (s) => s.exit(EXIT.loadPat),
  ),
  'host IA32_EFER has no reserved bits': v(
    (s) => s.onLow(VMCS.HOST_EFER, 1 << 12),
    (s) => s.exit(EXIT.loadEfer),
  ),
  'host IA32_EFER.LMA is the host address-space size': v(
    (s) => s.offLow(VMCS.HOST_EFER, 0x400),
    (s) => s.exit(EXIT.loadEfer),
  ),
  'host IA32_EFER.LME is the host address-space size': v(
    (s) => s.onLow(VMCS.HOST_EFER, 0x100),
    (s) => {
      s.from32();
      s.exit(EXIT.loadEfer);
    },
  ),
  ...Object.fromEntries(
    (['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'TR'] as const).map((r, i): [string, Violation] => [
      `the host ${r} selector has RPL and TI 0`,
      v((s) => s.set(VMCS[`HOST_${r}_SELECTOR`], 0x48 | (i % 2 === 0 ? 4 : 3))),
    ]),
  ),
  'the host CS selector is not 0': v((s) => s.set(VMCS.HOST_CS_SELECTOR, 0)),
  'the host TR selector is not 0': v((s) => s.set(VMCS.HOST_TR_SELECTOR, 0)),
  'the host SS selector is not 0 for a 32-bit host': v(
    (s) => s.set(VMCS.HOST_SS_SELECTOR, 0),
    (s) => s.from32(),
  ),
  ...Object.fromEntries(
    (['FS', 'GS', 'TR', 'GDTR', 'IDTR'] as const).map((r): [string, Violation] => [
      `the host ${r} base is canonical`,
      v(
        (s) => s.lin(VMCS[`HOST_${r}_BASE`], NOT_CANONICAL),
        (s) => s.lin(VMCS[`HOST_${r}_BASE`], -NOT_CANONICAL),
      ),
    ]),
  ),
  'a guest in IA-32e mode has a 64-bit host': v(
    (s) => s.entry(ENTRY.ia32eModeGuest),
    (s) => s.from32(),
  ),
  'a 32-bit host has CR4.PCIDE 0': v(
    (s) => s.onLow(VMCS.HOST_CR4, 1 << 17),
    (s) => s.from32(),
  ),
  'a 32-bit host has a 32-bit RIP': v(
    (s) => s.lin(VMCS.HOST_RIP, 0x1_0000_0000),
    (s) => s.from32(),
  ),
  'a 64-bit host has CR4.PAE 1': v((s) => s.offLow(VMCS.HOST_CR4, 0x20)),
  'a 64-bit host has a canonical RIP': v((s) => s.lin(VMCS.HOST_RIP, NOT_CANONICAL)),
  'a guest is entered in IA-32e mode only from IA-32e mode': v((s) => {
    s.inIa32e = false;
  }),
  'exits go to 64-bit mode only if the entry came from IA-32e mode': v(
    (s) => s.exit(EXIT.hostAddressSpaceSize),
    (s) => s.from32(),
  ),
  'exits go to 64-bit mode if the entry came from IA-32e mode': v(
    (s) => {
      s.inIa32e = true;
    },
    (s) => s.from32(),
  ),
};

describe('VM entry', () => eachViolation('host', /^26\.2\.[234]$/, HOST));
