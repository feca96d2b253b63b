// The two layouts of vcpu_guest_context brought to one form, so that the checks and the loading are written once.

import type { Infer, xen_x86_32, xen_x86_64 } from '@ringworld/abi';
import type { TrapInfo } from './trap-table.ts';

export interface Registers {
  /** By encoding number. */
  readonly gpr: readonly bigint[];
  /** Signed. */
  readonly rip: number;
  readonly rsp: number;
  readonly rflags: number;
  readonly cs: number;
  readonly ss: number;
  readonly ds: number;
  readonly es: number;
  readonly fs: number;
  readonly gs: number;
}

/** Addresses are signed numbers; what a 32-bit context lacks is zero. */
export interface CommonContext {
  readonly fpu: Uint8Array;
  readonly flags: number;
  readonly regs: Registers;
  readonly traps: readonly TrapInfo[];
  readonly ldtBase: number;
  readonly ldtEnts: number;
  readonly gdtFrames: readonly number[];
  readonly gdtEnts: number;
  readonly kernelSs: number;
  readonly kernelSp: number;
  readonly ctrlreg: readonly bigint[];
  /** Frames that ctrlreg[3] and ctrlreg[1] name. */
  readonly cr3Frame: number;
  readonly userFrame: number;
  readonly debugreg: readonly bigint[];
  readonly eventCs: number;
  readonly eventEip: number;
  readonly failsafeCs: number;
  readonly failsafeEip: number;
  readonly syscallEip: number;
  readonly vmAssist: number;
  readonly fsBase: number;
  readonly gsBaseKernel: number;
  readonly gsBaseUser: number;
}

const signed = (v: bigint): number => Number(BigInt.asIntN(64, v));
/** xen_cr3_to_pfn() of a 64-bit guest: bits 63:12 rotated back, which for any frame of ours is a shift. */
const frameOfCr3 = (v: bigint): number => Number(v >> 12n);

export function commonFrom64(c: Infer<typeof xen_x86_64.vcpu_guest_context>): CommonContext {
  const r = c.user_regs;
  return {
    fpu: c.fpu_ctxt,
    flags: c.flags,
    regs: {
      gpr: [r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15],
      rip: signed(r.rip),
      rsp: signed(r.rsp),
      rflags: Number(r.rflags & 0xffff_ffffn),
      cs: r.cs,
      ss: r.ss,
      ds: r.ds,
      es: r.es,
      fs: r.fs,
      gs: r.gs,
    },
    traps: c.trap_ctxt,
    ldtBase: c.ldt_base,
    ldtEnts: c.ldt_ents,
    gdtFrames: c.gdt_frames,
    gdtEnts: c.gdt_ents,
    kernelSs: c.kernel_ss % 0x1_0000,
    kernelSp: c.kernel_sp,
    ctrlreg: c.ctrlreg,
    cr3Frame: frameOfCr3(c.ctrlreg[3]!),
    userFrame: frameOfCr3(c.ctrlreg[1]!),
    debugreg: c.debugreg,
    eventCs: 0,
    eventEip: c.event_callback_eip,
    failsafeCs: 0,
    failsafeEip: c.failsafe_callback_eip,
    syscallEip: c.syscall_callback_eip,
    vmAssist: Number(c.vm_assist),
    fsBase: signed(c.fs_base),
    gsBaseKernel: signed(c.gs_base_kernel),
    gsBaseUser: signed(c.gs_base_user),
  };
}

export function commonFrom32(c: Infer<typeof xen_x86_32.vcpu_guest_context>): CommonContext {
  const r = c.user_regs;
  // compat_cr3_to_pfn(): the frame rotated left by 12.
  const cr3 = Number(c.ctrlreg[3]! & 0xffff_ffffn);
  return {
    fpu: c.fpu_ctxt,
    flags: c.flags,
    regs: {
      gpr: [r.eax, r.ecx, r.edx, r.ebx, r.esp, r.ebp, r.esi, r.edi].map((v) => BigInt(v)).concat(new Array<bigint>(8).fill(0n)),
      rip: r.eip,
      rsp: r.esp,
      rflags: r.eflags,
      cs: r.cs,
      ss: r.ss,
      ds: r.ds,
      es: r.es,
      fs: r.fs,
      gs: r.gs,
    },
    traps: c.trap_ctxt,
    ldtBase: c.ldt_base,
    ldtEnts: c.ldt_ents,
    gdtFrames: c.gdt_frames,
    gdtEnts: c.gdt_ents,
    kernelSs: c.kernel_ss & 0xffff,
    kernelSp: c.kernel_sp,
    ctrlreg: c.ctrlreg,
    cr3Frame: ((cr3 >>> 12) | (cr3 << 20)) >>> 0,
    userFrame: 0,
    debugreg: c.debugreg,
    eventCs: c.event_callback_cs & 0xffff,
    eventEip: c.event_callback_eip,
    failsafeCs: c.failsafe_callback_cs & 0xffff,
    failsafeEip: c.failsafe_callback_eip,
    syscallEip: 0,
    vmAssist: Number(c.vm_assist),
    fsBase: 0,
    gsBaseKernel: 0,
    gsBaseUser: 0,
  };
}
