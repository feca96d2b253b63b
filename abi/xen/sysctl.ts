// sysctl.h: sysctl: the whole machine as the toolstack sees it. Power management, live patching, lock profiling, coverage and
// cache allocation have numbers here but no argument structs.
import { array, bytes, chars } from '../layout/array.ts';
import { domid_t, handle64, s32, u8, u32, u64_aligned, u64_aligned_number, u64_number } from '../layout/scalars.ts';
import { inline, struct, union } from '../layout/struct.ts';
import { xenctl_bitmap } from './xen.ts';

export const XEN_SYSCTL_INTERFACE_VERSION = 0x15;

export const xen_sysctl_readconsole = struct('xen_sysctl_readconsole', {
  clear: u8,
  incremental: u8,
  pad0: u8,
  pad1: u8,
  index: u32,
  buffer: handle64('char'),
  count: u32,
});

export const xen_sysctl_tbuf_op = struct('xen_sysctl_tbuf_op', {
  cmd: u32,
  cpu_mask: xenctl_bitmap,
  evt_mask: u32,
  buffer_mfn: u64_aligned_number,
  size: u32,
});

export const XEN_SYSCTL_TBUFOP_get_info = 0;
export const XEN_SYSCTL_TBUFOP_set_cpu_mask = 1;
export const XEN_SYSCTL_TBUFOP_set_evt_mask = 2;
export const XEN_SYSCTL_TBUFOP_set_size = 3;
export const XEN_SYSCTL_TBUFOP_enable = 4;
export const XEN_SYSCTL_TBUFOP_disable = 5;

export const _XEN_SYSCTL_PHYSCAP_hvm = 0;
export const XEN_SYSCTL_PHYSCAP_hvm = 1 << _XEN_SYSCTL_PHYSCAP_hvm;
export const _XEN_SYSCTL_PHYSCAP_pv = 1;
export const XEN_SYSCTL_PHYSCAP_pv = 1 << _XEN_SYSCTL_PHYSCAP_pv;
export const _XEN_SYSCTL_PHYSCAP_directio = 2;
export const XEN_SYSCTL_PHYSCAP_directio = 1 << _XEN_SYSCTL_PHYSCAP_directio;
export const _XEN_SYSCTL_PHYSCAP_hap = 3;
export const XEN_SYSCTL_PHYSCAP_hap = 1 << _XEN_SYSCTL_PHYSCAP_hap;
export const _XEN_SYSCTL_PHYSCAP_shadow = 4;
export const XEN_SYSCTL_PHYSCAP_shadow = 1 << _XEN_SYSCTL_PHYSCAP_shadow;
export const _XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share = 5;
export const XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share = 1 << _XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share;
export const XEN_SYSCTL_PHYSCAP_vmtrace = 1 << 6;
export const XEN_SYSCTL_PHYSCAP_vpmu = 1 << 7;
export const XEN_SYSCTL_PHYSCAP_gnttab_v1 = 1 << 8;
export const XEN_SYSCTL_PHYSCAP_gnttab_v2 = 1 << 9;
export const XEN_SYSCTL_PHYSCAP_MAX = XEN_SYSCTL_PHYSCAP_gnttab_v2;

export const xen_sysctl_physinfo = struct('xen_sysctl_physinfo', {
  threads_per_core: u32,
  cores_per_socket: u32,
  nr_cpus: u32,
  max_cpu_id: u32,
  nr_nodes: u32,
  max_node_id: u32,
  cpu_khz: u32,
  capabilities: u32,
  arch_capabilities: u32,
  pad: u32,
  total_pages: u64_aligned_number,
  free_pages: u64_aligned_number,
  scrub_pages: u64_aligned_number,
  outstanding_pages: u64_aligned_number,
  max_mfn: u64_aligned_number,
  hw_cap: array(8, u32),
});

export const xen_sysctl_sched_id = struct('xen_sysctl_sched_id', {
  sched_id: u32,
});

export const XEN_SYSCTL_PERFCOP_reset = 1;
export const XEN_SYSCTL_PERFCOP_query = 2;

export const xen_sysctl_perfc_desc = struct('xen_sysctl_perfc_desc', {
  name: chars(80),
  nr_vals: u32,
});

export const xen_sysctl_perfc_op = struct('xen_sysctl_perfc_op', {
  cmd: u32,
  nr_counters: u32,
  nr_vals: u32,
  desc: handle64('xen_sysctl_perfc_desc_t'),
  val: handle64('xen_sysctl_perfc_val_t'),
});

export const xen_sysctl_getdomaininfolist = struct('xen_sysctl_getdomaininfolist', {
  first_domain: domid_t,
  max_domains: u32,
  buffer: handle64('xen_domctl_getdomaininfo_t'),
  num_domains: u32,
});

export const xen_sysctl_debug_keys = struct('xen_sysctl_debug_keys', {
  keys: handle64('char'),
  nr_keys: u32,
});

export const xen_sysctl_cpuinfo = struct('xen_sysctl_cpuinfo', {
  idletime: u64_aligned_number,
});

export const xen_sysctl_getcpuinfo = struct('xen_sysctl_getcpuinfo', {
  max_cpus: u32,
  info: handle64('xen_sysctl_cpuinfo_t'),
  nr_cpus: u32,
});

export const xen_sysctl_availheap = struct('xen_sysctl_availheap', {
  min_bitwidth: u32,
  max_bitwidth: u32,
  node: s32,
  avail_bytes: u64_aligned_number,
});

export const xen_sysctl_cpu_hotplug = struct('xen_sysctl_cpu_hotplug', {
  cpu: u32,
  op: u32,
});

export const XEN_SYSCTL_CPU_HOTPLUG_ONLINE = 0;
export const XEN_SYSCTL_CPU_HOTPLUG_OFFLINE = 1;
export const XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE = 2;
export const XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE = 3;

export const SCALING_MAX_FREQ = 1;
export const SCALING_MIN_FREQ = 2;
export const SCALING_SETSPEED = 3;
export const SAMPLING_RATE = 4;
export const UP_THRESHOLD = 5;

export const PM_PARA_CATEGORY_MASK = 0xf0;

export const GET_CPUFREQ_PARA = 0x11;
export const GET_CPUFREQ_AVGFREQ = 0x14;

export const XEN_SYSCTL_pm_op_set_sched_opt_smt = 0x21;
export const XEN_SYSCTL_pm_op_get_max_cstate = 0x22;
export const XEN_SYSCTL_pm_op_set_max_cstate = 0x23;
export const XEN_SYSCTL_pm_op_set_vcpu_migration_delay = 0x24;
export const XEN_SYSCTL_pm_op_get_vcpu_migration_delay = 0x25;
export const XEN_SYSCTL_pm_op_enable_turbo = 0x26;
export const XEN_SYSCTL_pm_op_disable_turbo = 0x27;
export const XEN_SYSCTL_CX_UNLIMITED = 0xffffffff;

export const sysctl_page_offline = 1;
export const sysctl_page_online = 2;
export const sysctl_query_page_offline = 3;

export const XEN_INVALID_CORE_ID = 0xffffffff;
export const XEN_INVALID_SOCKET_ID = 0xffffffff;
export const XEN_INVALID_NODE_ID = 0xffffffff;

export const xen_sysctl_cputopo = struct('xen_sysctl_cputopo', {
  core: u32,
  socket: u32,
  node: u32,
});

export const xen_sysctl_cputopoinfo = struct('xen_sysctl_cputopoinfo', {
  num_cpus: u32,
  cputopo: handle64('xen_sysctl_cputopo_t'),
});

export const XEN_INVALID_MEM_SZ = 0xffffffff;
export const XEN_INVALID_NODE_DIST = 0xffffffff;

export const xen_sysctl_meminfo = struct('xen_sysctl_meminfo', {
  memsize: u64_number,
  memfree: u64_number,
});

export const xen_sysctl_numainfo = struct('xen_sysctl_numainfo', {
  num_nodes: u32,
  meminfo: handle64('xen_sysctl_meminfo_t'),
  distance: handle64('uint32'),
});

export const XEN_SYSCTL_CPUPOOL_OP_CREATE = 1;
export const XEN_SYSCTL_CPUPOOL_OP_DESTROY = 2;
export const XEN_SYSCTL_CPUPOOL_OP_INFO = 3;
export const XEN_SYSCTL_CPUPOOL_OP_ADDCPU = 4;
export const XEN_SYSCTL_CPUPOOL_OP_RMCPU = 5;
export const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN = 6;
export const XEN_SYSCTL_CPUPOOL_OP_FREEINFO = 7;
export const XEN_SYSCTL_CPUPOOL_PAR_ANY = 0xffffffff;

export const xen_sysctl_cpupool_op = struct('xen_sysctl_cpupool_op', {
  op: u32,
  cpupool_id: u32,
  sched_id: u32,
  domid: u32,
  cpu: u32,
  n_dom: u32,
  cpumap: xenctl_bitmap,
});

export const ARINC653_MAX_DOMAINS_PER_SCHEDULE = 64;

export const xen_sysctl_arinc653_schedule = struct('xen_sysctl_arinc653_schedule', {
  major_frame: u64_aligned_number,
  num_sched_entries: u8,
  sched_entries: array(
    64,
    inline({
      dom_handle: bytes(16),
      vcpu_id: u32,
      runtime: u64_aligned_number,
    }),
  ),
});

export const XEN_SYSCTL_SCHED_RATELIMIT_MAX = 500000;
export const XEN_SYSCTL_SCHED_RATELIMIT_MIN = 100;

export const xen_sysctl_credit_schedule = struct('xen_sysctl_credit_schedule', {
  tslice_ms: u32,
  ratelimit_us: u32,
  vcpu_migr_delay_us: u32,
});

export const XEN_SYSCTL_CSCHED_TSLICE_MAX = 1000;
export const XEN_SYSCTL_CSCHED_TSLICE_MIN = 1;
export const XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US = 0x186a0;

export const xen_sysctl_credit2_schedule = struct('xen_sysctl_credit2_schedule', {
  ratelimit_us: u32,
});

export const XEN_SYSCTL_SCHEDOP_putinfo = 0;
export const XEN_SYSCTL_SCHEDOP_getinfo = 1;

export const xen_sysctl_sched_arinc653 = struct('xen_sysctl_sched_arinc653', {
  schedule: handle64('xen_sysctl_arinc653_schedule_t'),
});

export const xen_sysctl_scheduler_op = struct('xen_sysctl_scheduler_op', {
  cpupool_id: u32,
  sched_id: u32,
  cmd: u32,
  u: union('', {
    sched_arinc653: xen_sysctl_sched_arinc653,
    sched_credit: xen_sysctl_credit_schedule,
    sched_credit2: xen_sysctl_credit2_schedule,
  }),
});

export const XEN_INVALID_DEV = 0xfffffffe;

export const xen_sysctl_pcitopoinfo = struct('xen_sysctl_pcitopoinfo', {
  num_devs: u32,
  devs: handle64('physdev_pci_device_t'),
  nodes: handle64('uint32'),
});

export const xen_sysctl_cpu_levelling_caps = struct('xen_sysctl_cpu_levelling_caps', {
  caps: u32,
});

export const XEN_SYSCTL_CPU_LEVELCAP_faulting = 1 << 0;
export const XEN_SYSCTL_CPU_LEVELCAP_ecx = 1 << 1;
export const XEN_SYSCTL_CPU_LEVELCAP_edx = 1 << 2;
export const XEN_SYSCTL_CPU_LEVELCAP_extd_ecx = 1 << 3;
export const XEN_SYSCTL_CPU_LEVELCAP_extd_edx = 1 << 4;
export const XEN_SYSCTL_CPU_LEVELCAP_xsave_eax = 1 << 5;
export const XEN_SYSCTL_CPU_LEVELCAP_thermal_ecx = 1 << 6;
export const XEN_SYSCTL_CPU_LEVELCAP_l7s0_eax = 1 << 7;
export const XEN_SYSCTL_CPU_LEVELCAP_l7s0_ebx = 1 << 8;

export const xen_sysctl_cpu_featureset = struct('xen_sysctl_cpu_featureset', {
  index: u32,
  nr_features: u32,
  features: handle64('uint32'),
});

export const XEN_SYSCTL_cpu_featureset_raw = 0;
export const XEN_SYSCTL_cpu_featureset_host = 1;
export const XEN_SYSCTL_cpu_featureset_pv = 2;
export const XEN_SYSCTL_cpu_featureset_hvm = 3;
export const XEN_SYSCTL_cpu_featureset_pv_max = 4;
export const XEN_SYSCTL_cpu_featureset_hvm_max = 5;

export const xen_sysctl_cpu_policy = struct('xen_sysctl_cpu_policy', {
  index: u32,
  nr_leaves: u32,
  nr_msrs: u32,
  _rsvd: u32,
  leaves: handle64('xen_cpuid_leaf_t'),
  msrs: handle64('xen_msr_entry_t'),
});

export const XEN_SYSCTL_cpu_policy_raw = 0;
export const XEN_SYSCTL_cpu_policy_host = 1;
export const XEN_SYSCTL_cpu_policy_pv_max = 2;
export const XEN_SYSCTL_cpu_policy_hvm_max = 3;
export const XEN_SYSCTL_cpu_policy_pv_default = 4;
export const XEN_SYSCTL_cpu_policy_hvm_default = 5;

/** The head of every sysctl; `u` holds the argument struct of its command. */
export const xen_sysctl = struct('xen_sysctl', {
  cmd: u32,
  interface_version: u32,
  u: bytes(128, u64_aligned),
});

export const XEN_SYSCTL_readconsole = 1;
export const XEN_SYSCTL_tbuf_op = 2;
export const XEN_SYSCTL_physinfo = 3;
export const XEN_SYSCTL_sched_id = 4;
export const XEN_SYSCTL_perfc_op = 5;
export const XEN_SYSCTL_getdomaininfolist = 6;
export const XEN_SYSCTL_debug_keys = 7;
export const XEN_SYSCTL_getcpuinfo = 8;
export const XEN_SYSCTL_availheap = 9;
export const XEN_SYSCTL_get_pmstat = 10;
export const XEN_SYSCTL_cpu_hotplug = 11;
export const XEN_SYSCTL_pm_op = 12;
export const XEN_SYSCTL_page_offline_op = 14;
export const XEN_SYSCTL_lockprof_op = 15;
export const XEN_SYSCTL_cputopoinfo = 16;
export const XEN_SYSCTL_numainfo = 17;
export const XEN_SYSCTL_cpupool_op = 18;
export const XEN_SYSCTL_scheduler_op = 19;
export const XEN_SYSCTL_coverage_op = 20;
export const XEN_SYSCTL_psr_cmt_op = 21;
export const XEN_SYSCTL_pcitopoinfo = 22;
export const XEN_SYSCTL_psr_alloc = 23;
export const XEN_SYSCTL_get_cpu_levelling_caps = 25;
export const XEN_SYSCTL_get_cpu_featureset = 26;
export const XEN_SYSCTL_livepatch_op = 27;
export const XEN_SYSCTL_get_cpu_policy = 29;
