// arch-x86/hvm/save.h: the records of a saved HVM context. The CPU's, by which a toolstack starts a vCPU, and the frame around records;
// the platform's records (interrupt controllers, timers) are opaque until something reads them.
import { bytes } from '../../../layout/array.ts';
import { u16, u32, u64 } from '../../../layout/scalars.ts';
import { struct } from '../../../layout/struct.ts';

export const HVM_FILE_MAGIC = 0x54381286;
export const HVM_FILE_VERSION = 1;

/** HVM_SAVE_CODE(name): typecodes of records. */
export const HVM_SAVE_CODES = {
  END: 0,
  HEADER: 1,
  CPU: 2,
  PIC: 3,
  IOAPIC: 4,
  LAPIC: 5,
  LAPIC_REGS: 6,
  PCI_IRQ: 7,
  ISA_IRQ: 8,
  PCI_LINK: 9,
  PIT: 10,
  RTC: 11,
  HPET: 12,
  PMTIMER: 13,
  MTRR: 14,
  VIRIDIAN_DOMAIN: 15,
  CPU_XSAVE: 16,
  VIRIDIAN_VCPU: 17,
  VMCE_VCPU: 18,
  TSC_ADJUST: 19,
  CPU_MSR: 20,
} as const;

/** hvm/save.h: stands before each record; `length` is the record's without this. `instance` is the vCPU, or a chip's number. */
export const hvm_save_descriptor = struct('hvm_save_descriptor', { typecode: u16, instance: u16, length: u32 });

export const hvm_save_header = struct('hvm_save_header', { magic: u32, version: u32, changeset: u64, cpuid: u32, gtsc_khz: u32 });

export const XEN_X86_FPU_INITIALISED = 1;

/** Registers of one vCPU. `*_arbytes` are access rights packed into 12 bits as a VMCB has them: type, S, DPL, P, then AVL, L, DB, G. */
export const hvm_hw_cpu = struct('hvm_hw_cpu', {
  /** FXSAVE image. */
  fpu_regs: bytes(512),
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rbp: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  dr0: u64,
  dr1: u64,
  dr2: u64,
  dr3: u64,
  dr6: u64,
  dr7: u64,
  cs_sel: u32,
  ds_sel: u32,
  es_sel: u32,
  fs_sel: u32,
  gs_sel: u32,
  ss_sel: u32,
  tr_sel: u32,
  ldtr_sel: u32,
  cs_limit: u32,
  ds_limit: u32,
  es_limit: u32,
  fs_limit: u32,
  gs_limit: u32,
  ss_limit: u32,
  tr_limit: u32,
  ldtr_limit: u32,
  idtr_limit: u32,
  gdtr_limit: u32,
  cs_base: u64,
  ds_base: u64,
  es_base: u64,
  fs_base: u64,
  gs_base: u64,
  ss_base: u64,
  tr_base: u64,
  ldtr_base: u64,
  idtr_base: u64,
  gdtr_base: u64,
  cs_arbytes: u32,
  ds_arbytes: u32,
  es_arbytes: u32,
  fs_arbytes: u32,
  gs_arbytes: u32,
  ss_arbytes: u32,
  tr_arbytes: u32,
  ldtr_arbytes: u32,
  sysenter_cs: u64,
  sysenter_esp: u64,
  sysenter_eip: u64,
  shadow_gs: u64,
  /** Ignored. */
  msr_flags: u64,
  msr_lstar: u64,
  msr_star: u64,
  msr_cstar: u64,
  msr_syscall_mask: u64,
  msr_efer: u64,
  msr_tsc_aux: u64,
  tsc: u64,
  /** Bits 7:0 vector, 10:8 type, 11 error code valid, 31 valid. */
  pending_event: u32,
  error_code: u32,
  flags: u32,
  pad0: u32,
});
