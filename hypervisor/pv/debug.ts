// Debug registers of a PV guest: what it may write (set_debugreg, xen/arch/x86/pv/misc-hypercalls.c), and #DB (do_debug, traps.c).

import { XEN_EINVAL, XEN_ENODEV, XEN_EPERM } from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { STATE } from '../machine/state.ts';
import { injectException } from './inject.ts';

const CR4_DE = 8n;
/** X86_DR6_DEFAULT, X86_DR7_DEFAULT; the bits that can be written in each (no RTM, no bus lock). */
export const DR6_DEFAULT = 0xffff_0ff0n;
export const DR7_DEFAULT = 0x400n;
const DR6_WRITABLE = 0xe00fn;
const DR7_WRITABLE = 0xffff_23ffn;
const GENERAL_DETECT = 1n << 13n;
/** DR7_ACTIVE_MASK: L0..3, G0..3. */
const ACTIVE = 0xffn;
const IO = 2n;
const DB = 1;

const drOffset = (n: number): number => STATE.dr + n * 8;

/** access_ok() for a breakpoint address: not in the hypervisor's half. */
function isBreakpointAddressOk(vcpu: Vcpu, value: bigint): boolean {
  if (vcpu.domain.is32bit) return value < 0x1_0000_0000n;
  return value < 0x8000_0000_0000n || value >= 0xffff_8800_0000_0000n;
}

/** 0, -XEN_ENODEV (no such register: #UD), -XEN_EINVAL (reserved bits: #GP) or -XEN_EPERM (not for a guest). */
export function setDebugreg(vcpu: Vcpu, reg: number, value: bigint): number {
  const { pv } = vcpu;
  switch (reg) {
    case 0:
    case 1:
    case 2:
    case 3:
      if (!isBreakpointAddressOk(vcpu, value)) return -XEN_EPERM;
      pv.debugreg[reg] = value;
      break;
    case 4:
    case 6:
      if (reg === 4 && pv.ctrlreg[4]! & CR4_DE) return -XEN_ENODEV;
      if (value >> 32n) return -XEN_EINVAL;
      pv.debugreg[6] = (value & DR6_WRITABLE) | DR6_DEFAULT;
      break;
    case 5:
    case 7: {
      if (reg === 5 && pv.ctrlreg[4]! & CR4_DE) return -XEN_ENODEV;
      if (value >> 32n) return -XEN_EINVAL;
      const rc = setDr7(vcpu, (value & DR7_WRITABLE) | DR7_DEFAULT);
      if (rc !== 0) return rc;
      break;
    }
    default:
      return -XEN_ENODEV;
  }
  loadDebugRegisters(vcpu);
  return 0;
}

function setDr7(vcpu: Vcpu, wanted: bigint): number {
  const { pv } = vcpu;
  if (wanted & GENERAL_DETECT) return -XEN_EPERM;
  let ioEnable = 0n;
  if (wanted & ACTIVE) {
    for (let i = 0n; i < 4n; i++) {
      if (((wanted >> (16n + 4n * i)) & 3n) !== IO) continue;
      if (!(pv.ctrlreg[4]! & CR4_DE)) return -XEN_EPERM;
      ioEnable |= wanted & (3n << (2n * i));
    }
  }
  // I/O breakpoints are the emulator's: the hardware would never see the guest's port accesses.
  pv.dr7Emul = Number(ioEnable);
  pv.debugreg[7] = wanted & ~ioEnable;
  return 0;
}

/** x86emul_read_dr() by the owner: undefined for a register that is not there (DR4, DR5 with CR4.DE). */
export function getDebugreg(vcpu: Vcpu, reg: number): bigint | undefined {
  const { pv } = vcpu;
  if (reg < 0 || reg > 7) return undefined;
  if ((reg === 4 || reg === 5) && pv.ctrlreg[4]! & CR4_DE) return undefined;
  if (reg === 7 || reg === 5) return pv.debugreg[7]! | BigInt(pv.dr7Emul);
  return pv.debugreg[reg === 4 ? 6 : reg];
}

/** The guest's breakpoints into the registers that are live, or none when it has none armed. */
export function loadDebugRegisters(vcpu: Vcpu): void {
  const { pv, regs } = vcpu;
  const armed = (pv.debugreg[7]! & ACTIVE) !== 0n;
  for (let i = 0; i < 4; i++) regs.setBig(drOffset(i), armed ? pv.debugreg[i]! : 0n);
  regs.setBig(drOffset(6), pv.debugreg[6]!);
  regs.setBig(drOffset(7), armed ? pv.debugreg[7]! : DR7_DEFAULT);
  vcpu.cpu?.modeChanged();
}

/** #DB: the status goes where get_debugreg finds it, low (inverted) bits included. */
export function handleDebug(hv: Hypervisor, vcpu: Vcpu): void {
  const { pv, regs } = vcpu;
  const dr6 = regs.big(drOffset(6));
  pv.debugreg[6] = (pv.debugreg[6]! | (dr6 & ~DR6_DEFAULT)) & (dr6 | ~DR6_DEFAULT) & 0xffff_ffffn;
  regs.setBig(drOffset(6), DR6_DEFAULT);
  injectException(hv, vcpu, DB);
}
