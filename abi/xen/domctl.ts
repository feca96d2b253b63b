// domctl.h: domctl: making, inspecting and destroying domains, for the toolstack only. The layout is the same for 32- and
// 64-bit callers, hence the aligned 64-bit types. Monitor, vmtrace, cache-allocation and gdbsx arguments are not declared.
import { array, bytes } from '../layout/array.ts';
import { domid_t, handle64, s32, s64_aligned, u8, u16, u32, u64, u64_aligned, u64_aligned_number, xen_pfn_t } from '../layout/scalars.ts';
import { inline, struct, union } from '../layout/struct.ts';
import { xen_arch_domainconfig } from './arch-x86/xen.ts';
import { xenctl_bitmap } from './xen.ts';

export const XEN_DOMCTL_INTERFACE_VERSION = 0x15;

export const xen_domctl_createdomain = struct('xen_domctl_createdomain', {
  ssidref: u32,
  handle: bytes(16),
  flags: u32,
  iommu_opts: u32,
  max_vcpus: u32,
  max_evtchn_port: u32,
  max_grant_frames: s32,
  max_maptrack_frames: s32,
  grant_opts: u32,
  vmtrace_size: u32,
  cpupool_id: u32,
  arch: xen_arch_domainconfig,
});

export const _XEN_DOMCTL_CDF_hvm = 0;
export const XEN_DOMCTL_CDF_hvm = 1 << _XEN_DOMCTL_CDF_hvm;
export const _XEN_DOMCTL_CDF_hap = 1;
export const XEN_DOMCTL_CDF_hap = 1 << _XEN_DOMCTL_CDF_hap;
export const _XEN_DOMCTL_CDF_s3_integrity = 2;
export const XEN_DOMCTL_CDF_s3_integrity = 1 << _XEN_DOMCTL_CDF_s3_integrity;
export const _XEN_DOMCTL_CDF_oos_off = 3;
export const XEN_DOMCTL_CDF_oos_off = 1 << _XEN_DOMCTL_CDF_oos_off;
export const _XEN_DOMCTL_CDF_xs_domain = 4;
export const XEN_DOMCTL_CDF_xs_domain = 1 << _XEN_DOMCTL_CDF_xs_domain;
export const _XEN_DOMCTL_CDF_iommu = 5;
export const XEN_DOMCTL_CDF_iommu = 1 << _XEN_DOMCTL_CDF_iommu;
export const _XEN_DOMCTL_CDF_nested_virt = 6;
export const XEN_DOMCTL_CDF_nested_virt = 1 << _XEN_DOMCTL_CDF_nested_virt;
export const XEN_DOMCTL_CDF_vpmu = 1 << 7;
export const XEN_DOMCTL_CDF_MAX = XEN_DOMCTL_CDF_vpmu;
export const _XEN_DOMCTL_IOMMU_no_sharept = 0;
export const XEN_DOMCTL_IOMMU_no_sharept = 1 << _XEN_DOMCTL_IOMMU_no_sharept;
export const XEN_DOMCTL_IOMMU_MAX = XEN_DOMCTL_IOMMU_no_sharept;
export const XEN_DOMCTL_GRANT_version_mask = 0xf;

export const xen_domctl_getdomaininfo = struct('xen_domctl_getdomaininfo', {
  domain: domid_t,
  pad1: u16,
  flags: u32,
  tot_pages: u64_aligned_number,
  max_pages: u64_aligned_number,
  outstanding_pages: u64_aligned_number,
  shr_pages: u64_aligned_number,
  paged_pages: u64_aligned_number,
  shared_info_frame: u64_aligned_number,
  cpu_time: u64_aligned_number,
  nr_online_vcpus: u32,
  max_vcpu_id: u32,
  ssidref: u32,
  handle: bytes(16),
  cpupool: u32,
  gpaddr_bits: u8,
  pad2: bytes(7),
  arch_config: xen_arch_domainconfig,
});

export const _XEN_DOMINF_dying = 0;
export const XEN_DOMINF_dying = 1 << _XEN_DOMINF_dying;
export const _XEN_DOMINF_hvm_guest = 1;
export const XEN_DOMINF_hvm_guest = 1 << _XEN_DOMINF_hvm_guest;
export const _XEN_DOMINF_shutdown = 2;
export const XEN_DOMINF_shutdown = 1 << _XEN_DOMINF_shutdown;
export const _XEN_DOMINF_paused = 3;
export const XEN_DOMINF_paused = 1 << _XEN_DOMINF_paused;
export const _XEN_DOMINF_blocked = 4;
export const XEN_DOMINF_blocked = 1 << _XEN_DOMINF_blocked;
export const _XEN_DOMINF_running = 5;
export const XEN_DOMINF_running = 1 << _XEN_DOMINF_running;
export const _XEN_DOMINF_debugged = 6;
export const XEN_DOMINF_debugged = 1 << _XEN_DOMINF_debugged;
export const _XEN_DOMINF_xs_domain = 7;
export const XEN_DOMINF_xs_domain = 1 << _XEN_DOMINF_xs_domain;
export const _XEN_DOMINF_hap = 8;
export const XEN_DOMINF_hap = 1 << _XEN_DOMINF_hap;
export const XEN_DOMINF_shutdownmask = 255;
export const XEN_DOMINF_shutdownshift = 16;
export const XEN_INVALID_MAX_VCPU_ID = 0xffffffff;
export const XEN_DOMCTL_PFINFO_LTAB_SHIFT = 28;
export const XEN_DOMCTL_PFINFO_NOTAB = 0;
export const XEN_DOMCTL_PFINFO_L1TAB = 0x10000000;
export const XEN_DOMCTL_PFINFO_L2TAB = 0x20000000;
export const XEN_DOMCTL_PFINFO_L3TAB = 0x30000000;
export const XEN_DOMCTL_PFINFO_L4TAB = 0x40000000;
export const XEN_DOMCTL_PFINFO_LTABTYPE_MASK = 0x70000000;
export const XEN_DOMCTL_PFINFO_LPINTAB = 0x80000000;
export const XEN_DOMCTL_PFINFO_XTAB = 0xf0000000;
export const XEN_DOMCTL_PFINFO_XALLOC = 0xe0000000;
export const XEN_DOMCTL_PFINFO_BROKEN = 0xd0000000;
export const XEN_DOMCTL_PFINFO_LTAB_MASK = 0xf0000000;

export const xen_domctl_getpageframeinfo3 = struct('xen_domctl_getpageframeinfo3', {
  num: u64_aligned_number,
  array: handle64('xen_pfn_t'),
});

export const XEN_DOMCTL_SHADOW_OP_OFF = 0;
export const XEN_DOMCTL_SHADOW_OP_ENABLE = 32;
export const XEN_DOMCTL_SHADOW_OP_CLEAN = 11;
export const XEN_DOMCTL_SHADOW_OP_PEEK = 12;
export const XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION = 30;
export const XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION = 31;
export const XEN_DOMCTL_SHADOW_OP_ENABLE_TEST = 1;
export const XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY = 2;

export const XEN_DOMCTL_SHADOW_ENABLE_REFCOUNT = 1 << 1;
export const XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY = 1 << 2;
export const XEN_DOMCTL_SHADOW_ENABLE_TRANSLATE = 1 << 3;
export const XEN_DOMCTL_SHADOW_ENABLE_EXTERNAL = 1 << 4;
export const XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL = 1 << 0;

export const xen_domctl_shadow_op_stats = struct('xen_domctl_shadow_op_stats', {
  fault_count: u32,
  dirty_count: u32,
});

export const xen_domctl_shadow_op = struct('xen_domctl_shadow_op', {
  op: u32,
  mode: u32,
  mb: u32,
  dirty_bitmap: handle64('uint8'),
  pages: u64_aligned_number,
  stats: xen_domctl_shadow_op_stats,
});

export const xen_domctl_max_mem = struct('xen_domctl_max_mem', {
  max_memkb: u64_aligned_number,
});

export const xen_domctl_vcpucontext = struct('xen_domctl_vcpucontext', {
  vcpu: u32,
  ctxt: handle64('vcpu_guest_context_t'),
});

export const xen_domctl_getvcpuinfo = struct('xen_domctl_getvcpuinfo', {
  vcpu: u32,
  online: u8,
  blocked: u8,
  running: u8,
  cpu_time: u64_aligned_number,
  cpu: u32,
});

export const xen_domctl_nodeaffinity = struct('xen_domctl_nodeaffinity', {
  nodemap: xenctl_bitmap,
});

export const xen_domctl_vcpuaffinity = struct('xen_domctl_vcpuaffinity', {
  vcpu: u32,
  flags: u32,
  cpumap_hard: xenctl_bitmap,
  cpumap_soft: xenctl_bitmap,
});

export const _XEN_VCPUAFFINITY_HARD = 0;
export const XEN_VCPUAFFINITY_HARD = 1 << _XEN_VCPUAFFINITY_HARD;
export const _XEN_VCPUAFFINITY_SOFT = 1;
export const XEN_VCPUAFFINITY_SOFT = 1 << _XEN_VCPUAFFINITY_SOFT;
export const _XEN_VCPUAFFINITY_FORCE = 2;
export const XEN_VCPUAFFINITY_FORCE = 1 << _XEN_VCPUAFFINITY_FORCE;

export const xen_domctl_max_vcpus = struct('xen_domctl_max_vcpus', {
  max: u32,
});

export const XEN_SCHEDULER_CREDIT = 5;
export const XEN_SCHEDULER_CREDIT2 = 6;
export const XEN_SCHEDULER_ARINC653 = 7;
export const XEN_SCHEDULER_RTDS = 8;
export const XEN_SCHEDULER_NULL = 9;

export const xen_domctl_sched_credit = struct('xen_domctl_sched_credit', {
  weight: u16,
  cap: u16,
});

export const xen_domctl_sched_credit2 = struct('xen_domctl_sched_credit2', {
  weight: u16,
  cap: u16,
});

export const xen_domctl_sched_rtds = struct('xen_domctl_sched_rtds', {
  period: u32,
  budget: u32,
  flags: u32,
});

export const _XEN_DOMCTL_SCHEDRT_extra = 0;
export const XEN_DOMCTL_SCHEDRT_extra = 1 << _XEN_DOMCTL_SCHEDRT_extra;

export const xen_domctl_schedparam_vcpu = struct('xen_domctl_schedparam_vcpu', {
  u: union('', {
    credit: xen_domctl_sched_credit,
    credit2: xen_domctl_sched_credit2,
    rtds: xen_domctl_sched_rtds,
  }),
  vcpuid: u32,
});

export const XEN_DOMCTL_SCHEDOP_putinfo = 0;
export const XEN_DOMCTL_SCHEDOP_getinfo = 1;
export const XEN_DOMCTL_SCHEDOP_putvcpuinfo = 2;
export const XEN_DOMCTL_SCHEDOP_getvcpuinfo = 3;

export const xen_domctl_scheduler_op = struct('xen_domctl_scheduler_op', {
  sched_id: u32,
  cmd: u32,
  u: union('', {
    credit: xen_domctl_sched_credit,
    credit2: xen_domctl_sched_credit2,
    rtds: xen_domctl_sched_rtds,
    v: inline({
      vcpus: handle64('xen_domctl_schedparam_vcpu_t'),
      nr_vcpus: u32,
      padding: u32,
    }),
  }),
});

export const xen_domctl_setdomainhandle = struct('xen_domctl_setdomainhandle', {
  handle: bytes(16),
});

export const xen_domctl_setdebugging = struct('xen_domctl_setdebugging', {
  enable: u8,
});

export const xen_domctl_irq_permission = struct('xen_domctl_irq_permission', {
  pirq: u32,
  allow_access: u8,
  pad: bytes(3),
});

export const xen_domctl_iomem_permission = struct('xen_domctl_iomem_permission', {
  first_mfn: u64_aligned_number,
  nr_mfns: u64_aligned_number,
  allow_access: u8,
});

export const xen_domctl_ioport_permission = struct('xen_domctl_ioport_permission', {
  first_port: u32,
  nr_ports: u32,
  allow_access: u8,
});

export const xen_domctl_hypercall_init = struct('xen_domctl_hypercall_init', {
  gmfn: u64_aligned_number,
});

export const xen_domctl_settimeoffset = struct('xen_domctl_settimeoffset', {
  time_offset_seconds: s64_aligned,
});

export const xen_domctl_hvmcontext = struct('xen_domctl_hvmcontext', {
  size: u32,
  buffer: handle64('uint8'),
});

export const xen_domctl_address_size = struct('xen_domctl_address_size', {
  size: u32,
});

export const XEN_DOMCTL_SENDTRIGGER_NMI = 0;
export const XEN_DOMCTL_SENDTRIGGER_RESET = 1;
export const XEN_DOMCTL_SENDTRIGGER_INIT = 2;
export const XEN_DOMCTL_SENDTRIGGER_POWER = 3;
export const XEN_DOMCTL_SENDTRIGGER_SLEEP = 4;

export const xen_domctl_sendtrigger = struct('xen_domctl_sendtrigger', {
  trigger: u32,
  vcpu: u32,
});

export const XEN_DOMCTL_DEV_PCI = 0;
export const XEN_DOMCTL_DEV_DT = 1;

export const xen_domctl_assign_device = struct('xen_domctl_assign_device', {
  dev: u32,
  flags: u32,
  u: union('', {
    pci: inline({
      machine_sbdf: u32,
    }),
    dt: inline({
      size: u32,
      path: handle64('char'),
    }),
  }),
});

export const XEN_DOMCTL_DEV_RDM_RELAXED = 1;

export const xen_domctl_get_device_group = struct('xen_domctl_get_device_group', {
  machine_sbdf: u32,
  max_sdevs: u32,
  num_sdevs: u32,
  sdev_array: handle64('uint32'),
});

export const PT_IRQ_TYPE_PCI = 0;
export const PT_IRQ_TYPE_ISA = 1;
export const PT_IRQ_TYPE_MSI = 2;
export const PT_IRQ_TYPE_MSI_TRANSLATE = 3;
export const PT_IRQ_TYPE_SPI = 4;

export const xen_domctl_bind_pt_irq = struct('xen_domctl_bind_pt_irq', {
  machine_irq: u32,
  irq_type: u32,
  u: union('', {
    isa: inline({
      isa_irq: u8,
    }),
    pci: inline({
      bus: u8,
      device: u8,
      intx: u8,
    }),
    msi: inline({
      gvec: u8,
      gflags: u32,
      gtable: u64_aligned,
    }),
    spi: inline({
      spi: u16,
    }),
  }),
});

export const XEN_DOMCTL_VMSI_X86_DEST_ID_MASK = 0xff;
export const XEN_DOMCTL_VMSI_X86_RH_MASK = 0x100;
export const XEN_DOMCTL_VMSI_X86_DM_MASK = 0x200;
export const XEN_DOMCTL_VMSI_X86_DELIV_MASK = 0x7000;
export const XEN_DOMCTL_VMSI_X86_TRIG_MASK = 0x8000;
export const XEN_DOMCTL_VMSI_X86_UNMASKED = 0x10000;

export const DPCI_ADD_MAPPING = 1;
export const DPCI_REMOVE_MAPPING = 0;

export const xen_domctl_memory_mapping = struct('xen_domctl_memory_mapping', {
  first_gfn: u64_aligned_number,
  first_mfn: u64_aligned_number,
  nr_mfns: u64_aligned_number,
  add_mapping: u32,
  padding: u32,
});

export const xen_domctl_ioport_mapping = struct('xen_domctl_ioport_mapping', {
  first_gport: u32,
  first_mport: u32,
  nr_ports: u32,
  add_mapping: u32,
});

export const XEN_DOMCTL_MEM_CACHEATTR_UC = 0;
export const XEN_DOMCTL_MEM_CACHEATTR_WC = 1;
export const XEN_DOMCTL_MEM_CACHEATTR_WT = 4;
export const XEN_DOMCTL_MEM_CACHEATTR_WP = 5;
export const XEN_DOMCTL_MEM_CACHEATTR_WB = 6;
export const XEN_DOMCTL_MEM_CACHEATTR_UCM = 7;
export const XEN_DOMCTL_DELETE_MEM_CACHEATTR = 0xffffffff;

export const xen_domctl_ext_vcpucontext = struct('xen_domctl_ext_vcpucontext', {
  vcpu: u32,
  size: u32,
  syscall32_callback_eip: u64_aligned,
  sysenter_callback_eip: u64_aligned,
  syscall32_callback_cs: u16,
  sysenter_callback_cs: u16,
  syscall32_disables_events: u8,
  sysenter_disables_events: u8,
  // struct hvm_vmce_vcpu, in an anonymous union with mcg_cap, which is what aligns it.
  vmce: inline({ caps: u64_aligned, mci_ctl2_bank0: u64_aligned, mci_ctl2_bank1: u64_aligned, mcg_ext_ctl: u64_aligned }),
});

export const xen_domctl_set_target = struct('xen_domctl_set_target', {
  target: domid_t,
});

export const XEN_CPUID_INPUT_UNUSED = 0xffffffff;

export const xen_domctl_cpu_policy = struct('xen_domctl_cpu_policy', {
  nr_leaves: u32,
  nr_msrs: u32,
  leaves: handle64('xen_cpuid_leaf_t'),
  msrs: handle64('xen_msr_entry_t'),
  err_leaf: u32,
  err_subleaf: u32,
  err_msr: u32,
});

export const xen_domctl_subscribe = struct('xen_domctl_subscribe', {
  port: u32,
});

export const XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF = 0;
export const XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON = 1;

export const xen_domctl_debug_op = struct('xen_domctl_debug_op', {
  op: u32,
  vcpu: u32,
});

export const xen_domctl_hvmcontext_partial = struct('xen_domctl_hvmcontext_partial', {
  type: u32,
  instance: u32,
  bufsz: u64_aligned,
  buffer: handle64('uint8'),
});

export const xen_domctl_tsc_info = struct('xen_domctl_tsc_info', {
  tsc_mode: u32,
  gtsc_khz: u32,
  incarnation: u32,
  pad: u32,
  elapsed_nsec: u64_aligned_number,
});

export const xen_domctl_audit_p2m = struct('xen_domctl_audit_p2m', {
  orphans: u64,
  m2p_bad: u64,
  p2m_bad: u64,
});

export const xen_domctl_set_virq_handler = struct('xen_domctl_set_virq_handler', {
  virq: u32,
});

export const xen_domctl_vcpuextstate = struct('xen_domctl_vcpuextstate', {
  vcpu: u32,
  xfeature_mask: u64_aligned,
  size: u64_aligned_number,
  buffer: handle64('uint64'),
});

export const xen_domctl_set_access_required = struct('xen_domctl_set_access_required', {
  access_required: u8,
});

export const xen_domctl_set_broken_page_p2m = struct('xen_domctl_set_broken_page_p2m', {
  pfn: u64_aligned_number,
});

export const xen_domctl_cacheflush = struct('xen_domctl_cacheflush', {
  start_pfn: xen_pfn_t,
  nr_pfns: xen_pfn_t,
});

export const xen_domctl_paging_mempool = struct('xen_domctl_paging_mempool', {
  size: u64_aligned_number,
});

export const xen_domctl_vcpu_msr = struct('xen_domctl_vcpu_msr', {
  index: u32,
  reserved: u32,
  value: u64_aligned,
});

export const xen_domctl_vcpu_msrs = struct('xen_domctl_vcpu_msrs', {
  vcpu: u32,
  msr_count: u32,
  msrs: handle64('xen_domctl_vcpu_msr_t'),
});

export const xen_domctl_vnuma = struct('xen_domctl_vnuma', {
  nr_vnodes: u32,
  nr_vmemranges: u32,
  nr_vcpus: u32,
  pad: u32,
  vdistance: handle64('uint'),
  vcpu_to_vnode: handle64('uint'),
  vnode_to_pnode: handle64('uint'),
  vmemrange: handle64('xen_vmemrange_t'),
});

/** The head of every domctl; `u` holds the argument struct of its command. A 32-bit dom0 passes the same bytes. */
export const xen_domctl = struct('xen_domctl', {
  cmd: u32,
  interface_version: u32,
  domain: domid_t,
  _pad: array(3, u16),
  u: bytes(128, u64_aligned),
});

export const XEN_DOMCTL_createdomain = 1;
export const XEN_DOMCTL_destroydomain = 2;
export const XEN_DOMCTL_pausedomain = 3;
export const XEN_DOMCTL_unpausedomain = 4;
export const XEN_DOMCTL_getdomaininfo = 5;
export const XEN_DOMCTL_setvcpuaffinity = 9;
export const XEN_DOMCTL_shadow_op = 10;
export const XEN_DOMCTL_max_mem = 11;
export const XEN_DOMCTL_setvcpucontext = 12;
export const XEN_DOMCTL_getvcpucontext = 13;
export const XEN_DOMCTL_getvcpuinfo = 14;
export const XEN_DOMCTL_max_vcpus = 15;
export const XEN_DOMCTL_scheduler_op = 16;
export const XEN_DOMCTL_setdomainhandle = 17;
export const XEN_DOMCTL_setdebugging = 18;
export const XEN_DOMCTL_irq_permission = 19;
export const XEN_DOMCTL_iomem_permission = 20;
export const XEN_DOMCTL_ioport_permission = 21;
export const XEN_DOMCTL_hypercall_init = 22;
export const XEN_DOMCTL_settimeoffset = 24;
export const XEN_DOMCTL_getvcpuaffinity = 25;
export const XEN_DOMCTL_real_mode_area = 26;
export const XEN_DOMCTL_resumedomain = 27;
export const XEN_DOMCTL_sendtrigger = 28;
export const XEN_DOMCTL_subscribe = 29;
export const XEN_DOMCTL_gethvmcontext = 33;
export const XEN_DOMCTL_sethvmcontext = 34;
export const XEN_DOMCTL_set_address_size = 35;
export const XEN_DOMCTL_get_address_size = 36;
export const XEN_DOMCTL_assign_device = 37;
export const XEN_DOMCTL_bind_pt_irq = 38;
export const XEN_DOMCTL_memory_mapping = 39;
export const XEN_DOMCTL_ioport_mapping = 40;
export const XEN_DOMCTL_set_ext_vcpucontext = 42;
export const XEN_DOMCTL_get_ext_vcpucontext = 43;
export const XEN_DOMCTL_set_opt_feature = 44;
export const XEN_DOMCTL_test_assign_device = 45;
export const XEN_DOMCTL_set_target = 46;
export const XEN_DOMCTL_deassign_device = 47;
export const XEN_DOMCTL_unbind_pt_irq = 48;
export const XEN_DOMCTL_get_device_group = 50;
export const XEN_DOMCTL_debug_op = 54;
export const XEN_DOMCTL_gethvmcontext_partial = 55;
export const XEN_DOMCTL_vm_event_op = 56;
export const XEN_DOMCTL_mem_sharing_op = 57;
export const XEN_DOMCTL_gettscinfo = 59;
export const XEN_DOMCTL_settscinfo = 60;
export const XEN_DOMCTL_getpageframeinfo3 = 61;
export const XEN_DOMCTL_setvcpuextstate = 62;
export const XEN_DOMCTL_getvcpuextstate = 63;
export const XEN_DOMCTL_set_access_required = 64;
export const XEN_DOMCTL_audit_p2m = 65;
export const XEN_DOMCTL_set_virq_handler = 66;
export const XEN_DOMCTL_set_broken_page_p2m = 67;
export const XEN_DOMCTL_setnodeaffinity = 68;
export const XEN_DOMCTL_getnodeaffinity = 69;
export const XEN_DOMCTL_cacheflush = 71;
export const XEN_DOMCTL_get_vcpu_msrs = 72;
export const XEN_DOMCTL_set_vcpu_msrs = 73;
export const XEN_DOMCTL_setvnumainfo = 74;
export const XEN_DOMCTL_psr_cmt_op = 75;
export const XEN_DOMCTL_monitor_op = 77;
export const XEN_DOMCTL_psr_alloc = 78;
export const XEN_DOMCTL_soft_reset = 79;
export const XEN_DOMCTL_vuart_op = 81;
export const XEN_DOMCTL_get_cpu_policy = 82;
export const XEN_DOMCTL_set_cpu_policy = 83;
export const XEN_DOMCTL_vmtrace_op = 84;
export const XEN_DOMCTL_get_paging_mempool_size = 85;
export const XEN_DOMCTL_set_paging_mempool_size = 86;
export const XEN_DOMCTL_gdbsx_guestmemio = 1000;
export const XEN_DOMCTL_gdbsx_pausevcpu = 1001;
export const XEN_DOMCTL_gdbsx_unpausevcpu = 1002;
export const XEN_DOMCTL_gdbsx_domstatus = 1003;
