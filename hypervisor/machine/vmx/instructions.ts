// The VMX instructions as opcodes (SDM Vol 3C, chapter 30): who may execute them, their operands, the VM exits that they make in non-root
// operation, and the flags that tell how they ended. What they do is vmx.ts.

import { isCanonical, type Lin, linFromHalves } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { ARITHMETIC_FLAGS, CS, EFLAGS, RAX, RCX, SEG, STATE } from '../state.ts';
import { CR0, CR4, EXC } from '../system/bits.ts';
import { loadBig, loadBytes, storeBig } from '../system/linear.ts';
import { hasProtection, is64, isLongMode, isVm86, next } from '../system/mode.ts';
import { operandLinear, readOperand, writeOperand } from '../system/operands.ts';
import type { SystemCpu } from '../system/ports.ts';
import { SECONDARY } from './controls.ts';
import { VMX_EXIT } from './exits.ts';
import { type Field, VMCS } from './fields.ts';
import { operandInformation, reg2 } from './operand-information.ts';
import { VM_ERROR, VM_FAIL_INVALID, VM_SUCCEED, type VmResult } from './results.ts';
import type { Vmcs } from './vmcs.ts';
import type { Vmx } from './vmx.ts';

type Body = (cpu: SystemCpu, vmx: Vmx, d: Decoded) => boolean;
type Handler = (cpu: SystemCpu, d: Decoded) => boolean;

const gp0 = (cpu: SystemCpu): false => cpu.fault(EXC.GP, 0);

/** #UD outside VMX operation, in real and virtual-8086 mode, and in compatibility mode (each instruction's pseudocode). */
function usable(cpu: SystemCpu, vmx: Vmx | undefined): vmx is Vmx {
  if (vmx?.isOn && hasProtection(cpu) && !isVm86(cpu) && !(isLongMode(cpu) && !(cpu.segAttributes(CS) & SEG.l))) return true;
  return cpu.fault(EXC.UD);
}

/** 30.2: VMsucceed clears the arithmetic flags, VMfailInvalid sets CF, VMfailValid ZF. */
function report(cpu: SystemCpu, d: Decoded, result: VmResult): boolean {
  const flag = result === VM_SUCCEED ? 0 : result === VM_FAIL_INVALID ? EFLAGS.CF : EFLAGS.ZF;
  cpu.rflags = (cpu.rflags & ~ARITHMETIC_FLAGS) | flag;
  return next(cpu, d);
}

/** A VM exit before an instruction, of which operand `at` is told; in every mode but those of usable(), and at any level (25.1.2). */
function exit(vmx: Vmx, cpu: SystemCpu, d: Decoded, reason: number, at = -1, other = -1): boolean {
  const c = vmx.guest.begin(reason);
  c.length = d.length;
  c.rf = false;
  if (at >= 0) operandInformation(cpu, c, d, at, other >= 0 ? reg2(d, other) : 0);
  return vmx.guest.exit();
}

/** An instruction that exits from non-root operation always, and from root operation needs level 0. */
const always =
  (reason: number, body: Body, at = -1, other = -1): Handler =>
  (cpu, d) => {
    const { vmx } = cpu;
    if (!usable(cpu, vmx)) return false;
    if (cpu.nonRoot === vmx.guest) return exit(vmx, cpu, d, reason, at, other);
    return cpu.cpl > 0 ? gp0(cpu) : body(cpu, vmx, d);
  };

/** The 64-bit address in a memory operand: exact below 2^53, and out of range above. */
function addressOperand(cpu: SystemCpu, d: Decoded): number | undefined {
  const lin = operandLinear(cpu, d, 0, 8, false);
  const v = lin === undefined ? undefined : loadBig(cpu, lin, 8);
  return v === undefined ? undefined : Number(v);
}
const withAddress =
  (f: (vmx: Vmx, at: number) => VmResult): Body =>
  (cpu, vmx, d) => {
    const at = addressOperand(cpu, d);
    return at !== undefined && report(cpu, d, f(vmx, at));
  };

/** IA32_FEATURE_CONTROL: locked, and VMX allowed outside SMX operation (23.7). */
const IA32_FEATURE_CONTROL = 0x3a;
const LOCKED_AND_ON = 5n;

function vmxon(cpu: SystemCpu, d: Decoded): boolean {
  const { vmx } = cpu;
  const compatibility = isLongMode(cpu) && !(cpu.segAttributes(CS) & SEG.l);
  if (!vmx || !(cpu.lo(STATE.cr0) & CR0.PE) || !(cpu.lo(STATE.cr4) & CR4.VMXE) || isVm86(cpu) || compatibility) return cpu.fault(EXC.UD);
  if (cpu.nonRoot === vmx.guest) return exit(vmx, cpu, d, VMX_EXIT.VMXON.reason, 0);
  if (cpu.cpl > 0) return gp0(cpu);
  if (!vmx.isOn) {
    const { cr0Fixed0, cr4Fixed0 } = vmx.capabilities;
    const control = cpu.thread.msrs.get(IA32_FEATURE_CONTROL) ?? LOCKED_AND_ON;
    const crsFit = (cpu.lo(STATE.cr0) & cr0Fixed0) === cr0Fixed0 && (cpu.lo(STATE.cr4) & cr4Fixed0) === cr4Fixed0;
    if (!crsFit || (control & LOCKED_AND_ON) !== LOCKED_AND_ON || !vmx.physical.a20) return gp0(cpu);
  }
  const at = addressOperand(cpu, d);
  return at !== undefined && report(cpu, d, vmx.vmxon(at));
}

/**
 * VMREAD and VMWRITE in non-root operation: undefined where they make a VM exit, else the VMCS that they work on, null for none. With VMCS
 * shadowing that is the one that the link pointer names (24.10, 25.3).
 */
function shadowFor(cpu: SystemCpu, vmx: Vmx, bitmap: number, lo: number, hi: number): Vmcs | null | undefined {
  const { guest } = vmx;
  if (!(guest.secondary & SECONDARY.vmcsShadowing) || hi !== 0 || lo >>> 15 !== 0 || bitmap < 0) return undefined;
  if ((cpu.ram.u8[cpu.ram.base + bitmap + (lo >>> 3)]! >>> (lo & 7)) & 1) return undefined;
  const link = guest.vmcs;
  if (link.lo(VMCS.VMCS_LINK_POINTER) === 0xffff_ffff && link.hi(VMCS.VMCS_LINK_POINTER) === 0xffff_ffff) return null;
  return vmx.vmcsAt(link.readLin(VMCS.VMCS_LINK_POINTER)) ?? null;
}
function fail(cpu: SystemCpu, d: Decoded, vmcs: Vmcs, error: number): boolean {
  vmcs.write32(VMCS.VM_INSTRUCTION_ERROR, error);
  return report(cpu, d, error);
}

/** The field operand: 64 bits in 64-bit mode, else 32. */
function encodingOperand(cpu: SystemCpu, d: Decoded, at: number): { readonly lo: number; readonly hi: number } {
  const o = d.operands[at];
  const n = o?.kind === 'reg' ? o.index : 0;
  return { lo: cpu.regLo(n) >>> 0, hi: is64(cpu) ? cpu.regHi(n) >>> 0 : 0 };
}
const fieldAt = (vmx: Vmx, e: { readonly lo: number; readonly hi: number }): Field | undefined =>
  e.hi === 0 ? vmx.field(e.lo) : undefined;

function vmread(cpu: SystemCpu, d: Decoded): boolean {
  const { vmx } = cpu;
  if (!usable(cpu, vmx)) return false;
  const e = encodingOperand(cpu, d, 1);
  let vmcs: Vmcs | null | undefined = vmx.current ?? null;
  if (cpu.nonRoot === vmx.guest) {
    vmcs = shadowFor(cpu, vmx, vmx.guest.vmreadBitmap, e.lo, e.hi);
    if (vmcs === undefined) return exit(vmx, cpu, d, VMX_EXIT.VMREAD.reason, 0, 1);
  }
  if (cpu.cpl > 0) return gp0(cpu);
  if (vmcs === null || vmcs === undefined) return report(cpu, d, VM_FAIL_INVALID);
  const f = fieldAt(vmx, e);
  if (f === undefined) return fail(cpu, d, vmcs, VM_ERROR.unsupportedField);
  const size = is64(cpu) ? 8 : 4;
  const value = (BigInt(vmcs.fieldHi(f)) << 32n) | BigInt(vmcs.fieldLo(f));
  return writeOperand(cpu, d, 0, size === 8 ? value : value & 0xffff_ffffn, size) && report(cpu, d, VM_SUCCEED);
}

function vmwrite(cpu: SystemCpu, d: Decoded): boolean {
  const { vmx } = cpu;
  if (!usable(cpu, vmx)) return false;
  const e = encodingOperand(cpu, d, 0);
  let vmcs: Vmcs | null | undefined = vmx.current ?? null;
  if (cpu.nonRoot === vmx.guest) {
    vmcs = shadowFor(cpu, vmx, vmx.guest.vmwriteBitmap, e.lo, e.hi);
    if (vmcs === undefined) return exit(vmx, cpu, d, VMX_EXIT.VMWRITE.reason, 1, 0);
  }
  if (cpu.cpl > 0) return gp0(cpu);
  if (vmcs === null || vmcs === undefined) return report(cpu, d, VM_FAIL_INVALID);
  const value = readOperand(cpu, d, 1, is64(cpu) ? 8 : 4);
  if (value === undefined) return false;
  const f = fieldAt(vmx, e);
  if (f === undefined) return fail(cpu, d, vmcs, VM_ERROR.unsupportedField);
  if (f.class === 'readonly' && !vmx.capabilities.vmwriteAny) return fail(cpu, d, vmcs, VM_ERROR.readOnlyField);
  vmcs.setField(f, Number(value & 0xffff_ffffn), Number(value >> 32n));
  return report(cpu, d, VM_SUCCEED);
}

const entry =
  (f: (vmx: Vmx) => VmResult): Body =>
  (cpu, vmx, d) => {
    const result = f(vmx);
    // After an entry RIP is the guest's, after one that failed late the host's: HOST_RIP.
    return result === VM_SUCCEED || result < VM_FAIL_INVALID ? true : report(cpu, d, result);
  };

/** The descriptor of INVEPT and INVVPID: 128 bits, as two halves of two words. */
function descriptor(cpu: SystemCpu, d: Decoded): DataView | undefined {
  const lin = operandLinear(cpu, d, 1, 16, false);
  const bytes = lin === undefined ? undefined : loadBytes(cpu, lin, 16);
  return bytes === undefined ? undefined : new DataView(bytes.buffer);
}
/** Their type: anything above what fits is no type either. */
function typeOperand(cpu: SystemCpu, d: Decoded): number {
  const { lo, hi } = encodingOperand(cpu, d, 0);
  return hi === 0 ? lo : -1;
}

const invept: Body = (cpu, vmx, d) => {
  const view = descriptor(cpu, d);
  if (view === undefined) return false;
  // Bits 127:64 are reserved.
  if (view.getBigUint64(8, true) !== 0n) return report(cpu, d, vmx.failWith(VM_ERROR.invalidOperand));
  return report(cpu, d, vmx.invept(typeOperand(cpu, d), Number(view.getBigUint64(0, true))));
};
const invvpid: Body = (cpu, vmx, d) => {
  const view = descriptor(cpu, d);
  if (view === undefined) return false;
  const lin = linFromHalves(view.getInt32(8, true), view.getInt32(12, true));
  // Bits 63:16 are reserved.
  if (view.getUint16(2, true) !== 0 || view.getUint32(4, true) !== 0) return report(cpu, d, vmx.failWith(VM_ERROR.invalidOperand));
  return report(cpu, d, vmx.invvpid(typeOperand(cpu, d), view.getUint16(0, true), isCanonical(lin) ? lin : (Number.NaN as Lin)));
};
function vmfunc(cpu: SystemCpu, d: Decoded): boolean {
  const { vmx } = cpu;
  if (!vmx || cpu.nonRoot !== vmx.guest || !(vmx.guest.secondary & SECONDARY.enableVmFunctions)) return cpu.fault(EXC.UD);
  if (vmx.vmfunc(cpu.regLo(RAX) >>> 0, cpu.regLo(RCX))) return next(cpu, d);
  return exit(vmx, cpu, d, VMX_EXIT.VMFUNC.reason);
}

function vmptrst(cpu: SystemCpu, vmx: Vmx, d: Decoded): boolean {
  const lin = operandLinear(cpu, d, 0, 8, true);
  if (lin === undefined || !storeBig(cpu, lin, 8, BigInt.asUintN(64, BigInt(vmx.pointer)))) return false;
  return report(cpu, d, VM_SUCCEED);
}

/** For HANDLERS in system/execute.ts, by mnemonic. */
export const vmxHandlers = {
  VMXON: vmxon,
  VMXOFF: always(VMX_EXIT.VMXOFF.reason, (cpu, vmx, d) => report(cpu, d, vmx.vmxoff())),
  // In root operation there is no SMM monitor to call (31.15.2).
  VMCALL: always(VMX_EXIT.VMCALL.reason, (cpu, vmx, d) => report(cpu, d, vmx.failWith(VM_ERROR.vmcallInRoot))),
  VMLAUNCH: always(
    VMX_EXIT.VMLAUNCH.reason,
    entry((vmx) => vmx.vmlaunch()),
  ),
  VMRESUME: always(
    VMX_EXIT.VMRESUME.reason,
    entry((vmx) => vmx.vmresume()),
  ),
  VMCLEAR: always(
    VMX_EXIT.VMCLEAR.reason,
    withAddress((vmx, at) => vmx.vmclear(at)),
    0,
  ),
  VMPTRLD: always(
    VMX_EXIT.VMPTRLD.reason,
    withAddress((vmx, at) => vmx.vmptrld(at)),
    0,
  ),
  VMPTRST: always(VMX_EXIT.VMPTRST.reason, vmptrst, 0),
  VMREAD: vmread,
  VMWRITE: vmwrite,
  INVEPT: always(VMX_EXIT.INVEPT.reason, invept, 1, 0),
  INVVPID: always(VMX_EXIT.INVVPID.reason, invvpid, 1, 0),
  VMFUNC: vmfunc,
} satisfies Record<string, Handler>;
