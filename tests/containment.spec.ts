// Hypercalls that make no sense: numbers, handles, operations and domains that are not there, or are somebody else's.
import * as abi from '@ringworld/abi';
import { expect, it } from 'vitest';
import { forBothGuests, type Group } from './containment/group.ts';
import type { Puppet } from './containment/world.ts';

const NOBODY = 0x7abc;

/** Addresses at which no hypercall may read or write anything, however long. */
function badHandles(p: Puppet): Record<string, number> {
  const page = p.page(2);
  // The second page is unmapped; a structure that begins here crosses into it.
  const atEnd = page + 4096 - 2;
  p.call(abi.__HYPERVISOR_update_va_mapping, page + 4096, 0, ...(p.bits === 64 ? [2] : [0, 2]));
  return p.bits === 64
    ? {
        zero: 8,
        nothing: 0x1234_5000,
        'the hypervisor': -0x7f00_0000_0000,
        'its code': -0x7d2f_0000_0000,
        crossing: atEnd,
        'not canonical': 2 ** 47,
      }
    : { zero: 8, nothing: 0x1234_5000, 'the hypervisor': 0xfe00_0000, M2P: 0xf580_0000, crossing: atEnd, end: 0xffff_ffff };
}

forBothGuests('hypercalls out of nowhere', (g: Group) => {
  it('numbers that nobody has are -ENOSYS (call_handlers_pv64/32: default)', () => {
    const p = g.puppet();
    for (const nr of [11, 43, 38, 39, 50, 55, 63, 64, 0x1000, 0x7fff_ffff]) expect(p.call(nr), `hypercall ${nr}`).toBe(-abi.XEN_ENOSYS);
    if (p.bits === 64) for (const nr of [2n ** 32n + 17n, 2n ** 63n]) expect(p.call(nr), `hypercall ${nr}`).toBe(-abi.XEN_ENOSYS);
    expect(p.call(0xffff_ffff)).toBe(-abi.XEN_ENOSYS);
  });

  it('operations that nobody has are -ENOSYS, or what else their switch ends with', () => {
    const p = g.puppet();
    const page = p.page();
    const { XEN_ENOSYS, XEN_EOPNOTSUPP, XEN_EINVAL, XEN_EPERM, XEN_ENODEV } = abi;
    const rows: readonly (readonly [string, number, number[], number])[] = [
      ['xen_version', abi.__HYPERVISOR_xen_version, [99, page], XEN_ENOSYS],
      ['sched_op', abi.__HYPERVISOR_sched_op, [99, page], XEN_ENOSYS],
      ['event_channel_op', abi.__HYPERVISOR_event_channel_op, [99, page], XEN_ENOSYS],
      ['physdev_op', abi.__HYPERVISOR_physdev_op, [99, page], XEN_ENOSYS],
      ['vcpu_op', abi.__HYPERVISOR_vcpu_op, [99, 0, page], XEN_ENOSYS],
      ['memory_op', abi.__HYPERVISOR_memory_op, [63, page], XEN_ENOSYS],
      ['grant_table_op', abi.__HYPERVISOR_grant_table_op, [63, page, 1], XEN_ENOSYS],
      // Of the two, only the compat one says it this way (xen/arch/x86/pv/callback.c).
      ['callback_op', abi.__HYPERVISOR_callback_op, [99, page], p.bits === 64 ? XEN_ENOSYS : XEN_EINVAL],
      ['nmi_op', abi.__HYPERVISOR_nmi_op, [99, page], XEN_ENOSYS],
      ['vm_assist', abi.__HYPERVISOR_vm_assist, [99, 4], XEN_ENOSYS],
      ['vm_assist type', abi.__HYPERVISOR_vm_assist, [0, 63], XEN_EINVAL],
      ['hvm_op', abi.__HYPERVISOR_hvm_op, [99, page], XEN_ENOSYS],
      ['xenpmu_op', abi.__HYPERVISOR_xenpmu_op, [99, page], XEN_EOPNOTSUPP],
      ['xsm_op', abi.__HYPERVISOR_xsm_op, [page], XEN_ENOSYS],
      ['kexec_op', abi.__HYPERVISOR_kexec_op, [0, page], XEN_EPERM],
      ['set_segment_base', abi.__HYPERVISOR_set_segment_base, [9, 0], p.bits === 64 ? XEN_EINVAL : XEN_ENOSYS],
      ['set_debugreg', abi.__HYPERVISOR_set_debugreg, [8, 0], XEN_ENODEV],
      ['get_debugreg', abi.__HYPERVISOR_get_debugreg, [8], XEN_ENODEV],
    ];
    for (const [what, nr, args, errno] of rows) expect(p.call(nr, ...args), what).toBe(-errno);
  });

  it('handles to nothing, to the hypervisor or over the edge of a page are -EFAULT (copy_from_guest)', () => {
    const p = g.puppet();
    const rows: readonly (readonly [string, number, (at: number) => number[]])[] = [
      ['set_trap_table', abi.__HYPERVISOR_set_trap_table, (at) => [at]],
      ['mmu_update', abi.__HYPERVISOR_mmu_update, (at) => [at, 1, 0, abi.DOMID_SELF]],
      ['mmuext_op', abi.__HYPERVISOR_mmuext_op, (at) => [at, 1, 0, abi.DOMID_SELF]],
      ['set_gdt', abi.__HYPERVISOR_set_gdt, (at) => [at, 512]],
      ['platform_op', abi.__HYPERVISOR_platform_op, (at) => [at]],
      ['domctl', abi.__HYPERVISOR_domctl, (at) => [at]],
      ['sysctl', abi.__HYPERVISOR_sysctl, (at) => [at]],
      ['memory_op exchange', abi.__HYPERVISOR_memory_op, (at) => [abi.XENMEM_exchange, at]],
      ['memory_op memory_map', abi.__HYPERVISOR_memory_op, (at) => [abi.XENMEM_memory_map, at]],
      ['memory_op machphys_mfn_list', abi.__HYPERVISOR_memory_op, (at) => [abi.XENMEM_machphys_mfn_list, at]],
      ['multicall', abi.__HYPERVISOR_multicall, (at) => [at, 1]],
      ['xen_version extraversion', abi.__HYPERVISOR_xen_version, (at) => [abi.XENVER_extraversion, at]],
      ['xen_version features', abi.__HYPERVISOR_xen_version, (at) => [abi.XENVER_get_features, at]],
      ['grant_table_op map', abi.__HYPERVISOR_grant_table_op, (at) => [abi.GNTTABOP_map_grant_ref, at, 1]],
      ['grant_table_op copy', abi.__HYPERVISOR_grant_table_op, (at) => [abi.GNTTABOP_copy, at, 1]],
      ['grant_table_op setup', abi.__HYPERVISOR_grant_table_op, (at) => [abi.GNTTABOP_setup_table, at, 1]],
      ['grant_table_op version', abi.__HYPERVISOR_grant_table_op, (at) => [abi.GNTTABOP_get_version, at, 1]],
      ['sched_op shutdown', abi.__HYPERVISOR_sched_op, (at) => [abi.SCHEDOP_shutdown, at]],
      ['sched_op poll', abi.__HYPERVISOR_sched_op, (at) => [abi.SCHEDOP_poll, at]],
      ['sched_op watchdog', abi.__HYPERVISOR_sched_op, (at) => [abi.SCHEDOP_watchdog, at]],
      ['event_channel_op', abi.__HYPERVISOR_event_channel_op, (at) => [abi.EVTCHNOP_alloc_unbound, at]],
      ['event_channel_op status', abi.__HYPERVISOR_event_channel_op, (at) => [abi.EVTCHNOP_status, at]],
      ['physdev_op', abi.__HYPERVISOR_physdev_op, (at) => [abi.PHYSDEVOP_set_iopl, at]],
      ['vcpu_op initialise', abi.__HYPERVISOR_vcpu_op, (at) => [abi.VCPUOP_initialise, 1, at]],
      ['vcpu_op runstate', abi.__HYPERVISOR_vcpu_op, (at) => [abi.VCPUOP_get_runstate_info, 0, at]],
      ['vcpu_op register_vcpu_info', abi.__HYPERVISOR_vcpu_op, (at) => [abi.VCPUOP_register_vcpu_info, 1, at]],
      ['callback_op', abi.__HYPERVISOR_callback_op, (at) => [abi.CALLBACKOP_register, at]],
      ['nmi_op', abi.__HYPERVISOR_nmi_op, (at) => [abi.XENNMI_register_callback, at]],
      ['hvm_op', abi.__HYPERVISOR_hvm_op, (at) => [abi.HVMOP_get_param, at]],
    ];
    for (const [where, at] of Object.entries(badHandles(p)))
      for (const [what, nr, args] of rows) expect(p.call(nr, ...args(at)), `${what}: ${where}`).toBe(-abi.XEN_EFAULT);
  });

  it('a console line from nowhere is -EFAULT, a console that is not theirs -EPERM', () => {
    const p = g.puppet();
    for (const [where, at] of Object.entries(badHandles(p)))
      expect(p.call(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 16, at), where).toBe(-abi.XEN_EFAULT);
    expect(p.call(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_read, 16, p.page())).toBe(-abi.XEN_EPERM);
    expect(p.call(abi.__HYPERVISOR_console_io, 7, 16, p.page())).toBe(-abi.XEN_EPERM);
  });

  it('the toolstack calls are not for a domU: -EACCES to a wrong version, -EPERM to the right one (xsm/dummy.h)', () => {
    const p = g.puppet();
    const page = p.page();
    const ask = (nr: number, cmd: number, version: number, domid = 0): unknown => {
      const b = new Uint8Array(128);
      const v = new DataView(b.buffer);
      v.setUint32(0, cmd, true);
      v.setUint32(4, version, true);
      v.setUint16(8, domid, true);
      return p.call(nr, p.put(page, b));
    };
    const { XEN_EPERM, XEN_EACCES } = abi;
    expect(ask(abi.__HYPERVISOR_sysctl, abi.XEN_SYSCTL_physinfo, 1)).toBe(-XEN_EACCES);
    expect(ask(abi.__HYPERVISOR_sysctl, abi.XEN_SYSCTL_physinfo, abi.XEN_SYSCTL_INTERFACE_VERSION)).toBe(-XEN_EPERM);
    expect(ask(abi.__HYPERVISOR_platform_op, abi.XENPF_settime64, 1)).toBe(-XEN_EACCES);
    expect(ask(abi.__HYPERVISOR_platform_op, abi.XENPF_settime64, abi.XENPF_INTERFACE_VERSION)).toBe(-XEN_EPERM);
    expect(ask(abi.__HYPERVISOR_domctl, abi.XEN_DOMCTL_destroydomain, 1)).toBe(-XEN_EACCES);
    const version = abi.XEN_DOMCTL_INTERFACE_VERSION;
    for (const cmd of [abi.XEN_DOMCTL_createdomain, abi.XEN_DOMCTL_destroydomain, abi.XEN_DOMCTL_pausedomain, abi.XEN_DOMCTL_max_mem])
      expect(ask(abi.__HYPERVISOR_domctl, cmd, version, g.bystander.domain.id), `domctl ${cmd}`).toBe(-XEN_EPERM);
    expect(ask(abi.__HYPERVISOR_domctl, abi.XEN_DOMCTL_pausedomain, version, NOBODY)).toBe(-abi.XEN_ESRCH);
    expect(g.bystander.isAlive).toBe(true);
  });

  it('vCPUs that are not there are -ENOENT, and half-made contexts -EINVAL (do_vcpu_op, arch_set_info_guest)', () => {
    const p = g.puppet();
    const page = p.put(p.page(2), new Uint8Array(8192));
    const op = (cmd: number, vcpu: number, at = page) => p.call(abi.__HYPERVISOR_vcpu_op, cmd, vcpu, at);
    for (const vcpu of [2, 32, 0xffff, 0xffff_ffff]) expect(op(abi.VCPUOP_is_up, vcpu), `vCPU ${vcpu}`).toBe(-abi.XEN_ENOENT);
    const { XEN_EINVAL } = abi;
    expect(op(abi.VCPUOP_up, 1)).toBe(-XEN_EINVAL);
    expect(op(abi.VCPUOP_is_up, 1)).toBe(0);
    // All zeroes: no page table.
    expect(op(abi.VCPUOP_initialise, 1)).toBe(-abi.XEN_EINVAL);
    expect(op(abi.VCPUOP_initialise, 0)).toBe(-abi.XEN_EEXIST);
    expect(op(abi.VCPUOP_set_singleshot_timer, 1)).toBe(-abi.XEN_EINVAL);
    expect(op(abi.VCPUOP_set_periodic_timer, 0)).toBe(-abi.XEN_EINVAL);
    expect(op(abi.VCPUOP_get_physid, 0)).toBe(-abi.XEN_EINVAL);
    // An offset that leaves no room for vcpu_info, or no alignment (XSA-327); a frame that is not theirs (map_vcpu_info).
    const register = (mfn: number, offset: number) =>
      op(abi.VCPUOP_register_vcpu_info, 1, p.put(page, abi.vcpu_register_vcpu_info.encode(p.domain.abi, { mfn: mfn as never, offset })));
    expect(register(p.mfn(page), 4090)).toBe(-abi.XEN_ENXIO);
    expect(register(p.mfn(page), 2)).toBe(-abi.XEN_ENXIO);
    expect(register(0, 0)).toBe(-XEN_EINVAL);
    expect(register(g.bystander.mfn(g.bystander.address('act')), 0)).toBe(-XEN_EINVAL);
    // Areas that the hypervisor is to write may be unmapped as yet, but not its own.
    for (const cmd of [abi.VCPUOP_register_runstate_memory_area, abi.VCPUOP_register_vcpu_time_memory_area]) {
      expect(op(cmd, 0, p.put(page, [p.bits === 64 ? 0xffff_8200_0000_0000n : 0xf600_0000]))).toBe(-abi.XEN_EFAULT);
      expect(op(cmd, 0, p.put(page, [0x7000_0000]))).toBe(0);
      expect(op(cmd, 0, p.put(page, [0]))).toBe(0);
    }
  });

  it('event channels that are closed or somebody else are refused (xen/common/event_channel.c)', () => {
    const p = g.puppet();
    const page = p.page();
    const op = (cmd: number, ...words: number[]) => {
      p.put(page, new Uint8Array(Uint32Array.from(words).buffer));
      return p.call(abi.__HYPERVISOR_event_channel_op, cmd, page);
    };
    const { XEN_EINVAL, XEN_ENOENT, XEN_EPERM, XEN_ESRCH } = abi;
    expect(op(abi.EVTCHNOP_send, 900)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_send, 0xffff_ffff)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_send, 0)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_close, 0)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_close, 900)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_unmask, 5000)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_bind_virq, 0, 7)).toBe(-XEN_ENOENT);
    expect(op(abi.EVTCHNOP_bind_virq, 77, 0)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_bind_ipi, 99)).toBe(-XEN_ENOENT);
    expect(op(abi.EVTCHNOP_bind_vcpu, 900, 0)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_bind_interdomain, NOBODY, 1)).toBe(-XEN_ESRCH);
    expect(op(abi.EVTCHNOP_bind_interdomain, g.bystander.domain.id, 1)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_alloc_unbound, g.bystander.domain.id)).toBe(-XEN_EPERM);
    expect(op(abi.EVTCHNOP_reset, g.bystander.domain.id)).toBe(-XEN_EPERM);
    expect(op(abi.EVTCHNOP_status, g.bystander.domain.id, 1)).toBe(-XEN_EPERM);
    expect(op(abi.EVTCHNOP_bind_pirq, 9, 0)).toBe(-XEN_EPERM);
    expect(op(abi.EVTCHNOP_set_priority, 900, 1)).toBe(-XEN_EINVAL);
    expect(op(abi.EVTCHNOP_expand_array, 0, 0)).toBe(-abi.XEN_EOPNOTSUPP);
  });
});
