// SVM's instructions by opcode (APM Vol 3, chapter 4): the conditions under which they raise #UD and #GP, then their intercept, then the
// operation (svm.ts).

import { type Lin, linHi, linLo, type Maddr } from '../addresses.ts';
import { PF } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import { RAX, RCX, STATE } from '../state.ts';
import { EFER, EXC } from '../system/bits.ts';
import { isLongMode, isProtected, next, nextRip } from '../system/mode.ts';
import type { SystemCpu } from '../system/ports.ts';
import { exitGuest } from './exit.ts';
import { EXIT, type ExitName } from './exits.ts';
import type { SVM_INSTRUCTIONS } from './intercepts.ts';
import type { Svm } from './svm.ts';

/** rAX by the address size: a physical address, or INVLPGA's linear one. */
const raxAddress = (cpu: SystemCpu, d: Decoded): number => {
  const lo = cpu.regLo(RAX) >>> 0;
  return d.addrSize === 8 ? (cpu.regHi(RAX) >>> 0) * 0x1_0000_0000 + lo : d.addrSize === 4 ? lo : lo & 0xffff;
};

/** The SVM to be used, past #UD (no SVM, EFER.SVME clear unless `startsSecure`, not protected mode) and #GP(0) (CPL). */
function ready(cpu: SystemCpu, startsSecure = false): Svm | undefined {
  const { svm } = cpu;
  const enabled =
    svm !== undefined && ((cpu.lo(STATE.efer) & EFER.SVME) !== 0 || (startsSecure && (svm.features.lock || svm.features.skinit)));
  if (!enabled || !isProtected(cpu)) {
    cpu.fault(EXC.UD);
    return undefined;
  }
  if (cpu.cpl === 0) return svm;
  cpu.fault(EXC.GP, 0);
  return undefined;
}

/** Makes the exit of an instruction that the host of the guest at hand intercepts. */
function intercepted(svm: Svm, cpu: SystemCpu, d: Decoded, name: ExitName, info1 = 0, info1High = 0): boolean {
  if (!svm.state.inGuest || !svm.controls.isIntercepted(EXIT[name].code)) return false;
  exitGuest(svm, EXIT[name].code, info1, info1High, 0, 0, nextRip(cpu, d));
  return true;
}

function vmrun(cpu: SystemCpu, d: Decoded): boolean {
  const svm = ready(cpu);
  if (svm === undefined) return false;
  if (intercepted(svm, cpu, d, 'VMRUN')) return true;
  const address = raxAddress(cpu, d);
  if (svm.locate(address) < 0 || svm.hsave === 0 || svm.locate(svm.hsave) < 0) return cpu.fault(EXC.GP, 0);
  svm.vmrun(address, nextRip(cpu, d));
  return true;
}

/**
 * VMLOAD and VMSAVE. Virtualized, a guest's address is guest-physical and goes through the nested tables; that is for long mode, else they
 * exit (15.33.1). Neither virtualized nor intercepted, it is a physical one.
 */
function transfer(cpu: SystemCpu, d: Decoded, name: 'VMLOAD' | 'VMSAVE'): boolean {
  const svm = ready(cpu);
  if (svm === undefined) return false;
  const isVirtual = svm.state.inGuest && svm.controls.virtualVmloadVmsave;
  if (isVirtual && !isLongMode(cpu)) {
    exitGuest(svm, EXIT[name].code, 0, 0, 0, 0, nextRip(cpu, d));
    return true;
  }
  if (intercepted(svm, cpu, d, name)) return true;
  let address = raxAddress(cpu, d);
  if (isVirtual) {
    if (address % 4096 !== 0) return cpu.fault(EXC.GP, 0);
    address = svm.nested.translate(address, name === 'VMSAVE' ? PF.write : 0, undefined, false, true);
    if (address < 0) {
      svm.guest.secondLevelFault(cpu);
      return true;
    }
  }
  if (svm.locate(address) < 0) return cpu.fault(EXC.GP, 0);
  if (name === 'VMLOAD') svm.vmload(address);
  else svm.vmsave(address);
  return next(cpu, d);
}

export const svmHandlers = {
  VMRUN: vmrun,
  VMLOAD: (cpu: SystemCpu, d: Decoded) => transfer(cpu, d, 'VMLOAD'),
  VMSAVE: (cpu: SystemCpu, d: Decoded) => transfer(cpu, d, 'VMSAVE'),
  /** From every level and mode; without the intercept, and outside guests, it is undefined. */
  VMMCALL(cpu: SystemCpu, d: Decoded) {
    const { svm } = cpu;
    return (svm !== undefined && intercepted(svm, cpu, d, 'VMMCALL')) || cpu.fault(EXC.UD);
  },
  STGI(cpu: SystemCpu, d: Decoded) {
    const svm = ready(cpu, true);
    if (svm === undefined) return false;
    if (intercepted(svm, cpu, d, 'STGI')) return true;
    svm.stgi();
    return next(cpu, d);
  },
  CLGI(cpu: SystemCpu, d: Decoded) {
    const svm = ready(cpu);
    if (svm === undefined) return false;
    if (intercepted(svm, cpu, d, 'CLGI')) return true;
    svm.clgi();
    return next(cpu, d);
  },
  INVLPGA(cpu: SystemCpu, d: Decoded) {
    const svm = ready(cpu);
    if (svm === undefined) return false;
    const lin = d.addrSize === 8 ? cpu.regLin(RAX) : raxAddress(cpu, d);
    const assists = svm.features.decodeAssists;
    if (intercepted(svm, cpu, d, 'INVLPGA', assists ? linLo(lin) : 0, assists ? linHi(lin) : 0)) return true;
    svm.invlpga(lin as Lin, cpu.regLo(RCX) >>> 0);
    return next(cpu, d);
  },
  /** The next instruction is the secure loader's first. */
  SKINIT(cpu: SystemCpu, d: Decoded) {
    const svm = ready(cpu, true);
    if (svm === undefined) return false;
    if (intercepted(svm, cpu, d, 'SKINIT')) return true;
    svm.skinit(((cpu.regLo(RAX) & ~0xffff) >>> 0) as Maddr);
    return true;
  },
} satisfies Record<keyof typeof SVM_INSTRUCTIONS, (cpu: SystemCpu, d: Decoded) => boolean>;
