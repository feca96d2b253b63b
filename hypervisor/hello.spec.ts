// A PV guest of thirty bytes, from domctl to shutdown, on the emulated CPU: version, a line on the console, sleep by timer, power off.

import {
  __HYPERVISOR_domctl,
  type Codec,
  type DomainPort,
  type Gfn,
  VGCF_in_kernel,
  VGCF_online,
  VIRQ_DOM_EXC,
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_DOMCTL_setvcpucontext,
  XEN_DOMCTL_unpausedomain,
  XEN_DOMINF_shutdown,
  xen_domctl,
  xen_domctl_createdomain,
  xen_domctl_getdomaininfo,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
  xen_domctl_vcpucontext,
  xen_x86_64,
} from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Maddr } from './core/ids.ts';
import { setUpcallMask } from './core/shared-info.ts';
import { createDom0, createHypervisor, createMachine, type Hypervisor } from './index.ts';

const OP = 0x1000;
const U = xen_domctl.offset('u', 'x86_64');
const CONTEXT = 0x4000;
let hv: Hypervisor;
let port: DomainPort;

function write(at: number, bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i += 4096) port.page(((at + i) / 4096) as Gfn).writeBytes(0, bytes.subarray(i, i + 4096));
}

/** A domctl through dom0's own memory; `arg` is given as an object of its codec. */
function domctl<W>(cmd: number, domid: number, codec?: Codec<unknown, W>, arg?: W): number {
  const page = port.page((OP / 4096) as Gfn);
  const bytes = new Uint8Array(xen_domctl.size('x86_64'));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, cmd, true);
  view.setUint32(4, XEN_DOMCTL_INTERFACE_VERSION, true);
  view.setUint16(8, domid, true);
  if (codec && arg) codec.write(view, U, 'x86_64', arg);
  page.writeBytes(0, bytes);
  return port.hypercall(__HYPERVISOR_domctl, OP);
}

const createArg = {
  ssidref: 0,
  handle: new Uint8Array(16),
  flags: 0,
  iommu_opts: 0,
  max_vcpus: 1,
  max_evtchn_port: 1023,
  max_grant_frames: 32,
  max_maptrack_frames: 64,
  grant_opts: 1,
  vmtrace_size: 0,
  cpupool_id: 0,
  arch: { emulation_flags: 0, misc_flags: 0 },
};

/** Code at 0, data at 0x1000, page tables unmapped behind; runs from rip 0 with its stack below 0x2000. */
function build(code: readonly number[], data: (bytes: Uint8Array) => void = () => {}): number {
  expect(domctl(XEN_DOMCTL_createdomain, 0, xen_domctl_createdomain, createArg)).toBe(0);
  const domid = port.page((OP / 4096) as Gfn).u16(8);
  expect(domctl(XEN_DOMCTL_max_vcpus, domid, xen_domctl_max_vcpus, { max: 1 })).toBe(0);
  expect(domctl(XEN_DOMCTL_max_mem, domid, xen_domctl_max_mem, { max_memkb: 64 })).toBe(0);
  const domain = hv.domain(domid)!;
  const [codeMfn, dataMfn, l1, l2, l3, l4] = Array.from({ length: 6 }, () => hv.frames.allocForDomain(domain));
  hv.ram.writeBytes((codeMfn! * 4096) as Maddr, Uint8Array.from(code));
  const bytes = new Uint8Array(4096);
  data(bytes);
  hv.ram.writeBytes((dataMfn! * 4096) as Maddr, bytes);
  const entry = (table: number, i: number, mfn: number) => hv.ram.write32((table * 4096 + i * 8) as Maddr, mfn * 4096 + 0x67);
  entry(l1!, 0, codeMfn!);
  entry(l1!, 1, dataMfn!);
  entry(l2!, 0, l1!);
  entry(l3!, 0, l2!);
  entry(l4!, 0, l3!);

  const { vcpu_guest_context } = xen_x86_64;
  const ctx = new Uint8Array(vcpu_guest_context.size('x86_64'));
  const v = new DataView(ctx.buffer);
  const regs = vcpu_guest_context.offset('user_regs', 'x86_64');
  v.setUint32(vcpu_guest_context.offset('flags', 'x86_64'), VGCF_in_kernel | VGCF_online, true);
  const reg = (name: Parameters<typeof xen_x86_64.cpu_user_regs.offset>[0], value: number) =>
    v.setBigUint64(regs + xen_x86_64.cpu_user_regs.offset(name, 'x86_64'), BigInt(value), true);
  reg('rip', 0);
  reg('rsp', 0x2000);
  reg('rflags', 0x202);
  v.setUint16(regs + xen_x86_64.cpu_user_regs.offset('cs', 'x86_64'), xen_x86_64.FLAT_KERNEL_CS64, true);
  v.setUint16(regs + xen_x86_64.cpu_user_regs.offset('ss', 'x86_64'), xen_x86_64.FLAT_KERNEL_SS64, true);
  v.setBigUint64(vcpu_guest_context.offset('ctrlreg', 'x86_64') + 24, BigInt(l4!) * 4096n, true);
  write(CONTEXT, ctx);
  expect(domctl(XEN_DOMCTL_setvcpucontext, domid, xen_domctl_vcpucontext, { vcpu: 0, ctxt: CONTEXT as never })).toBe(0);
  expect(domctl(XEN_DOMCTL_unpausedomain, domid)).toBe(0);
  return domid;
}

const SYSCALL = [0x0f, 0x05];
const movEax = (n: number) => [0xb8, n, 0, 0, 0];
const movEdi = (n: number) => [0xbf, n & 0xff, n >> 8, 0, 0];
const movEsi = (n: number) => [0xbe, n & 0xff, n >> 8, 0, 0];
const movEdx = (n: number) => [0xba, n & 0xff, n >> 8, 0, 0];
const storeRax = (at: number) => [0x48, 0x89, 0x04, 0x25, at & 0xff, at >> 8, 0, 0];
const poweroff = [...movEax(29), ...movEdi(2), ...movEsi(0x1980), ...SYSCALL, 0x0f, 0x0b];

beforeEach(() => {
  const machine = createMachine({ ramBytes: 32 * 1024 * 1024, cpus: 1 });
  hv = createHypervisor({ machine });
  port = createDom0(hv, { pages: 64 }).port;
});

describe('a PV guest', () => {
  it('asks for the version, writes a line, and powers off', () => {
    const hello = new TextEncoder().encode('hello\n');
    const code = [
      ...[...movEax(17), ...movEdi(0), ...movEsi(0), ...SYSCALL, ...storeRax(0x1800)],
      ...[...movEax(18), ...movEdi(0), ...movEsi(hello.length), ...movEdx(0x1900), ...SYSCALL],
      ...poweroff,
    ];
    const domid = build(code, (data) => data.set(hello, 0x900));
    const domain = hv.domain(domid)!;
    const dataMfn = [...domain.pageList][1]!;
    expect(hv.run()).toBe('idle');
    expect(hv.ram.read32((dataMfn * 4096 + 0x800) as Maddr)).toBe(0x4_0011);
    expect(hv.console.text()).toContain(`(d${domid}) hello\n`);
    expect(domain.shutdownCode).toBe(0);
    expect(domain.statistics.get('xen_version')).toBe(1);

    expect(domctl(XEN_DOMCTL_getdomaininfo, domid)).toBe(0);
    const info = xen_domctl_getdomaininfo.decode('x86_64', port.page((OP / 4096) as Gfn).bytes(U, xen_domctl_getdomaininfo.size('x86_64')));
    expect(info.flags & XEN_DOMINF_shutdown).toBe(XEN_DOMINF_shutdown);
    expect(info.cpu_time).toBeGreaterThan(0);
  });

  it('takes the same number of cycles every time', () => {
    const cycles = [0, 1].map(() => {
      hv = createHypervisor({ machine: createMachine({ ramBytes: 32 * 1024 * 1024, cpus: 1 }) });
      port = createDom0(hv, { pages: 64 }).port;
      build(poweroff);
      hv.run();
      return hv.cycles();
    });
    expect(cycles[0]).toBeGreaterThan(0);
    expect(cycles[1]).toBe(cycles[0]);
  });

  it('shares one CPU with another, neither losing a register', () => {
    // mov ecx, N; again: inc qword [0x1800]; dec ecx; jnz again
    const count = (n: number) => [
      0xb9,
      n & 0xff,
      (n >> 8) & 0xff,
      n >> 16,
      0,
      0x48,
      0xff,
      0x04,
      0x25,
      0,
      0x18,
      0,
      0,
      0xff,
      0xc9,
      0x75,
      0xf4,
    ];
    const ids = [3_000_000, 2_000_000].map((n) => ({ n, domid: build([...count(n), ...poweroff]) }));
    const data = ids.map(({ domid }) => [...hv.domain(domid)!.pageList][1]!);
    hv.run();
    for (const [i, { n, domid }] of ids.entries()) {
      const d = hv.domain(domid)!;
      expect(d.shutdownCode).toBe(0);
      expect(hv.ram.read32((data[i]! * 4096 + 0x800) as Maddr)).toBe(n);
      expect(d.vcpus[0]!.runstateTime[1]).toBeGreaterThan(1_000_000);
    }
  });

  it('gives all its memory back when it is destroyed', () => {
    const before = hv.frames.heap.freeFrames;
    const domid = build(poweroff);
    hv.run();
    expect(domctl(XEN_DOMCTL_destroydomain, domid)).toBe(0);
    expect(hv.domain(domid)).toBeUndefined();
    expect(hv.frames.heap.freeFrames).toBe(before);
  });

  it('is crashed when it does what it has no handler for, and dom0 is told', () => {
    const domid = build([0x0f, 0x0b]);
    const { evtchn } = hv.domain(0)!;
    const exc = evtchn.bindVirq(VIRQ_DOM_EXC, 0);
    let upcalls = 0;
    port.setUpcall(() => {
      upcalls++;
    });
    hv.run();
    expect(hv.domain(domid)!.shutdownCode).toBe(3);
    expect(upcalls).toBe(1);
    expect(evtchn.isPending(exc as never)).toBe(true);
    expect(hv.console.text()).toContain('crashed');
  });

  it('sleeps until its timer with SCHEDOP_poll, in no time of the host', () => {
    // VIRQ_TIMER bound, set_timer_op ten seconds ahead, a poll for the port.
    const TEN_SECONDS = 10_000_000_000;
    const code = [
      ...[...movEax(32), ...movEdi(1), ...movEsi(0x1800), ...SYSCALL],
      ...[0x48, 0x8b, 0x3c, 0x25, 0x40, 0x18, 0, 0],
      ...[...movEax(15), ...SYSCALL],
      ...[...movEax(29), ...movEdi(3), ...movEsi(0x1860), ...SYSCALL, ...storeRax(0x1900)],
      ...poweroff,
    ];
    const domid = build(code, (data) => {
      const v = new DataView(data.buffer);
      v.setBigUint64(0x840, BigInt(TEN_SECONDS), true);
      // sched_poll { ports = 0x1808 (the port that bind_virq answered), nr_ports = 1, timeout = 0 }
      v.setBigUint64(0x860, 0x1808n, true);
      v.setUint32(0x868, 1, true);
    });
    // Upcalls masked, as the toolstack leaves them: there is no handler.
    setUpcallMask(hv.domain(domid)!.vcpus[0]!, true);
    expect(hv.run()).toBe('idle');
    expect(hv.domain(domid)!.shutdownCode).toBe(0);
    expect(hv.now()).toBeGreaterThanOrEqual(TEN_SECONDS);
    expect(hv.now()).toBeLessThan(TEN_SECONDS + 100_000);
    expect(hv.domain(domid)!.vcpus[0]!.runstateTime[2]).toBeGreaterThan(TEN_SECONDS - 1_000_000);
  });
});
