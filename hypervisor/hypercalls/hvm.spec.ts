// Parameters and device models of HVM domains, asked for by hypercall. The rules are written down here a second time, from Xen's source.
import * as abi from '@ringworld/abi';
import {
  __HYPERVISOR_dm_op,
  __HYPERVISOR_hvm_op,
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  type DomainPort,
  HVMOP_get_param,
  HVMOP_set_param,
  ioreq,
  STATE_IOREQ_READY,
  STATE_IORESP_READY,
  type Struct,
  XEN_E2BIG,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  XENMEM_acquire_resource,
  XENMEM_resource_ioreq_server,
  xen_dm_op_buf,
  xen_hvm_param,
  xen_mem_acquire_resource,
} from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Domain } from '../core/domain.ts';
import type { Gfn, Maddr } from '../core/ids.ts';
import { P2M_TYPES } from '../core/p2m.ts';
import { type Bench, createBench, createTestDomain, peek, poke, recordingHvm } from '../core/testing.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { type IoRequest, isConfigAddress, selectServer } from '../hvm/ioreq-servers.ts';

const ARGS = 0x8000;
// biome-ignore lint/suspicious/noExplicitAny: a structure, whichever
type AnyStruct = Struct<any, any>;
let bench: Bench;
let calls: unknown[][];
let domain: Domain;
let guest: DomainPort;

beforeEach(() => {
  calls = [];
  bench = createBench({ hvm: recordingHvm(calls) });
  ({ domain, port: guest } = createTestDomain(bench.hv, { hvm: { isHap: true, emulationFlags: abi.XEN_X86_EMU_LAPIC }, vcpus: 2 }));
  calls.length = 0;
});

const param = (port: DomainPort, op: number, index: number, value: bigint, domid: number): number =>
  port.hypercall(__HYPERVISOR_hvm_op, op, poke(port, ARGS, xen_hvm_param.encode('x86_64', { domid: domid as never, index, value })));
const value = (port: DomainPort): bigint => xen_hvm_param.decode('x86_64', peek(port, ARGS, 16)).value;

describe('HVM parameters', () => {
  const OK = 0;
  // Name, a value, what the guest gets for setting it, what dom0 does, and what the guest gets for reading it.
  const rules: [string, bigint, number, number, number][] = [
    ['CALLBACK_IRQ', 0x0200_0000_0000_00f3n, OK, OK, OK],
    ['STORE_PFN', 5n, -XEN_EPERM, OK, OK],
    ['STORE_EVTCHN', 5n, OK, OK, OK],
    ['CONSOLE_PFN', 5n, -XEN_EPERM, OK, OK],
    ['CONSOLE_EVTCHN', 5n, OK, OK, OK],
    ['IOREQ_SERVER_PFN', 5n, -XEN_EPERM, OK, -XEN_EPERM],
    ['NR_IOREQ_SERVER_PAGES', 0n, -XEN_EPERM, -XEN_EINVAL, -XEN_EPERM],
    ['NR_IOREQ_SERVER_PAGES', 65n, -XEN_EPERM, -XEN_EINVAL, -XEN_EPERM],
    ['NR_IOREQ_SERVER_PAGES', 8n, -XEN_EPERM, OK, -XEN_EPERM],
    ['TIMER_MODE', 3n, -XEN_EPERM, OK, -XEN_EPERM],
    ['TIMER_MODE', 4n, -XEN_EPERM, -XEN_EINVAL, -XEN_EPERM],
    ['VIRIDIAN', 1n, -XEN_EPERM, OK, -XEN_EPERM],
    ['VIRIDIAN', 2n, -XEN_EPERM, -XEN_EINVAL, -XEN_EPERM],
    ['VIRIDIAN', 0x2001n, -XEN_EPERM, -XEN_EINVAL, -XEN_EPERM],
    ['IDENT_PT', 0xff000n, -XEN_EPERM, OK, -XEN_EPERM],
    ['ACPI_S_STATE', 1n, -XEN_EPERM, -XEN_EINVAL, -XEN_EPERM],
    ['TRIPLE_FAULT_REASON', 5n, -XEN_EPERM, OK, -XEN_EPERM],
    ['TRIPLE_FAULT_REASON', 6n, -XEN_EPERM, -XEN_EINVAL, -XEN_EPERM],
    ['X87_FIP_WIDTH', 8n, OK, OK, OK],
    ['X87_FIP_WIDTH', 2n, -XEN_EINVAL, -XEN_EINVAL, OK],
    ['ACPI_IOPORTS_LOCATION', 1n, OK, OK, OK],
    ['VM_GENERATION_ID_ADDR', 0x1234n, OK, OK, OK],
    // Deprecated: for nobody.
    ['PAE_ENABLED', 1n, -XEN_EINVAL, -XEN_EINVAL, -XEN_EINVAL],
    ['NESTEDHVM', 1n, -XEN_EINVAL, -XEN_EINVAL, -XEN_EINVAL],
    ['DM_DOMAIN', 0x7ff0n, -XEN_EINVAL, -XEN_EINVAL, -XEN_EINVAL],
    ['BUFIOREQ_EVTCHN', 1n, -XEN_EINVAL, -XEN_EINVAL, -XEN_EINVAL],
  ];
  it.each(rules)('%s = %i: the guest is told %i, dom0 %i; read by the guest %i', (name, v, byGuest, byDom0, readByGuest) => {
    const index = Number((abi as unknown as Record<string, number>)[`HVM_PARAM_${name}`]);
    expect(param(guest, HVMOP_set_param, index, v, DOMID_SELF)).toBe(byGuest);
    expect(param(bench.dom0, HVMOP_set_param, index, v, domain.id)).toBe(byDom0);
    expect(param(guest, HVMOP_get_param, index, 0n, domain.id)).toBe(readByGuest);
    if (readByGuest === OK && byDom0 === OK) expect(value(guest)).toBe(v);
  });

  it('are of HVM domains only, and end with HVM_NR_PARAMS', () => {
    expect(param(bench.dom0, HVMOP_get_param, 0, 0n, DOMID_SELF)).toBe(-XEN_EINVAL);
    expect(param(bench.dom0, HVMOP_get_param, 0, 0n, 77)).toBe(-XEN_ESRCH);
    expect(param(bench.dom0, HVMOP_get_param, abi.HVM_NR_PARAMS, 0n, domain.id)).toBe(-XEN_EINVAL);
    expect(param(createTestDomain(bench.hv).port, HVMOP_get_param, 0, 0n, domain.id)).toBe(-XEN_EPERM);
  });

  it('some can be set once', () => {
    expect(param(bench.dom0, HVMOP_set_param, abi.HVM_PARAM_IOREQ_SERVER_PFN, 7n, domain.id)).toBe(0);
    expect(param(bench.dom0, HVMOP_set_param, abi.HVM_PARAM_IOREQ_SERVER_PFN, 7n, domain.id)).toBe(0);
    expect(param(bench.dom0, HVMOP_set_param, abi.HVM_PARAM_IOREQ_SERVER_PFN, 8n, domain.id)).toBe(-XEN_EEXIST);
  });

  it.each<[bigint, object]>([
    [0n, { type: 'none' }],
    [9n, { type: 'gsi', gsi: 9 }],
    [(1n << 56n) | (3n << 11n) | 2n, { type: 'pci_intx', device: 3, pin: 2 }],
    [(2n << 56n) | 0xf3n, { type: 'vector', vector: 0xf3 }],
    [(9n << 56n) | 0xf3n, { type: 'none' }],
  ])('the callback %i is taken apart for hvm/', (v, via) => {
    param(guest, HVMOP_set_param, abi.HVM_PARAM_CALLBACK_IRQ, v, DOMID_SELF);
    expect(calls.at(-1)).toEqual(['setCallbackVia', domain.id, via]);
  });

  it('a TSS for real mode has a size, Xen\u2019s own mark stays hidden, and one that is too small ends its domain', () => {
    param(bench.dom0, HVMOP_set_param, abi.HVM_PARAM_VM86_TSS, 0xfe000n, domain.id);
    param(guest, HVMOP_get_param, abi.HVM_PARAM_VM86_TSS_SIZED, 0n, DOMID_SELF);
    expect(value(guest)).toBe((128n << 32n) | 0xfe000n);
    param(guest, HVMOP_get_param, abi.HVM_PARAM_VM86_TSS, 0n, DOMID_SELF);
    expect(value(guest)).toBe(0xfe000n);
    expect(param(guest, HVMOP_set_param, abi.HVM_PARAM_VM86_TSS_SIZED, (103n << 32n) | 0x1000n, DOMID_SELF)).toBe(-XEN_EINVAL);
    expect(domain.crashReason).toContain('VM86_TSS');
  });
});

describe('a device model', () => {
  const dm = <S extends AnyStruct>(nr: number, codec: S, a: object, port = bench.dom0, domid: number = domain.id) => {
    const op = new Uint8Array(8 + codec.size('x86_64'));
    new DataView(op.buffer).setUint32(0, nr, true);
    op.set(codec.encode('x86_64', a), 8);
    const buf = xen_dm_op_buf.encode('x86_64', { h: poke(port, ARGS, op) as never, size: op.length });
    const rc = port.hypercall(__HYPERVISOR_dm_op, domid, 1, poke(port, ARGS + 0x100, buf));
    return { rc, out: codec.decode('x86_64', peek(port, ARGS + 8, codec.size('x86_64'))) as Record<string, number> };
  };
  const create = (): number =>
    dm(abi.XEN_DMOP_create_ioreq_server, abi.xen_dm_op_create_ioreq_server, { handle_bufioreq: abi.HVM_IOREQSRV_BUFIOREQ_ATOMIC }).out.id!;
  const claim = (id: number, type: number, start: number, end: number): number =>
    dm(abi.XEN_DMOP_map_io_range_to_ioreq_server, abi.xen_dm_op_ioreq_server_range, { id, type, start, end }).rc;
  const enable = (id: number, enabled: number): number =>
    dm(abi.XEN_DMOP_set_ioreq_server_state, abi.xen_dm_op_set_ioreq_server_state, { id, enabled }).rc;
  const request = (over: Partial<IoRequest>): IoRequest => ({
    type: abi.IOREQ_TYPE_PIO,
    addr: 0,
    size: 1,
    count: 1,
    dataLo: 0,
    dataHi: 0,
    dataIsPtr: false,
    isRead: false,
    isDown: false,
    ...over,
  });

  it('is a privileged affair, of an HVM domain, with few buffers', () => {
    const { port } = createTestDomain(bench.hv);
    const nr = (p: DomainPort, domid: number) => dm(abi.XEN_DMOP_nr_vcpus, abi.xen_dm_op_nr_vcpus, {}, p, domid);
    expect(nr(bench.dom0, domain.id).out).toEqual({ vcpus: 2 });
    expect(nr(port, domain.id).rc).toBe(-XEN_EPERM);
    expect(nr(guest, DOMID_SELF).rc).toBe(-XEN_EPERM);
    expect(nr(bench.dom0, 77).rc).toBe(-XEN_ESRCH);
    expect(bench.dom0.hypercall(__HYPERVISOR_dm_op, domain.id, 3, ARGS)).toBe(-XEN_E2BIG);
    expect(dm(99, abi.xen_dm_op_nr_vcpus, {}).rc).toBe(-XEN_EOPNOTSUPP);
  });

  it('claims ranges that overlap nothing of its own, and gives them back in parts', () => {
    const id = create();
    expect(claim(id, abi.XEN_DMOP_IO_RANGE_PORT, 0x3f0, 0x3ff)).toBe(0);
    expect(claim(id, abi.XEN_DMOP_IO_RANGE_PORT, 0x3ff, 0x400)).toBe(-XEN_EEXIST);
    expect(claim(id, abi.XEN_DMOP_IO_RANGE_PORT, 0x400, 0x3ff)).toBe(-XEN_EINVAL);
    expect(claim(id, 3, 1, 2)).toBe(-XEN_EINVAL);
    expect(claim(5, abi.XEN_DMOP_IO_RANGE_PORT, 1, 2)).toBe(-XEN_ENOENT);
    const free = (start: number, end: number) =>
      dm(abi.XEN_DMOP_unmap_io_range_from_ioreq_server, abi.xen_dm_op_ioreq_server_range, { id, type: 0, start, end }).rc;
    expect(free(0x3f4, 0x3f7)).toBe(0);
    expect(free(0x3f4, 0x3f4)).toBe(-XEN_ENOENT);
    enable(id, 1);
    const hit = (addr: number, size: number) => selectServer(domain, request({ addr, size }))?.id;
    expect([hit(0x3f3, 1), hit(0x3f3, 2), hit(0x3f5, 1), hit(0x3f8, 4), hit(0x3fe, 4)]).toEqual([id, undefined, undefined, id, undefined]);
    enable(id, 0);
    expect(hit(0x3f8, 1)).toBeUndefined();
  });

  it('gets configuration accesses of the PCI functions that it has claimed', () => {
    const a = create();
    const b = create();
    claim(a, abi.XEN_DMOP_IO_RANGE_PORT, 0xcf8, 0xcff);
    claim(b, abi.XEN_DMOP_IO_RANGE_PCI, abi.xenDmopPciSbdf(0, 0, 3, 0), abi.xenDmopPciSbdf(0, 0, 3, 0));
    enable(a, 1);
    enable(b, 1);
    expect(isConfigAddress(0xcf8, 4)).toBe(true);
    domain.hvm!.ioreqServers!.noteConfigAddress(0x8000_1810);
    const r = request({ addr: 0xcfe, size: 2, isRead: true });
    expect(selectServer(domain, r)?.id).toBe(b);
    expect([r.type, r.addr]).toEqual([abi.IOREQ_TYPE_PCI_CONFIG, 0x18 * 2 ** 32 + 0x12]);
    domain.hvm!.ioreqServers!.noteConfigAddress(0x8000_2010);
    expect(selectServer(domain, request({ addr: 0xcfc, size: 4 }))?.id).toBe(a);
  });

  it('finds the request in its page, answers it there, and a slot that it left in disorder ends the domain', () => {
    const id = create();
    claim(id, abi.XEN_DMOP_IO_RANGE_MEMORY, 0xf000_0000, 0xf000_0fff);
    const list = poke(bench.dom0, ARGS + 0x800, new Uint8Array(new BigUint64Array([60n]).buffer));
    const x = {
      domid: domain.id as never,
      type: XENMEM_resource_ioreq_server,
      id,
      nr_frames: 1,
      frame: 1,
      frame_list: list as never,
    };
    const at = poke(bench.dom0, ARGS + 0x400, xen_mem_acquire_resource.encode('x86_64', x));
    expect(bench.dom0.hypercall(__HYPERVISOR_memory_op, XENMEM_acquire_resource, at)).toBe(0);
    enable(id, 1);
    const servers = domain.hvm!.ioreqServers!;
    const server = selectServer(domain, request({ type: abi.IOREQ_TYPE_COPY, addr: 0xf000_0010, size: 4 }))!;
    const vcpu = domain.vcpus[1]! as Vcpu;
    expect(servers.send(vcpu, server, request({ type: abi.IOREQ_TYPE_COPY, addr: 0xf000_0010, size: 4, isRead: true }))).toBe(true);
    const page = bench.dom0.page(60 as Gfn);
    const slot = ioreq.decode('x86_64', page.bytes(32, 32));
    expect(slot).toMatchObject({ addr: 0xf000_0010n, size: 4, count: 1, type: abi.IOREQ_TYPE_COPY, vp_eport: server.vcpuPorts[1] });
    expect(slot.$bits).toEqual({ state: STATE_IOREQ_READY, data_is_ptr: false, dir: true, df: false });
    expect(servers.takeResponse(vcpu, server)).toBe(false);
    page.setU64(32 + ioreq.offset('data', 'x86_64'), 0x1122_3344n);
    page.setU8(32 + ioreq.offset('$bits', 'x86_64'), STATE_IORESP_READY | 32);
    expect(servers.takeResponse(vcpu, server)).toBe(true);
    expect(servers.dataLo).toBe(0x1122_3344);
    page.setU8(32 + ioreq.offset('$bits', 'x86_64'), 2);
    expect(servers.send(vcpu, server, request({}))).toBe(false);
    expect(domain.crashReason).toContain('bad IO state');
  });

  it('has its pages taken out of the guest while it is enabled, and put back after', () => {
    for (const [index, v] of [
      [abi.HVM_PARAM_IOREQ_SERVER_PFN, 10n],
      [abi.HVM_PARAM_NR_IOREQ_SERVER_PAGES, 2n],
    ] as const)
      param(bench.dom0, HVMOP_set_param, index, v, domain.id);
    const id = create();
    const info = dm(abi.XEN_DMOP_get_ioreq_server_info, abi.xen_dm_op_get_ioreq_server_info, { id, flags: 0 }).out;
    expect([info.ioreq_gfn, info.bufioreq_gfn]).toEqual([10, 11]);
    const mfn = domain.p2m.mfn(10 as Gfn);
    enable(id, 1);
    expect(domain.p2m.type(10 as Gfn)).toBe(P2M_TYPES.invalid);
    enable(id, 0);
    expect(domain.p2m.mfn(10 as Gfn)).toBe(mfn);
    dm(abi.XEN_DMOP_destroy_ioreq_server, abi.xen_dm_op_destroy_ioreq_server, { id });
    expect(enable(id, 1)).toBe(-XEN_ENOENT);
  });

  it('takes buffered writes up to 511, in 20 bits of address', () => {
    param(bench.dom0, HVMOP_set_param, abi.HVM_PARAM_IOREQ_PFN, 10n, domain.id);
    param(bench.dom0, HVMOP_set_param, abi.HVM_PARAM_BUFIOREQ_PFN, 11n, domain.id);
    const id = create();
    dm(abi.XEN_DMOP_get_ioreq_server_info, abi.xen_dm_op_get_ioreq_server_info, { id, flags: 0 });
    const mfn = domain.p2m.mfn(11 as Gfn);
    const servers = domain.hvm!.ioreqServers!;
    const server = servers.get(id, bench.hv.hardwareDomain!);
    if (typeof server === 'number') throw new Error('no server');
    const write = (addr: number, size = 1) =>
      servers.sendBuffered(server, request({ type: abi.IOREQ_TYPE_COPY, addr, size, dataLo: 0x55 }));
    expect(write(0x10_0000)).toBe(false);
    for (let i = 0; i < 511; i++) expect(write(0xa_0000 + i)).toBe(true);
    expect(write(0xa_0000)).toBe(false);
    const word = bench.hv.ram.read32((mfn * 4096 + 8 + 8 * 3) as Maddr);
    expect(word >>> 0).toBe(((0xa_0003 << 12) | 1) >>> 0);
  });

  it.each<[number, AnyStruct, object, unknown[]]>([
    [abi.XEN_DMOP_set_pci_intx_level, abi.xen_dm_op_set_pci_intx_level, { device: 3, intx: 1, level: 1 }, ['setPciIntx', 3, 1, true]],
    [abi.XEN_DMOP_set_isa_irq_level, abi.xen_dm_op_set_isa_irq_level, { isa_irq: 14, level: 0 }, ['setIsaIrq', 14, false]],
    [abi.XEN_DMOP_set_pci_link_route, abi.xen_dm_op_set_pci_link_route, { link: 2, isa_irq: 5 }, ['setPciLinkRoute', 2, 5]],
    [abi.XEN_DMOP_inject_msi, abi.xen_dm_op_inject_msi, { addr: 0xfee0_1000n, data: 0x41 }, ['injectMsi', 0xfee0_1000, 0, 0x41]],
  ])('operation %i reaches hvm/', (nr, codec, a, expected) => {
    expect(dm(nr, codec, a).rc).toBe(0);
    expect(calls.at(-1)).toEqual([expected[0], domain.id, ...expected.slice(1)]);
  });

  it('changes memory types as p2m_change_type allows, and hvm/ hears of it', () => {
    const set = (mem_type: number, first_pfn: number, nr = 1) =>
      dm(abi.XEN_DMOP_set_mem_type, abi.xen_dm_op_set_mem_type, { mem_type, first_pfn, nr }).rc;
    expect(set(abi.HVMMEM_ram_ro, 20, 2)).toBe(0);
    expect(calls.filter((call) => call[0] === 'p2mChanged')).toEqual([
      ['p2mChanged', domain.id, 20, P2M_TYPES.ram_rw],
      ['p2mChanged', domain.id, 21, P2M_TYPES.ram_rw],
    ]);
    expect(set(abi.HVMMEM_ram_rw, 0x500)).toBe(-XEN_EINVAL);
    expect(set(abi.HVMMEM_unused, 20)).toBe(-XEN_EINVAL);
    // Nobody takes the writes.
    expect(set(abi.HVMMEM_ioreq_server, 22)).toBe(-XEN_EINVAL);
    const id = create();
    const map = { id, type: abi.HVMMEM_ioreq_server, flags: abi.XEN_DMOP_IOREQ_MEM_ACCESS_WRITE };
    expect(dm(abi.XEN_DMOP_map_mem_type_to_ioreq_server, abi.xen_dm_op_map_mem_type_to_ioreq_server, map).rc).toBe(0);
    expect(set(abi.HVMMEM_ioreq_server, 22)).toBe(0);
    expect(domain.p2m.type(22 as Gfn)).toBe(P2M_TYPES.ioreq_server);
  });
});
