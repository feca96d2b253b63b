// vcpu_guest_context to vCPU and back: how a vCPU gets its first state (VCPUOP_initialise, XEN_DOMCTL_setvcpucontext) and how tools read
// it (arch_set_info_guest, xen/arch/x86/domain.c; arch_get_info_guest, xen/arch/x86/domctl.c). Values are checked before any is used.

import {
  decode,
  encode,
  VGCF_failsafe_disables_events,
  VGCF_I387_VALID,
  VGCF_IN_KERNEL,
  VGCF_online,
  VGCF_syscall_disables_events,
  XEN_EINVAL,
  XEN_EOPNOTSUPP,
  xen_x86_32 as x32,
  xen_x86_64 as x64,
} from '@ringworld/abi';
import { loadFxsave, resetFpu, saveFxsave } from '../core/fpu-image.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN } from '../core/ids.ts';
import { updateWallclock } from '../core/pvclock.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { isCanonical, type Lin } from '../machine/addresses.ts';
import { CS, DS, EFLAGS, ES, FS, GS, SEG, SS, STATE } from '../machine/state.ts';
import { START_FAILSAFE } from './callbacks.ts';
import { fixupGuestCr4, XEN_CR0 } from './control-registers.ts';
import { profileOf, pvProfile } from './cpuid-policy.ts';
import { DR6_DEFAULT, DR7_DEFAULT, setDebugreg } from './debug.ts';
import { setGdt } from './gdt.ts';
import { type CommonContext, commonFrom32, commonFrom64, type Registers } from './guest-context-forms.ts';
import { HYPERVISOR_VIRT_END } from './layout.ts';
import { setGuestTable, setGuestTableUser } from './mm-baseptr.ts';
import { attributesOf, baseOf, limitOf, loadCodeAndStack, readDescriptor } from './segment-load.ts';
import { fixupSelector } from './selectors.ts';
import { setTrapEntry, trapInfoOf } from './trap-table.ts';
import { upcallMask } from './vcpu-info.ts';

/** 0 or -XEN_Exxx; on failure of an initialised vCPU nothing has changed, a new one is not started. */
export function loadGuestContext(hv: Hypervisor, vcpu: Vcpu, bytes: Uint8Array): number {
  const { is32bit, abi } = vcpu.domain;
  const codec = is32bit ? x32.vcpu_guest_context : x64.vcpu_guest_context;
  if (bytes.length < codec.size(abi)) return -XEN_EINVAL;
  const c = is32bit ? commonFrom32(decode(x32.vcpu_guest_context, abi, bytes)) : commonFrom64(decode(x64.vcpu_guest_context, abi, bytes));
  const bad = check(vcpu, c);
  if (bad !== 0) return bad;
  const wasInitialised = vcpu.isInitialised;
  if (wasInitialised) {
    const rc = checkUnchanged(vcpu, c);
    if (rc !== 0) return rc;
  } else if (!is32bit && !(c.flags & VGCF_IN_KERNEL) && c.ctrlreg[1] === 0n) return -XEN_EINVAL;

  const rc = setState(vcpu, c);
  if (rc !== 0) return rc;
  if (!wasInitialised) {
    const err = setTables(hv, vcpu, c);
    if (err !== 0) return err;
  }
  setSegments(hv, vcpu, c);
  vcpu.isInitialised = true;
  // The builder has just cleared shared_info (arch_set_info_guest does the same).
  if (vcpu.id === 0) updateWallclock(hv, vcpu.domain);
  vcpu.isDown = (c.flags & VGCF_online) === 0;
  return 0;
}

/** The checks of Xen in Xen's order. */
function check(vcpu: Vcpu, c: CommonContext): number {
  if (!vcpu.domain.is32bit) {
    const addresses = [c.regs.rip, c.regs.rsp, c.kernelSp, c.fsBase, c.gsBaseKernel, c.gsBaseUser, c.eventEip, c.syscallEip, c.failsafeEip];
    if (c.ldtEnts !== 0) addresses.push(c.ldtBase);
    if (!addresses.every((a) => isCanonical(a as Lin))) return -XEN_EINVAL;
    if (!c.traps.every((t) => isCanonical(t.address as number as Lin))) return -XEN_EINVAL;
    // __addr_ok(): not in the hypervisor's area.
    if (c.ldtBase < 0 && c.ldtBase < HYPERVISOR_VIRT_END) return -XEN_EINVAL;
  }
  if (((c.ldtBase % 4096) + 4096) % 4096 !== 0 || c.ldtEnts > 8192) return -XEN_EINVAL;
  return 0;
}

/** A vCPU that has run keeps its tables: a context that names others cannot be had. */
function checkUnchanged(vcpu: Vcpu, c: CommonContext): number {
  const { pv } = vcpu;
  const user = pv.guestTableUser === INVALID_MFN ? 0 : pv.guestTableUser;
  const isSame =
    pv.guestTable === c.cr3Frame &&
    (vcpu.domain.is32bit || (user === c.userFrame && (user !== 0 || (c.flags & VGCF_IN_KERNEL) !== 0))) &&
    pv.gdtEnts === c.gdtEnts &&
    pv.gdtFrames.every((f, i) => f === c.gdtFrames[i]) &&
    pv.ldtBase === c.ldtBase &&
    pv.ldtEnts === c.ldtEnts;
  return isSame ? 0 : -XEN_EOPNOTSUPP;
}

function setState(vcpu: Vcpu, c: CommonContext): number {
  const { pv, domain, context } = vcpu;
  const { is32bit } = domain;
  const features = pvProfile(profileOf(vcpu.cpu), is32bit).features;

  pv.failsafeDisablesEvents = (c.flags & VGCF_failsafe_disables_events) !== 0;
  pv.syscallDisablesEvents = (c.flags & VGCF_syscall_disables_events) !== 0;
  pv.kernelMode = is32bit || (c.flags & VGCF_IN_KERNEL) !== 0;
  c.traps.forEach((t, i) => {
    setTrapEntry(vcpu, i, t);
  });

  setRegisters(vcpu, c.regs);
  if (c.flags & VGCF_I387_VALID) loadFxsave(context, c.fpu);
  else resetFpu(context);
  context.setHalves(STATE.xcr0, 1, 0);

  pv.kernelSs = fixupSelector(is32bit, c.kernelSs);
  pv.kernelSp = c.kernelSp as Lin;
  pv.ctrlreg = [...c.ctrlreg];
  pv.ctrlreg[0] = (c.ctrlreg[0]! & 8n) | (BigInt(XEN_CR0) & ~8n);
  pv.ctrlreg[4] = BigInt(fixupGuestCr4(features, Number(c.ctrlreg[4]! & 0xffff_ffffn)));
  pv.eventCallbackCs = fixupSelector(is32bit, c.eventCs);
  pv.eventCallbackEip = c.eventEip as Lin;
  pv.failsafeCallbackCs = fixupSelector(is32bit, c.failsafeCs);
  pv.failsafeCallbackEip = c.failsafeEip as Lin;
  if (!is32bit) pv.syscallCallbackEip = c.syscallEip as Lin;

  pv.debugreg = [0n, 0n, 0n, 0n, 0n, 0n, DR6_DEFAULT, DR7_DEFAULT];
  pv.dr7Emul = 0;
  for (const i of [0, 1, 2, 3, 6, 7]) {
    const rc = setDebugreg(vcpu, i, c.debugreg[i]!);
    if (rc !== 0) return rc;
  }
  return 0;
}

function setRegisters(vcpu: Vcpu, r: Registers): void {
  const { context, pv } = vcpu;
  r.gpr.forEach((v, i) => {
    context.setReg(i, v);
  });
  context.setLin(STATE.rip, r.rip);
  pv.iopl = (r.rflags >>> 12) & 3;
  context.rflags = (r.rflags & ~(EFLAGS.IOPL | EFLAGS.VM)) | EFLAGS.IF;
}

/** What the first context of a vCPU gives beside registers: descriptor tables and page tables, with the references they cost. */
function setTables(hv: Hypervisor, vcpu: Vcpu, c: CommonContext): number {
  const { pv, domain } = vcpu;
  pv.ldtBase = c.ldtBase as Lin;
  pv.ldtEnts = c.ldtEnts;
  if (vcpu.id === 0) domain.vmAssist = c.vmAssist;
  let rc = setGdt(hv, vcpu, c.gdtFrames, c.gdtEnts);
  if (rc !== 0) return rc;
  rc = setGuestTable(hv, vcpu, c.cr3Frame);
  if (rc !== 0) return rc;
  return domain.is32bit ? 0 : setGuestTableUser(hv, vcpu, c.userFrame);
}

/**
 * Selectors into segment registers. Xen loads them when the vCPU is first put on a CPU (data segments: one that is no good ends in the
 * failsafe callback) and at the first return to the guest (CS and SS: an exception of the guest's, with the selectors in its frame).
 */
function setSegments(hv: Hypervisor, vcpu: Vcpu, c: CommonContext): void {
  const { context } = vcpu;
  const { is32bit } = vcpu.domain;
  const load = (seg: number, selector: number) => {
    const d = (selector & 0xfffc) === 0 ? null : readDescriptor(hv, vcpu, selector);
    const a = d === null ? 0 : attributesOf(d.hi);
    if (d !== null && a & SEG.s && a & SEG.present) {
      context.setSegment(seg, selector, a | SEG.accessed, limitOf(d), a & SEG.code && a & SEG.l ? 0 : baseOf(d));
      return true;
    }
    context.setSegment(seg, selector, 0, 0, 0);
    return (selector & 0xfffc) === 0;
  };
  const cs = fixupSelector(is32bit, c.regs.cs);
  const ss = fixupSelector(is32bit, c.regs.ss);
  const rpl = is32bit ? 1 : 3;
  const { pv } = vcpu;
  pv.startFault = loadCodeAndStack(hv, vcpu, cs, ss);
  if (pv.startFault !== 0) {
    context.setSegment(CS, cs, (is32bit ? 0xc09b : 0xa09b) | (rpl << 5), 0xffff_ffff, 0);
    context.setSegment(SS, ss, 0xc093 | (rpl << 5), 0xffff_ffff, 0);
    context.setU32(STATE.cpl, cs & 3);
  }
  const data = [load(DS, c.regs.ds), load(ES, c.regs.es), load(FS, c.regs.fs), load(GS, c.regs.gs)];
  if (data.includes(false)) pv.startFault = START_FAILSAFE;
  if (is32bit) return;
  // A selector that is not null overrides the base that the context gives for it.
  if ((c.regs.fs & 0xfffc) === 0) context.setSegBase(FS, c.fsBase);
  const gsUser = (c.regs.gs & 0xfffc) === 0 ? c.gsBaseUser : Number(context.segBase(GS));
  const inKernel = vcpu.pv.kernelMode;
  context.setSegBase(GS, inKernel ? c.gsBaseKernel : gsUser);
  context.setLin(STATE.kernelGsBase, inKernel ? gsUser : c.gsBaseKernel);
}

export function saveGuestContext(_hv: Hypervisor, vcpu: Vcpu): Uint8Array {
  const { pv, domain, regs } = vcpu;
  const mask = upcallMask(vcpu) & 0xff;
  const rflags = (regs.rflags & ~EFLAGS.IOPL) | (pv.iopl << 12);
  const isKernel = domain.is32bit ? (regs.selector(CS) & 3) !== 3 : pv.kernelMode;
  let flags = VGCF_I387_VALID;
  if (isKernel) flags |= VGCF_IN_KERNEL;
  if (pv.failsafeDisablesEvents) flags |= VGCF_failsafe_disables_events;
  if (pv.syscallDisablesEvents) flags |= VGCF_syscall_disables_events;
  if (!vcpu.isDown) flags |= VGCF_online;
  const gdt_frames = Array.from({ length: 16 }, (_, i) => pv.gdtFrames[i] ?? 0);
  const trap_ctxt = pv.trapTable.map((t, i) => trapInfoOf(i, t));
  const ctrlreg = [...pv.ctrlreg];
  const debugreg = pv.debugreg.map((v, i) => (i === 7 ? v | BigInt(pv.dr7Emul) : v));
  const g = (n: number) => regs.reg(n);
  const g32 = (n: number) => regs.regLo(n) >>> 0;
  const common = {
    fpu_ctxt: saveFxsave(regs),
    flags,
    trap_ctxt,
    ldt_ents: pv.ldtEnts,
    gdt_frames,
    gdt_ents: pv.gdtEnts,
    kernel_ss: pv.kernelSs,
    debugreg,
    vm_assist: BigInt(domain.vmAssist),
  };
  const sel = {
    cs: regs.selector(CS),
    ss: regs.selector(SS),
    es: regs.selector(ES),
    ds: regs.selector(DS),
    fs: regs.selector(FS),
    gs: regs.selector(GS),
  };
  // SAFE: addresses under another brand.
  const va = (lin: number) => lin as never;
  if (domain.is32bit) {
    ctrlreg[3] = BigInt(x32.xen_pfn_to_cr3(pv.guestTable));
    return encode(x32.vcpu_guest_context, 'x86_32', {
      ...common,
      user_regs: {
        ebx: g32(3),
        ecx: g32(1),
        edx: g32(2),
        esi: g32(6),
        edi: g32(7),
        ebp: g32(5),
        eax: g32(0),
        esp: g32(4),
        error_code: 0,
        entry_vector: 0,
        eip: regs.u32(STATE.rip),
        eflags: rflags >>> 0,
        saved_upcall_mask: mask,
        ...sel,
        _pad0: 0,
        _pad1: 0,
        _pad2: 0,
        _pad3: 0,
        _pad4: 0,
        _pad5: 0,
      },
      ldt_base: va(pv.ldtBase),
      kernel_sp: va(pv.kernelSp),
      ctrlreg,
      event_callback_cs: pv.eventCallbackCs,
      event_callback_eip: va(pv.eventCallbackEip),
      failsafe_callback_cs: pv.failsafeCallbackCs,
      failsafe_callback_eip: va(pv.failsafeCallbackEip),
    });
  }
  ctrlreg[3] = BigInt(pv.guestTable) << 12n;
  ctrlreg[1] = pv.guestTableUser === INVALID_MFN ? 0n : BigInt(pv.guestTableUser) << 12n;
  const current = regs.big(STATE.seg + GS * 16 + 8);
  const other = regs.big(STATE.kernelGsBase);
  const pad = [0, 0, 0];
  return encode(x64.vcpu_guest_context, 'x86_64', {
    ...common,
    user_regs: {
      r15: g(15),
      r14: g(14),
      r13: g(13),
      r12: g(12),
      rbp: g(5),
      rbx: g(3),
      r11: g(11),
      r10: g(10),
      r9: g(9),
      r8: g(8),
      rax: g(0),
      rcx: g(1),
      rdx: g(2),
      rsi: g(6),
      rdi: g(7),
      rsp: g(4),
      error_code: 0,
      entry_vector: 0,
      rip: regs.big(STATE.rip),
      rflags: BigInt(rflags >>> 0),
      saved_upcall_mask: mask,
      ...sel,
      _pad0: [0],
      _pad1: new Uint8Array(3),
      _pad2: pad,
      _pad3: pad,
      _pad4: pad,
      _pad5: pad,
      _pad6: pad,
    },
    ldt_base: va(pv.ldtBase),
    kernel_sp: va(pv.kernelSp),
    ctrlreg,
    event_callback_eip: va(pv.eventCallbackEip),
    failsafe_callback_eip: va(pv.failsafeCallbackEip),
    syscall_callback_eip: va(pv.syscallCallbackEip),
    fs_base: regs.big(STATE.seg + FS * 16 + 8),
    gs_base_kernel: pv.kernelMode ? current : other,
    gs_base_user: pv.kernelMode ? other : current,
  });
}
