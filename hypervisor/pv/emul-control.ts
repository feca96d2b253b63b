// MOV to and from control and debug registers, CLTS and XSETBV of a PV guest's kernel (read_cr, write_cr, read_dr, write_dr of
// xen/arch/x86/pv/emul-priv-op.c; handle_xsetbv, xen/arch/x86/xstate.c).

import { xen_x86_32 } from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { linFromHalves } from '../machine/addresses.ts';
import type { Decoded } from '../machine/isa/decoded.ts';
import { RAX, RCX, RDX, STATE } from '../machine/state.ts';
import { fixupGuestCr4, realCr4, XEN_CR0 } from './control-registers.ts';
import { featuresOf, profileOf, pvProfile } from './cpuid-policy.ts';
import { getDebugreg, setDebugreg } from './debug.ts';
import type { Outcome } from './emul-priv-op.ts';
import { setTaskSwitched } from './fpu.ts';
import { newGuestCr3 } from './mm-baseptr.ts';
import { setGuestCr2 } from './vcpu-info.ts';

const TS = 8n;

/** Numbers of the register operands; the CR or DR is the other one than the GPR. */
function registerOf(d: Decoded, cls: 'gpr' | 'cr' | 'dr'): number {
  for (const o of d.operands) if (o.kind === 'reg' && o.class === cls) return o.index;
  return -1;
}

function writeGpr(vcpu: Vcpu, n: number, v: bigint): void {
  vcpu.regs.setReg(n, vcpu.domain.is32bit ? v & 0xffff_ffffn : v);
}
const readGpr = (vcpu: Vcpu, n: number): bigint => (vcpu.domain.is32bit ? vcpu.regs.reg(n) & 0xffff_ffffn : vcpu.regs.reg(n));

export function clts(_hv: Hypervisor, vcpu: Vcpu): Outcome {
  setTaskSwitched(vcpu, false);
  return 'done';
}

export function movFromCr(_hv: Hypervisor, vcpu: Vcpu, d: Decoded): Outcome {
  const { pv, domain } = vcpu;
  const gpr = registerOf(d, 'gpr');
  switch (registerOf(d, 'cr')) {
    case 0:
      writeGpr(vcpu, gpr, (BigInt(XEN_CR0) & ~TS) | pv.ctrlreg[0]!);
      return 'done';
    case 2:
      writeGpr(vcpu, gpr, pv.ctrlreg[2]!);
      return 'done';
    case 3:
      writeGpr(vcpu, gpr, domain.is32bit ? BigInt(xen_x86_32.xen_pfn_to_cr3(pv.guestTable)) : BigInt(pv.guestTable) << 12n);
      return 'done';
    case 4:
      writeGpr(vcpu, gpr, pv.ctrlreg[4]!);
      return 'done';
    default:
      return 'refused';
  }
}

export function movToCr(hv: Hypervisor, vcpu: Vcpu, d: Decoded): Outcome {
  const { pv, domain } = vcpu;
  const v = readGpr(vcpu, registerOf(d, 'gpr'));
  switch (registerOf(d, 'cr')) {
    case 0:
      if ((v ^ BigInt(XEN_CR0)) & ~TS) {
        hv.console.xen(`${vcpu.name} Attempt to change unmodifiable CR0 flags`);
        return 'refused';
      }
      setTaskSwitched(vcpu, (v & TS) !== 0n);
      return 'done';
    case 2: {
      pv.ctrlreg[2] = v;
      setGuestCr2(vcpu, Number(v & 0xffff_ffffn) | 0, Number(v >> 32n) | 0);
      return 'done';
    }
    case 3: {
      const frame = domain.is32bit ? xen_x86_32.xen_cr3_to_pfn(Number(v)) : Number(v >> 12n);
      return newGuestCr3(hv, vcpu, frame) === 0 ? 'done' : 'refused';
    }
    case 4: {
      const features = pvProfile(profileOf(vcpu.cpu), domain.is32bit).features;
      pv.ctrlreg[4] = BigInt(fixupGuestCr4(features, Number(v & 0xffff_ffffn)));
      vcpu.regs.setHalves(STATE.cr4, realCr4(vcpu, featuresOf(vcpu.cpu)), 0);
      vcpu.cpu?.modeChanged();
      return 'done';
    }
    default:
      return 'refused';
  }
}

export function movFromDr(_hv: Hypervisor, vcpu: Vcpu, d: Decoded): Outcome {
  const v = getDebugreg(vcpu, registerOf(d, 'dr'));
  if (v === undefined) return 'refused';
  writeGpr(vcpu, registerOf(d, 'gpr'), v);
  return 'done';
}

export function movToDr(_hv: Hypervisor, vcpu: Vcpu, d: Decoded): Outcome {
  return setDebugreg(vcpu, registerOf(d, 'dr'), readGpr(vcpu, registerOf(d, 'gpr'))) === 0 ? 'done' : 'refused';
}

/** XCR0: x87 always, SSE by choice; what the CPU does not have is refused. */
export function xsetbv(_hv: Hypervisor, vcpu: Vcpu): Outcome {
  const { regs, pv } = vcpu;
  if (!featuresOf(vcpu.cpu).has('xsave') || !(pv.ctrlreg[4]! & (1n << 18n))) return 'refused';
  if (regs.regLo(RCX) !== 0) return 'refused';
  const value = linFromHalves(regs.regLo(RAX), regs.regLo(RDX));
  if ((value & 1) === 0 || value > 3 || value < 0) return 'refused';
  regs.setHalves(STATE.xcr0, regs.regLo(RAX), 0);
  return 'done';
}
