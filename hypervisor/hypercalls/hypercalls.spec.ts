import * as abi from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Domain } from '../core/domain.ts';
import { destroyDomain } from '../core/domain-destroy.ts';
import { type Bench, createBench, createTestDomain, peek, poke } from '../core/testing.ts';
import { hypercallName } from './index.ts';

const ARG = 0x3000;
const UNMAPPED = 0x4000_0000;
let bench: Bench;
let d: Domain;
let freeBefore: number;
let port: abi.DomainPort;
const call = (nr: number, ...args: (number | bigint)[]): number => port.hypercall(nr, ...args);
const u32s = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const text = (at: number, length: number): string => new TextDecoder().decode(peek(port, at, length)).replace(/\0.*$/s, '');

beforeEach(() => {
  bench = createBench();
  freeBefore = bench.hv.frames.heap.freeFrames;
  ({ domain: d, port } = createTestDomain(bench.hv, { vcpus: 2 }));
});

describe('xen_version', () => {
  const version = (cmd: number, at: number = ARG) => call(abi.__HYPERVISOR_xen_version, cmd, at);

  it('says Xen 4.17 with PV of both widths', () => {
    expect(version(abi.XENVER_version)).toBe((4 << 16) | 17);
    expect(version(abi.XENVER_capabilities)).toBe(0);
    expect(text(ARG, 100)).toBe('xen-3.0-x86_64 xen-3.0-x86_32p ');
    expect(version(abi.XENVER_pagesize, 0)).toBe(4096);
    expect(version(abi.XENVER_pagesize)).toBe(-abi.XEN_EINVAL);
    expect(version(99)).toBe(-abi.XEN_ENOSYS);
  });

  it('keeps the command line and the build id from unprivileged domains', () => {
    expect(version(abi.XENVER_commandline)).toBe(0);
    expect(text(ARG, 64)).toBe('<denied>');
    expect(version(abi.XENVER_build_id)).toBe(-abi.XEN_EPERM);
  });

  it('gives features by kind of domain, and only for submap 0', () => {
    poke(port, ARG, u32s(0, 0));
    expect(version(abi.XENVER_get_features)).toBe(0);
    const map = new DataView(peek(port, ARG, 8).buffer).getUint32(4, true);
    expect(map & (1 << abi.XENFEAT_auto_translated_physmap)).not.toBe(0);
    expect(map & (1 << abi.XENFEAT_dom0)).toBe(0);
    poke(port, ARG, u32s(1, 0));
    expect(version(abi.XENVER_get_features)).toBe(-abi.XEN_EINVAL);
    expect(version(abi.XENVER_get_features, UNMAPPED)).toBe(-abi.XEN_EFAULT);
  });
});

describe('multicall', () => {
  const entry = (op: number, ...args: bigint[]): Uint8Array =>
    abi.multicall_entry.encode('x86_64', { op, result: 0x55n, args: [...args, 0n, 0n, 0n, 0n, 0n, 0n].slice(0, 6) });
  const result = (i: number): bigint => new DataView(peek(port, ARG + i * 64 + 8, 8).buffer).getBigInt64(0, true);

  it('gives each entry its own result and goes on after a failed one', () => {
    poke(port, ARG, entry(abi.__HYPERVISOR_xen_version, 99n));
    poke(port, ARG + 64, entry(63));
    poke(port, ARG + 128, entry(abi.__HYPERVISOR_xen_version, 0n));
    expect(call(abi.__HYPERVISOR_multicall, ARG, 3)).toBe(0);
    expect([result(0), result(1), result(2)]).toEqual([-38n, -38n, 0x40011n]);
  });

  it('does not nest', () => {
    poke(port, ARG, entry(abi.__HYPERVISOR_multicall, BigInt(ARG + 64), 1n));
    poke(port, ARG + 64, entry(abi.__HYPERVISOR_xen_version));
    expect(call(abi.__HYPERVISOR_multicall, ARG, 1)).toBe(0);
    expect(result(0)).toBe(-22n);
    expect(result(1)).toBe(0x55n);
  });

  it('reads entries across a page boundary, and faults where the list ends in nothing', () => {
    const at = ARG + 4096 - 40;
    const bytes = entry(abi.__HYPERVISOR_xen_version, 0n);
    poke(port, at, bytes.subarray(0, 40));
    poke(port, ARG + 4096, bytes.subarray(40));
    expect(call(abi.__HYPERVISOR_multicall, at, 1)).toBe(0);
    expect(call(abi.__HYPERVISOR_multicall, UNMAPPED, 1)).toBe(-abi.XEN_EFAULT);
    expect(call(abi.__HYPERVISOR_multicall, UNMAPPED, 0)).toBe(0);
  });
});

describe('vcpu_op', () => {
  const op = (cmd: number, vcpu: number, arg = 0) => call(abi.__HYPERVISOR_vcpu_op, cmd, vcpu, arg);

  it('brings up only what has a context, and down the last one with the domain', () => {
    expect(op(abi.VCPUOP_is_up, 1)).toBe(0);
    expect(op(abi.VCPUOP_up, 1)).toBe(-abi.XEN_EINVAL);
    expect(op(abi.VCPUOP_up, 9)).toBe(-abi.XEN_ENOENT);
    for (const v of d.vcpus) v.isInitialised = true;
    expect(op(abi.VCPUOP_up, 0)).toBe(0);
    expect(op(abi.VCPUOP_up, 1)).toBe(0);
    expect(op(abi.VCPUOP_is_up, 1)).toBe(1);
    expect(op(abi.VCPUOP_down, 1)).toBe(0);
    expect(d.shutdownCode).toBeNull();
    expect(op(abi.VCPUOP_down, 0)).toBe(0);
    expect(d.shutdownCode).toBe(abi.SHUTDOWN_poweroff);
  });

  it('moves vcpu_info once, with all that it held and everything marked pending', () => {
    const v = d.vcpus[0]!;
    bench.hv.ram.write8((v.vcpuInfo + 1) as never, 1);
    poke(port, ARG, abi.vcpu_register_vcpu_info.encode('x86_64', { mfn: 6, offset: 128 }));
    expect(op(abi.VCPUOP_register_vcpu_info, 0, ARG)).toBe(0);
    expect(v.vcpuInfo).toBe(d.p2m.mfn(6 as never) * 4096 + 128);
    const info = abi.vcpu_info.decode('x86_64', peek(port, 6 * 4096 + 128, 64));
    expect(info).toMatchObject({ evtchn_upcall_pending: 1, evtchn_upcall_mask: 1, evtchn_pending_sel: 0xffff_ffff_ffff_ffffn });
    expect(info.time.tsc_to_system_mul).toBe(bench.hv.clock.mul);
    expect(op(abi.VCPUOP_register_vcpu_info, 0, ARG)).toBe(-abi.XEN_EINVAL);
    poke(port, ARG, abi.vcpu_register_vcpu_info.encode('x86_64', { mfn: 6, offset: 4090 }));
    expect(op(abi.VCPUOP_register_vcpu_info, 1, ARG)).toBe(-abi.XEN_ENXIO);
    poke(port, ARG, abi.vcpu_register_vcpu_info.encode('x86_64', { mfn: 60000, offset: 0 }));
    expect(op(abi.VCPUOP_register_vcpu_info, 1, ARG)).toBe(-abi.XEN_EINVAL);
  });

  it('refuses a single-shot deadline in the past when asked to, and timers of another vCPU', () => {
    bench.hv.baseCycles = 1_000_000;
    const set = (timeout_abs_ns: number, flags: number) =>
      poke(port, ARG, abi.vcpu_set_singleshot_timer.encode('x86_64', { timeout_abs_ns, flags }));
    set(10, abi.VCPU_SSHOTTMR_future);
    expect(op(abi.VCPUOP_set_singleshot_timer, 0, ARG)).toBe(-abi.XEN_ETIME);
    expect(op(abi.VCPUOP_set_singleshot_timer, 1, ARG)).toBe(-abi.XEN_EINVAL);
    set(10, 0);
    expect(op(abi.VCPUOP_set_singleshot_timer, 0, ARG)).toBe(0);
    expect(bench.hv.timers.next).toBe(10);
    expect(op(abi.VCPUOP_stop_singleshot_timer, 0)).toBe(0);
    expect(bench.hv.timers.next).toBe(Number.POSITIVE_INFINITY);
    poke(port, ARG, abi.vcpu_set_periodic_timer.encode('x86_64', { period_ns: 999_999 }));
    expect(op(abi.VCPUOP_set_periodic_timer, 0, ARG)).toBe(-abi.XEN_EINVAL);
  });
});

describe('set_timer_op', () => {
  it('takes a wrapped or far deadline as one in 100 ms', () => {
    for (const odd of [-5, 2 ** 51]) {
      call(abi.__HYPERVISOR_set_timer_op, odd);
      expect(bench.hv.timers.next).toBe(100_000_000);
    }
    call(abi.__HYPERVISOR_set_timer_op, 0);
    expect(bench.hv.timers.next).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('the rest', () => {
  it('answers an unprivileged domain as Xen does', () => {
    poke(port, ARG, new Uint8Array(256));
    const cases: [number, number, number[]][] = [
      [abi.__HYPERVISOR_domctl, -abi.XEN_EACCES, [ARG]],
      [abi.__HYPERVISOR_domctl, -abi.XEN_EFAULT, [UNMAPPED]],
      [abi.__HYPERVISOR_sysctl, -abi.XEN_EACCES, [ARG]],
      [abi.__HYPERVISOR_platform_op, -abi.XEN_EACCES, [ARG]],
      [abi.__HYPERVISOR_kexec_op, -abi.XEN_EPERM, [0, ARG]],
      [abi.__HYPERVISOR_xsm_op, -abi.XEN_ENOSYS, [ARG]],
      [abi.__HYPERVISOR_tmem_op, -abi.XEN_ENOSYS, [ARG]],
      [abi.__HYPERVISOR_argo_op, -abi.XEN_ENOSYS, [0, ARG]],
      [abi.__HYPERVISOR_xenpmu_op, -abi.XEN_EOPNOTSUPP, [0, ARG]],
      [abi.__HYPERVISOR_vm_assist, -abi.XEN_EINVAL, [abi.VMASST_CMD_enable, 17]],
      [abi.__HYPERVISOR_physdev_op, -abi.XEN_ENOSYS, [99, ARG]],
      [abi.__HYPERVISOR_console_io, -abi.XEN_EPERM, [abi.CONSOLEIO_read, 1, ARG]],
      [abi.__HYPERVISOR_sched_op, -abi.XEN_ENOSYS, [77, ARG]],
      [abi.__HYPERVISOR_sched_op, -abi.XEN_EFAULT, [abi.SCHEDOP_shutdown, UNMAPPED]],
      [63, -abi.XEN_ENOSYS, []],
      [12345, -abi.XEN_ENOSYS, []],
    ];
    for (const [nr, want, args] of cases) expect([hypercallName(nr), call(nr, ...args)]).toEqual([hypercallName(nr), want]);
    const head = abi.xen_domctl.encode('x86_64', {
      cmd: abi.XEN_DOMCTL_pausedomain,
      interface_version: abi.XEN_DOMCTL_INTERFACE_VERSION,
      domain: d.id,
    });
    poke(port, ARG, head);
    expect(call(abi.__HYPERVISOR_domctl, ARG)).toBe(-abi.XEN_EPERM);
    new DataView(head.buffer).setUint16(8, 4000, true);
    poke(port, ARG, head);
    expect(call(abi.__HYPERVISOR_domctl, ARG)).toBe(-abi.XEN_ESRCH);
  });

  it('takes one page for pirq EOIs, and gives it back with the domain', () => {
    const eoi = (gmfn: number) => {
      poke(port, ARG, abi.physdev_pirq_eoi_gmfn.encode('x86_64', { gmfn }));
      return call(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_pirq_eoi_gmfn_v2, ARG);
    };
    expect([eoi(50000), eoi(9), eoi(10)]).toEqual([-abi.XEN_EINVAL, 0, -abi.XEN_EBUSY]);
    destroyDomain(bench.hv, d);
    expect(bench.hv.domain(d.id)).toBeUndefined();
    expect(bench.hv.frames.heap.freeFrames).toBe(freeBefore);
  });

  it('shows what guests write to the console, without control characters', () => {
    poke(port, ARG, new TextEncoder().encode('one\x1b[2J\ntw'));
    expect(call(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 10, ARG)).toBe(0);
    poke(port, ARG, new TextEncoder().encode('o\n'));
    call(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 2, ARG);
    expect(bench.hv.console.text()).toBe(`(d${d.id}) one[2J\n(d${d.id}) two\n`);
  });

  it('runs two watchdogs, which end the domain unless they are fed', () => {
    const watchdog = (id: number, timeout: number) => {
      poke(port, ARG, u32s(id, timeout));
      return call(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_watchdog, ARG);
    };
    expect([watchdog(0, 0), watchdog(3, 1), watchdog(1, 5)]).toEqual([-abi.XEN_EINVAL, -abi.XEN_EINVAL, -abi.XEN_EINVAL]);
    expect([watchdog(0, 10), watchdog(0, 20), watchdog(0, 20)]).toEqual([1, 2, -abi.XEN_ENOSPC]);
    expect([watchdog(1, 0), watchdog(1, 5)]).toEqual([0, -abi.XEN_EINVAL]);
    bench.hv.run();
    expect(d.shutdownCode).toBe(abi.SHUTDOWN_watchdog);
    expect(bench.hv.now()).toBe(20_000_000_000);
  });

  it('counts hypercalls by name and shows them to the trace hook', () => {
    const seen: string[] = [];
    bench.hv.trace = (v, nr, c, result) => seen.push(`${v.name} ${hypercallName(nr)}(${c.arg(0)}) = ${String(result)}`);
    call(abi.__HYPERVISOR_xen_version, 0);
    expect(seen).toEqual([`d${d.id}v0 xen_version(0) = ${0x40011}`]);
    expect(d.statistics.get('xen_version')).toBe(1);
  });
});
