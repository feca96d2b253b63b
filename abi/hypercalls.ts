// The table of hypercalls: number, header, arguments, who may call, and the sub-operations with their argument structures.
// Numbers are not repeated here: they are looked up by name in the header files, so a row cannot disagree with its header.
// Tracing prints names from it; a typed guest and the hypervisor's dispatch can map over it. Which environments a hypercall is
// open to follows xen/include/hypercall-defs.c; privilege follows the default policy of xen/include/xsm/dummy.h.
import { ALL_CALLERS, type Caller, type Hypercall, PV_CALLERS, privileged, type SubOp, subOps } from './hypercall-rows.ts';
import { domctl, platform_op, sysctl } from './hypercalls-control.ts';
import { address64, domid_t, handle, perAbi, s32, u32, u64, ulong, ulong_number, vaddr_t } from './layout/scalars.ts';
import * as x86_32 from './xen/arch-x86/xen-x86_32.ts';
import * as x86_64 from './xen/arch-x86/xen-x86_64.ts';
import * as argo from './xen/argo.ts';
import * as callback from './xen/callback.ts';
import * as event_channel from './xen/event_channel.ts';
import * as grant_table from './xen/grant_table.ts';
import * as hvm_op from './xen/hvm/hvm_op.ts';
import * as hypfs from './xen/hypfs.ts';
import * as kexec from './xen/kexec.ts';
import * as memory from './xen/memory.ts';
import * as nmi from './xen/nmi.ts';
import * as physdev from './xen/physdev.ts';
import * as sched from './xen/sched.ts';
import * as tmem from './xen/tmem.ts';
import * as vcpu from './xen/vcpu.ts';
import * as version from './xen/version.ts';
import * as xen from './xen/xen.ts';
import * as flask_op from './xen/xsm/flask_op.ts';

const cmdAndArg = { cmd: s32, arg: handle() };
const batch = { count: u32, pdone: handle('uint'), foreigndom: u32 };
const vcpu_guest_context = perAbi<unknown>('struct vcpu_guest_context', {
  x86_64: x86_64.vcpu_guest_context,
  x86_32: x86_32.vcpu_guest_context,
});

export const HYPERCALLS = {
  platform_op,
  sysctl,
  domctl,
  set_trap_table: {
    nr: xen.__HYPERVISOR_set_trap_table,
    header: 'arch-x86/xen.h',
    callers: PV_CALLERS,
    args: { traps: handle('trap_info_t') },
    ops: {},
  },
  mmu_update: {
    nr: xen.__HYPERVISOR_mmu_update,
    header: 'xen.h',
    callers: PV_CALLERS,
    args: { reqs: handle('mmu_update_t'), ...batch },
    ops: subOps('MMU_', xen, {
      NORMAL_PT_UPDATE: xen.mmu_update,
      MACHPHYS_UPDATE: xen.mmu_update,
      PT_UPDATE_PRESERVE_AD: xen.mmu_update,
      PT_UPDATE_NO_TRANSLATE: xen.mmu_update,
    }),
  },
  set_gdt: {
    nr: xen.__HYPERVISOR_set_gdt,
    header: 'arch-x86/xen.h',
    callers: PV_CALLERS,
    args: { frames: handle('xen_ulong_t'), entries: u32 },
    ops: {},
  },
  stack_switch: {
    nr: xen.__HYPERVISOR_stack_switch,
    header: 'arch-x86/xen.h',
    callers: PV_CALLERS,
    args: { ss: ulong_number, esp: vaddr_t },
    ops: {},
  },
  set_callbacks: {
    nr: xen.__HYPERVISOR_set_callbacks,
    header: 'arch-x86/xen.h',
    callers: PV_CALLERS,
    args: { event_address: vaddr_t, failsafe_address: vaddr_t, syscall_address: vaddr_t },
    args32: { event_selector: ulong_number, event_address: vaddr_t, failsafe_selector: ulong_number, failsafe_address: vaddr_t },
    ops: {},
  },
  fpu_taskswitch: { nr: xen.__HYPERVISOR_fpu_taskswitch, header: 'arch-x86/xen.h', callers: PV_CALLERS, args: { set: s32 }, ops: {} },
  sched_op_compat: {
    nr: xen.__HYPERVISOR_sched_op_compat,
    header: 'sched.h',
    callers: PV_CALLERS,
    args: { cmd: s32, arg: ulong_number },
    selector: { arg: 'cmd' },
    ops: subOps('SCHEDOP_', sched, { yield: null, block: null, shutdown: null }),
  },
  set_debugreg: {
    nr: xen.__HYPERVISOR_set_debugreg,
    header: 'arch-x86/xen.h',
    callers: PV_CALLERS,
    args: { reg: s32, value: ulong },
    ops: {},
  },
  get_debugreg: { nr: xen.__HYPERVISOR_get_debugreg, header: 'arch-x86/xen.h', callers: PV_CALLERS, args: { reg: s32 }, ops: {} },
  update_descriptor: {
    nr: xen.__HYPERVISOR_update_descriptor,
    header: 'arch-x86/xen.h',
    callers: PV_CALLERS,
    args: { pa: address64, desc: u64 },
    args32: { pa_lo: u32, pa_hi: u32, desc_lo: u32, desc_hi: u32 },
    ops: {},
  },
  memory_op: {
    nr: xen.__HYPERVISOR_memory_op,
    header: 'memory.h',
    callers: ALL_CALLERS,
    args: { cmd: ulong_number, arg: handle() },
    // MEMOP_CMD_MASK in hypercall.h: above the command, Xen keeps how far a preempted operation came.
    selector: { arg: 'cmd', mask: 0x3f },
    ops: subOps('XENMEM_', memory, {
      increase_reservation: memory.xen_memory_reservation,
      decrease_reservation: memory.xen_memory_reservation,
      populate_physmap: memory.xen_memory_reservation,
      exchange: memory.xen_memory_exchange,
      maximum_ram_page: null,
      current_reservation: memory.xen_memory_domain,
      maximum_reservation: memory.xen_memory_domain,
      maximum_gpfn: memory.xen_memory_domain,
      machphys_mfn_list: memory.xen_machphys_mfn_list,
      machphys_compat_mfn_list: memory.xen_machphys_mfn_list,
      machphys_mapping: memory.xen_machphys_mapping,
      add_to_physmap: memory.xen_add_to_physmap,
      add_to_physmap_batch: memory.xen_add_to_physmap_batch,
      remove_from_physmap: memory.xen_remove_from_physmap,
      memory_map: memory.xen_memory_map,
      machine_memory_map: privileged(memory.xen_memory_map),
      set_memory_map: memory.xen_foreign_memory_map,
      set_pod_target: privileged(memory.xen_pod_target),
      get_pod_target: privileged(memory.xen_pod_target),
      get_sharing_freed_pages: null,
      get_sharing_shared_pages: null,
      paging_op: privileged(memory.xen_mem_paging_op),
      access_op: privileged(memory.xen_mem_access_op),
      sharing_op: privileged(memory.xen_mem_sharing_op),
      claim_pages: privileged(memory.xen_memory_reservation),
      reserved_device_memory_map: memory.xen_reserved_device_memory_map,
      acquire_resource: privileged(memory.xen_mem_acquire_resource),
      get_vnumainfo: memory.xen_vnuma_topology_info,
    }),
  },
  multicall: {
    nr: xen.__HYPERVISOR_multicall,
    header: 'xen.h',
    callers: ALL_CALLERS,
    args: { call_list: handle('multicall_entry_t'), nr_calls: u32 },
    ops: {},
  },
  update_va_mapping: {
    nr: xen.__HYPERVISOR_update_va_mapping,
    header: 'xen.h',
    callers: PV_CALLERS,
    args: { va: vaddr_t, val: u64, flags: ulong_number },
    args32: { va: u32, lo: u32, hi: u32, flags: u32 },
    ops: {},
  },
  set_timer_op: {
    nr: xen.__HYPERVISOR_set_timer_op,
    header: 'xen.h',
    callers: ALL_CALLERS,
    args: { timeout: u64 },
    args32: { lo: u32, hi: s32 },
    ops: {},
  },
  event_channel_op_compat: {
    nr: xen.__HYPERVISOR_event_channel_op_compat,
    header: 'event_channel.h',
    callers: PV_CALLERS,
    args: { op: handle('evtchn_op_t') },
    selector: { arg: 'op', pointed: true },
    ops: {},
  },
  xen_version: {
    nr: xen.__HYPERVISOR_xen_version,
    header: 'version.h',
    callers: ALL_CALLERS,
    args: cmdAndArg,
    selector: { arg: 'cmd' },
    ops: subOps('XENVER_', version, {
      version: null,
      extraversion: null,
      compile_info: version.xen_compile_info,
      capabilities: null,
      changeset: null,
      platform_parameters: version.xen_platform_parameters,
      get_features: version.xen_feature_info,
      pagesize: null,
      guest_handle: null,
      commandline: privileged(null),
      build_id: privileged(version.xen_build_id),
    }),
  },
  console_io: {
    nr: xen.__HYPERVISOR_console_io,
    header: 'xen.h',
    callers: ALL_CALLERS,
    args: { cmd: u32, count: u32, buffer: handle('char') },
    selector: { arg: 'cmd' },
    // A guest may write only to a hypervisor built for debugging.
    ops: subOps('CONSOLEIO_', xen, { write: privileged(null), read: privileged(null) }),
  },
  physdev_op_compat: {
    nr: xen.__HYPERVISOR_physdev_op_compat,
    header: 'physdev.h',
    callers: PV_CALLERS,
    args: { op: handle('physdev_op_t') },
    selector: { arg: 'op', pointed: true },
    ops: {},
  },
  grant_table_op: {
    nr: xen.__HYPERVISOR_grant_table_op,
    header: 'grant_table.h',
    callers: ALL_CALLERS,
    args: { cmd: u32, uop: handle(), count: u32 },
    // GNTTABOP_CMD_MASK in grant_table.c: cache_flush keeps its progress above the command.
    selector: { arg: 'cmd', mask: 0xfff },
    ops: subOps('GNTTABOP_', grant_table, {
      map_grant_ref: grant_table.gnttab_map_grant_ref,
      unmap_grant_ref: grant_table.gnttab_unmap_grant_ref,
      setup_table: grant_table.gnttab_setup_table,
      dump_table: grant_table.gnttab_dump_table,
      transfer: grant_table.gnttab_transfer,
      copy: grant_table.gnttab_copy,
      query_size: grant_table.gnttab_query_size,
      unmap_and_replace: grant_table.gnttab_unmap_and_replace,
      set_version: grant_table.gnttab_set_version,
      get_status_frames: grant_table.gnttab_get_status_frames,
      get_version: grant_table.gnttab_get_version,
      swap_grant_ref: grant_table.gnttab_swap_grant_ref,
      cache_flush: grant_table.gnttab_cache_flush,
    }),
  },
  vm_assist: {
    nr: xen.__HYPERVISOR_vm_assist,
    header: 'xen.h',
    callers: ALL_CALLERS,
    args: { cmd: u32, type: u32 },
    selector: { arg: 'cmd' },
    ops: subOps('VMASST_CMD_', xen, { enable: null, disable: null }),
  },
  update_va_mapping_otherdomain: {
    nr: xen.__HYPERVISOR_update_va_mapping_otherdomain,
    header: 'xen.h',
    callers: PV_CALLERS,
    args: { va: vaddr_t, val: u64, flags: ulong_number, domid: domid_t },
    args32: { va: u32, lo: u32, hi: u32, flags: u32, domid: domid_t },
    ops: {},
  },
  iret: { nr: xen.__HYPERVISOR_iret, header: 'arch-x86/xen-x86_64.h', callers: PV_CALLERS, args: {}, ops: {} },
  vcpu_op: {
    nr: xen.__HYPERVISOR_vcpu_op,
    header: 'vcpu.h',
    callers: ALL_CALLERS,
    args: { cmd: s32, vcpuid: u32, arg: handle() },
    selector: { arg: 'cmd' },
    ops: subOps('VCPUOP_', vcpu, {
      initialise: vcpu_guest_context,
      up: null,
      down: null,
      is_up: null,
      get_runstate_info: vcpu.vcpu_runstate_info,
      register_runstate_memory_area: vcpu.vcpu_register_runstate_memory_area,
      set_periodic_timer: vcpu.vcpu_set_periodic_timer,
      stop_periodic_timer: null,
      set_singleshot_timer: vcpu.vcpu_set_singleshot_timer,
      stop_singleshot_timer: null,
      register_vcpu_info: vcpu.vcpu_register_vcpu_info,
      send_nmi: null,
      get_physid: vcpu.vcpu_get_physid,
      register_vcpu_time_memory_area: vcpu.vcpu_register_time_memory_area,
    }),
  },
  set_segment_base: {
    nr: xen.__HYPERVISOR_set_segment_base,
    header: 'arch-x86/xen-x86_64.h',
    callers: PV_CALLERS,
    args: { which: u32, base: vaddr_t },
    selector: { arg: 'which' },
    ops: subOps('SEGBASE_', x86_64, { FS: null, GS_USER: null, GS_KERNEL: null, GS_USER_SEL: null }),
  },
  mmuext_op: {
    nr: xen.__HYPERVISOR_mmuext_op,
    header: 'xen.h',
    callers: ALL_CALLERS,
    args: { uops: handle('mmuext_op_t'), ...batch },
    selector: { arg: 'uops', pointed: true },
    ops: subOps('MMUEXT_', xen, {
      PIN_L1_TABLE: xen.mmuext_op,
      PIN_L2_TABLE: xen.mmuext_op,
      PIN_L3_TABLE: xen.mmuext_op,
      PIN_L4_TABLE: xen.mmuext_op,
      UNPIN_TABLE: xen.mmuext_op,
      NEW_BASEPTR: xen.mmuext_op,
      TLB_FLUSH_LOCAL: xen.mmuext_op,
      INVLPG_LOCAL: xen.mmuext_op,
      TLB_FLUSH_MULTI: xen.mmuext_op,
      INVLPG_MULTI: xen.mmuext_op,
      TLB_FLUSH_ALL: xen.mmuext_op,
      INVLPG_ALL: xen.mmuext_op,
      FLUSH_CACHE: xen.mmuext_op,
      SET_LDT: xen.mmuext_op,
      NEW_USER_BASEPTR: xen.mmuext_op,
      CLEAR_PAGE: xen.mmuext_op,
      COPY_PAGE: xen.mmuext_op,
      FLUSH_CACHE_GLOBAL: xen.mmuext_op,
      MARK_SUPER: xen.mmuext_op,
      UNMARK_SUPER: xen.mmuext_op,
    }),
  },
  xsm_op: {
    nr: xen.__HYPERVISOR_xsm_op,
    header: 'xsm/flask_op.h',
    callers: ALL_CALLERS,
    args: { op: handle('xen_flask_op_t') },
    selector: { arg: 'op', pointed: true },
    ops: subOps('FLASK_', flask_op, { LOAD: null, GETENFORCE: null, SETENFORCE: null, CONTEXT_TO_SID: null, SID_TO_CONTEXT: null }, true),
  },
  nmi_op: {
    nr: xen.__HYPERVISOR_nmi_op,
    header: 'nmi.h',
    callers: PV_CALLERS,
    args: { cmd: u32, arg: handle() },
    selector: { arg: 'cmd' },
    ops: subOps('XENNMI_', nmi, { register_callback: nmi.xennmi_callback, unregister_callback: null }),
  },
  sched_op: {
    nr: xen.__HYPERVISOR_sched_op,
    header: 'sched.h',
    callers: ALL_CALLERS,
    args: cmdAndArg,
    selector: { arg: 'cmd' },
    ops: subOps('SCHEDOP_', sched, {
      yield: null,
      block: null,
      shutdown: sched.sched_shutdown,
      poll: sched.sched_poll,
      remote_shutdown: privileged(sched.sched_remote_shutdown),
      shutdown_code: sched.sched_shutdown,
      watchdog: sched.sched_watchdog,
      pin_override: privileged(sched.sched_pin_override),
    }),
  },
  callback_op: {
    nr: xen.__HYPERVISOR_callback_op,
    header: 'callback.h',
    callers: PV_CALLERS,
    args: cmdAndArg,
    selector: { arg: 'cmd' },
    ops: subOps('CALLBACKOP_', callback, { register: callback.callback_register, unregister: callback.callback_unregister }),
  },
  xenoprof_op: {
    nr: xen.__HYPERVISOR_xenoprof_op,
    header: 'xenoprof.h',
    callers: PV_CALLERS,
    args: cmdAndArg,
    selector: { arg: 'cmd' },
    ops: {},
  },
  event_channel_op: {
    nr: xen.__HYPERVISOR_event_channel_op,
    header: 'event_channel.h',
    callers: ALL_CALLERS,
    args: cmdAndArg,
    selector: { arg: 'cmd' },
    ops: subOps('EVTCHNOP_', event_channel, {
      bind_interdomain: event_channel.evtchn_bind_interdomain,
      bind_virq: event_channel.evtchn_bind_virq,
      bind_pirq: event_channel.evtchn_bind_pirq,
      close: event_channel.evtchn_close,
      send: event_channel.evtchn_send,
      status: event_channel.evtchn_status,
      alloc_unbound: event_channel.evtchn_alloc_unbound,
      bind_ipi: event_channel.evtchn_bind_ipi,
      bind_vcpu: event_channel.evtchn_bind_vcpu,
      unmask: event_channel.evtchn_unmask,
      reset: event_channel.evtchn_reset,
      init_control: event_channel.evtchn_init_control,
      expand_array: event_channel.evtchn_expand_array,
      set_priority: event_channel.evtchn_set_priority,
    }),
  },
  physdev_op: {
    nr: xen.__HYPERVISOR_physdev_op,
    header: 'physdev.h',
    callers: ALL_CALLERS,
    args: cmdAndArg,
    selector: { arg: 'cmd' },
    ops: subOps('PHYSDEVOP_', physdev, {
      eoi: physdev.physdev_eoi,
      pirq_eoi_gmfn_v1: physdev.physdev_pirq_eoi_gmfn,
      pirq_eoi_gmfn_v2: physdev.physdev_pirq_eoi_gmfn,
      irq_status_query: physdev.physdev_irq_status_query,
      set_iopl: physdev.physdev_set_iopl,
      set_iobitmap: physdev.physdev_set_iobitmap,
      apic_read: privileged(physdev.physdev_apic),
      apic_write: privileged(physdev.physdev_apic),
      alloc_irq_vector: privileged(physdev.physdev_irq),
      free_irq_vector: null,
      map_pirq: physdev.physdev_map_pirq,
      unmap_pirq: physdev.physdev_unmap_pirq,
      manage_pci_add: privileged(physdev.physdev_manage_pci),
      manage_pci_remove: privileged(physdev.physdev_manage_pci),
      restore_msi: privileged(physdev.physdev_restore_msi),
      manage_pci_add_ext: privileged(physdev.physdev_manage_pci_ext),
      setup_gsi: privileged(physdev.physdev_setup_gsi),
      get_free_pirq: physdev.physdev_get_free_pirq,
      pci_mmcfg_reserved: privileged(physdev.physdev_pci_mmcfg_reserved),
      pci_device_add: privileged(physdev.physdev_pci_device_add),
      pci_device_remove: privileged(physdev.physdev_pci_device),
      restore_msi_ext: privileged(physdev.physdev_pci_device),
      prepare_msix: privileged(physdev.physdev_pci_device),
      release_msix: privileged(physdev.physdev_pci_device),
      dbgp_op: privileged(physdev.physdev_dbgp_op),
    }),
  },
  hvm_op: {
    nr: xen.__HYPERVISOR_hvm_op,
    header: 'hvm/hvm_op.h',
    callers: ALL_CALLERS,
    args: { op: ulong_number, arg: handle() },
    selector: { arg: 'op' },
    ops: subOps('HVMOP_', hvm_op, {
      set_param: hvm_op.xen_hvm_param,
      get_param: hvm_op.xen_hvm_param,
      flush_tlbs: null,
      pagetable_dying: hvm_op.xen_hvm_pagetable_dying,
      get_time: hvm_op.xen_hvm_get_time,
      xentrace: hvm_op.xen_hvm_xentrace,
      get_mem_type: hvm_op.xen_hvm_get_mem_type,
      set_evtchn_upcall_vector: hvm_op.xen_hvm_evtchn_upcall_vector,
      guest_request_vm_event: null,
      altp2m: null,
    }),
  },
  kexec_op: {
    nr: xen.__HYPERVISOR_kexec_op,
    header: 'kexec.h',
    callers: PV_CALLERS,
    args: { op: ulong_number, arg: handle() },
    selector: { arg: 'op' },
    ops: subOps(
      'KEXEC_CMD_',
      kexec,
      { kexec: null, kexec_get_range: null, kexec_load: kexec.xen_kexec_load, kexec_unload: kexec.xen_kexec_unload, kexec_status: null },
      true,
    ),
  },
  tmem_op: {
    nr: xen.__HYPERVISOR_tmem_op,
    header: 'tmem.h',
    callers: [] as readonly Caller[],
    args: { op: handle('tmem_op_t') },
    selector: { arg: 'op', pointed: true },
    ops: subOps('TMEM_', tmem, { NEW_POOL: tmem.tmem_op, DESTROY_POOL: tmem.tmem_op, PUT_PAGE: tmem.tmem_op, GET_PAGE: tmem.tmem_op }),
  },
  argo_op: {
    nr: xen.__HYPERVISOR_argo_op,
    header: 'argo.h',
    callers: ALL_CALLERS,
    args: { cmd: u32, arg1: handle(), arg2: handle(), arg3: ulong_number, arg4: ulong_number },
    selector: { arg: 'cmd' },
    ops: subOps('XEN_ARGO_OP_', argo, {
      register_ring: argo.xen_argo_register_ring,
      unregister_ring: argo.xen_argo_unregister_ring,
      sendv: argo.xen_argo_send_addr,
      notify: argo.xen_argo_ring_data,
    }),
  },
  xenpmu_op: {
    nr: xen.__HYPERVISOR_xenpmu_op,
    header: 'pmu.h',
    callers: ALL_CALLERS,
    args: { op: u32, arg: handle() },
    selector: { arg: 'op' },
    ops: {},
  },
  dm_op: {
    nr: xen.__HYPERVISOR_dm_op,
    header: 'hvm/dm_op.h',
    callers: ALL_CALLERS,
    args: { domid: domid_t, nr_bufs: u32, bufs: handle('xen_dm_op_buf_t') },
    ops: {},
  },
  hypfs_op: {
    nr: xen.__HYPERVISOR_hypfs_op,
    header: 'hypfs.h',
    callers: ALL_CALLERS,
    args: { cmd: u32, arg1: handle('char'), arg2: ulong_number, arg3: handle(), arg4: ulong_number },
    selector: { arg: 'cmd' },
    ops: subOps('XEN_HYPFS_OP_', hypfs, { get_version: null, read: null, write_contents: null }, true),
  },
  mca: { nr: xen.__HYPERVISOR_arch_0, header: 'arch-x86/xen-mca.h', callers: PV_CALLERS, args: { mc: handle('xen_mc_t') }, ops: {} },
} satisfies Record<string, Hypercall>;

export type HypercallName = keyof typeof HYPERCALLS;

interface Entry {
  readonly name: HypercallName;
  readonly call: Hypercall;
  readonly ops: ReadonlyMap<number, SubOp>;
}

const byNumber = new Map<number, Entry>();
for (const [name, call] of Object.entries<Hypercall>(HYPERCALLS)) {
  const ops = new Map(Object.values(call.ops).map((op) => [op.nr, op]));
  // SAFE: the keys of HYPERCALLS.
  byNumber.set(call.nr, { name: name as HypercallName, call, ops });
}

export const findHypercall = (nr: number): Entry | undefined => byNumber.get(nr);
export const findSubOp = (nr: number, cmd: number): SubOp | undefined => byNumber.get(nr)?.ops.get(cmd);

/** 'grant_table_op' for 20; 'hypercall 99' for a number that Xen does not define. */
export const hypercallName = (nr: number): string => byNumber.get(nr)?.name ?? `hypercall ${nr}`;

/** 'GNTTABOP_map_grant_ref' for (20, 0); the bare number where there is no such sub-operation. */
export const subOpName = (nr: number, cmd: number): string => findSubOp(nr, cmd)?.name ?? String(cmd);
