import { gzipSync } from 'node:zlib';
import * as abi from '@ringworld/abi';

import { describe, expect, it } from 'vitest';
import { Hypercalls } from '../kernel/hypercall.ts';
import { Privcmd } from '../kernel/privcmd.ts';
import { gzipNode } from './decompress/gzip-node.ts';
import { decompressorsWith } from './decompress/index.ts';
import { buildPvDomain, type PvDomainSpec } from './domain-builder.ts';
import { type FakeDomain, type FakeOptions, FakeXen } from './testing/fake-xen.ts';
import { PV64_NOTES, type TinyElf, tinyElf } from './testing/tiny-elf.ts';

const decompressors = decompressorsWith(gzipNode);
const pattern = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);

/** A 64-bit kernel with two segments, one with a zeroed tail, as Linux asks to be built. */
const LINUX_LIKE: TinyElf = {
  bits: 64,
  segments: [
    { paddr: 0x100000, vaddr: -0x7ff00000, data: pattern(0x1800, 1) },
    { paddr: 0x102800, vaddr: 0, data: pattern(0x900, 2), memsz: 0x2000 },
  ],
  notes: { ...PV64_NOTES, INIT_P2M: 0x8000000000, MOD_START_PFN: 1, HYPERCALL_PAGE: -0x7fefd000 },
};
const PAE: TinyElf = {
  bits: 32,
  segments: [{ paddr: 0x100000, vaddr: 0xc0100000, data: pattern(0x2345, 3) }],
  notes: { XEN_VERSION: 'xen-3.0', GUEST_OS: 'test', LOADER: 'generic', PAE_MODE: 'yes', VIRT_BASE: 0xc0000000, ENTRY: 0xc0100010 },
};

const specOf = (elf: TinyElf, more: Partial<PvDomainSpec> = {}): PvDomainSpec => ({
  kernel: { file: '/boot/vmlinuz', bytes: tinyElf(elf) },
  cmdline: 'console=hvc0 quiet',
  memoryMiB: 33,
  vcpus: 2,
  uuid: pattern(16, 9),
  ...more,
});

function build(spec: PvDomainSpec, options: FakeOptions = {}) {
  const xen = new FakeXen(256, options);
  const built = buildPvDomain(new Privcmd(new Hypercalls(xen, 256)), spec, decompressors);
  const dom = xen.domains.get(built.domid)!;
  const is64 = dom.addressSize === 64;
  const arch = is64 ? ('x86_64' as const) : ('x86_32' as const);
  const mfnOf = new Map([...dom.m2p].map(([mfn, pfn]) => [pfn, mfn]));
  const view = (mfn: number) => new DataView(xen.frame(mfn).buffer, xen.frame(mfn).byteOffset, 4096);
  const root = mfnOf.get(built.layout.pageTables.pfn)!;

  /** An independent page walk: the entry that maps `va`, or null. */
  const walk = (va: number): { mfn: number; writable: boolean } | null => {
    let table = root;
    let writable = true;
    for (let level = is64 ? 3 : 2; level >= 0; level--) {
      const index = Number((BigInt.asUintN(48, BigInt(va)) >> BigInt(12 + 9 * level)) & 511n);
      const entry = view(table).getBigUint64(index * 8, true);
      if ((entry & 1n) === 0n) return null;
      writable &&= (entry & 2n) !== 0n;
      table = Number(entry >> 12n);
      if (!dom.m2p.has(table)) throw new Error(`entry points at frame ${table}, which is not the domain's`);
    }
    return { mfn: table, writable };
  };
  const bytesAt = (va: number, length: number): Uint8Array => {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) out[i] = xen.frame(walk(va + i)!.mfn)[(va + i) & 0xfff]!;
    return out;
  };
  const startInfo = () => {
    const context = dom.vcpuContext!;
    const regs = is64
      ? abi.xen_x86_64.vcpu_guest_context.decode('x86_64', context).user_regs.rsi
      : BigInt(abi.xen_x86_32.vcpu_guest_context.decode('x86_32', context).user_regs.esi);
    const va = Number(BigInt.asIntN(64, regs));
    return abi.start_info.decode(arch, bytesAt(va, abi.start_info.size(arch)));
  };
  return { xen, built, dom, mfnOf, walk, bytesAt, startInfo, root, view };
}

const linkedPages = (dom: FakeDomain) => [...dom.m2p.values()].sort((a, b) => a - b);

describe('a 64-bit PV domain', () => {
  const ramdisk = { file: '/boot/initrd', bytes: pattern(10_000, 5) };
  const t = build(specOf(LINUX_LIKE, { ramdisk }));
  const base = -0x80000000;

  it('is created, limited and given its memory before anything is loaded', () => {
    expect(t.xen.calls.slice(0, 9)).toEqual([
      'XENVER_capabilities',
      'XEN_DOMCTL_createdomain',
      'XEN_DOMCTL_max_vcpus',
      'XEN_DOMCTL_max_mem',
      'XENMEM_set_memory_map',
      'EVTCHNOP_alloc_unbound',
      'EVTCHNOP_alloc_unbound',
      'XEN_DOMCTL_set_address_size',
      'XENMEM_populate_physmap',
    ]);
    expect(t.dom).toMatchObject({ addressSize: 64, maxVcpus: 2, maxMemKb: 33 * 1024 + 1024 });
    expect(t.dom.created).toMatchObject({ max_vcpus: 2, handle: pattern(16, 9), max_grant_frames: 64 });
    expect(linkedPages(t.dom)).toEqual(Array.from({ length: 33 * 256 }, (_, i) => i));
    const map = new DataView(t.dom.memoryMap.buffer);
    expect([map.getBigUint64(0, true), map.getBigUint64(8, true), map.getUint32(16, true)]).toEqual([0n, BigInt(33 << 20), 1]);
  });

  it('has its kernel where the segments say, zeros between and behind', () => {
    const expected = new Uint8Array(0x5000);
    expected.set(pattern(0x1800, 1), 0);
    expected.set(pattern(0x900, 2), 0x2800);
    expect(Buffer.from(t.bytesAt(base + 0x100000, 0x5000)).equals(expected)).toBe(true);
  });

  it('maps everything up to a 4 MiB boundary, in order, page tables read-only', () => {
    const { layout } = t.built;
    const end = t.built.layout.mappings[0]!.to + 1 - 0xffff80000000;
    expect(end % (4 << 20)).toBe(0);
    for (let pfn = 0; pfn < end / 4096; pfn++) {
      const isTable = pfn >= layout.pageTables.pfn && pfn < layout.pageTables.pfn + layout.pageTables.pages;
      expect(t.walk(base + pfn * 4096)).toEqual({ mfn: t.mfnOf.get(pfn), writable: !isTable });
    }
    expect(t.walk(base + end)).toBeNull();
    expect(t.walk(base - 4096)).toBeNull();
    // At least 512 KiB of room behind the last page in use.
    expect(end / 4096 - layout.bootStackPfn).toBeGreaterThanOrEqual(128);
  });

  it('finds itself described in start_info', () => {
    const { layout } = t.built;
    expect(t.startInfo()).toMatchObject({
      magic: 'xen-3.0-x86_64',
      nr_pages: 33 * 256,
      shared_info: t.dom.sharedInfo * 4096,
      flags: abi.SIF_MOD_START_PFN | abi.SIF_VIRT_P2M_4TOOLS,
      store_mfn: t.mfnOf.get(layout.xenstorePfn),
      store_evtchn: 1,
      console: { domU: { mfn: t.mfnOf.get(layout.consolePfn), evtchn: 2 } },
      pt_base: base + layout.pageTables.pfn * 4096,
      nr_pt_frames: layout.pageTables.pages,
      mfn_list: 0x8000000000,
      mod_start: layout.ramdisk!.pfn,
      mod_len: 3 * 4096,
      cmd_line: 'console=hvc0 quiet',
      first_p2m_pfn: layout.p2m.pfn,
      nr_p2m_frames: layout.p2m.pages,
    });
    expect(layout.xenstorePfn).toBe(layout.startInfoPfn + 1);
    expect(layout.consolePfn).toBe(layout.startInfoPfn + 2);
    expect(t.built.console).toEqual({ mfn: t.mfnOf.get(layout.consolePfn), port: 2 });
  });

  it('has its p2m list at INIT_P2M, and the ramdisk behind the initial mapping', () => {
    const { layout } = t.built;
    for (const pfn of [0, 1, 511, 512, 4096, 33 * 256 - 1]) {
      const entry = new DataView(t.bytesAt(0x8000000000 + pfn * 8, 8).buffer).getBigUint64(0, true);
      expect(Number(entry)).toBe(t.mfnOf.get(pfn));
    }
    expect(layout.ramdisk!.pfn * 4096 + 0xffff80000000).toBe(layout.mappings[0]!.to + 1);
    const first = t.xen.frame(t.mfnOf.get(layout.ramdisk!.pfn)!);
    expect(Buffer.from(first).equals(ramdisk.bytes.subarray(0, 4096))).toBe(true);
    const last = t.xen.frame(t.mfnOf.get(layout.ramdisk!.pfn + 2)!);
    expect(Buffer.from(last).equals(Buffer.concat([ramdisk.bytes.subarray(8192), new Uint8Array(12_288 - 10_000)]))).toBe(true);
  });

  it('starts vCPU 0 at the entry, with stack, start_info and page tables', () => {
    const c = abi.xen_x86_64.vcpu_guest_context.decode('x86_64', t.dom.vcpuContext!);
    const stack = BigInt.asUintN(64, BigInt(base + (t.built.layout.bootStackPfn + 1) * 4096));
    expect(c.user_regs).toMatchObject({ rip: 0xffffffff80100000n, rsp: stack, rflags: 0x200n, cs: 0xe033, ss: 0xe02b, ds: 0, gs: 0 });
    expect(c).toMatchObject({ flags: abi.VGCF_in_kernel | abi.VGCF_online, kernel_ss: 0xe02b, gdt_ents: 0 });
    expect(c.ctrlreg[3]).toBe(BigInt(t.root) << 12n);
    expect([c.debugreg[6], c.debugreg[7]]).toEqual([0xffff0ff0n, 0x400n]);
  });

  it('is pinned, with masked events, seeded grants and a hypercall page, and nothing of it stays mapped in dom0', () => {
    expect(t.dom.pinned).toEqual([{ cmd: abi.MMUEXT_PIN_L4_TABLE, frame: t.root }]);
    expect(t.dom.hypercallPages).toEqual([t.mfnOf.get(0x103)]);
    const shared = t.xen.frame(t.dom.sharedInfo);
    expect(Array.from({ length: 32 }, (_, i) => shared[i * 64 + 1])).toEqual(new Array(32).fill(1));
    expect(shared.filter((b) => b !== 0)).toHaveLength(32);
    const grants = new Uint32Array(t.xen.frame(t.dom.grantFrame).slice().buffer);
    expect([...grants.subarray(0, 4)]).toEqual([1, t.mfnOf.get(t.built.layout.consolePfn), 1, t.mfnOf.get(t.built.layout.xenstorePfn)]);
    expect(t.xen.mappedForeign).toBe(0);
  });

  it('gets a gzipped ramdisk unpacked, as xl does', () => {
    const plain = pattern(20_000, 4);
    const z = build(specOf(LINUX_LIKE, { ramdisk: { file: 'i', bytes: new Uint8Array(gzipSync(plain)) } }));
    expect(z.startInfo().mod_len).toBe(20_480);
    expect(z.xen.frame(z.mfnOf.get(z.built.layout.ramdisk!.pfn)!)[4095]).toBe(plain[4095]);
  });

  it('without INIT_P2M and MOD_START_PFN has ramdisk and p2m list inside the initial mapping', () => {
    const old = build(specOf({ ...LINUX_LIKE, notes: PV64_NOTES }, { ramdisk }));
    const { layout } = old.built;
    const s = old.startInfo();
    expect(layout.mappings).toHaveLength(1);
    expect(s).toMatchObject({ flags: abi.SIF_VIRT_P2M_4TOOLS, first_p2m_pfn: 0, nr_p2m_frames: 0, mfn_list: base + layout.p2m.pfn * 4096 });
    expect(s.mod_start).toBe(base + layout.ramdisk!.pfn * 4096);
    expect(Buffer.from(old.bytesAt(s.mod_start, 10_000)).equals(ramdisk.bytes)).toBe(true);
    expect([layout.kernel.pfn + layout.kernel.pages, layout.ramdisk!.pfn + layout.ramdisk!.pages]).toEqual([
      layout.ramdisk!.pfn,
      layout.p2m.pfn,
    ]);
    const entry = new DataView(old.bytesAt(s.mfn_list + 5000 * 8, 8).buffer).getBigUint64(0, true);
    expect(Number(entry)).toBe(old.mfnOf.get(5000));
    expect(old.dom.hypercallPages).toEqual([]);
  });
});

describe('a 32-bit PAE domain', () => {
  const t = build(specOf(PAE));

  it('has three levels of tables, one of them for the hypervisor, pinned as such', () => {
    expect(t.dom.addressSize).toBe(32);
    expect(t.dom.pinned).toEqual([{ cmd: abi.MMUEXT_PIN_L3_TABLE, frame: t.root }]);
    expect(Buffer.from(t.bytesAt(0xc0100000, 0x2345)).equals(pattern(0x2345, 3))).toBe(true);
    const l3 = t.view(t.root);
    expect([0, 1, 2, 3].map((i) => l3.getUint32(i * 8, true) & 1)).toEqual([0, 0, 0, 1]);
    for (let pfn = t.built.layout.pageTables.pfn, i = 0; i < t.built.layout.pageTables.pages; i++)
      expect(t.walk(0xc0000000 + (pfn + i) * 4096)?.writable).toBe(false);
  });

  it('finds its p2m in 32-bit entries and itself in start_info', () => {
    const s = t.startInfo();
    expect(s).toMatchObject({
      magic: 'xen-3.0-x86_32p',
      nr_pages: 33 * 256,
      cmd_line: 'console=hvc0 quiet',
      store_evtchn: 1,
      mod_start: 0,
    });
    const entry = new DataView(t.bytesAt(s.mfn_list + 4242 * 4, 4).buffer).getUint32(0, true);
    expect(entry).toBe(t.mfnOf.get(4242));
  });

  it('starts in ring 1 segments with the extended cr3 its notes imply', () => {
    const c = abi.xen_x86_32.vcpu_guest_context.decode('x86_32', t.dom.vcpuContext!);
    expect(c.user_regs).toMatchObject({ eip: 0xc0100010, cs: 0xe019, ss: 0xe021, ds: 0xe021, gs: 0xe021, eflags: 0x200 });
    expect(c.ctrlreg[3]).toBe(BigInt(abi.xen_x86_32.xen_pfn_to_cr3(t.root)));
    expect(c.vm_assist).toBe(8n);
  });

  it('gets an L2 table for the hypervisor even if its kernel lies lower', () => {
    const low = build(
      specOf({ ...PAE, segments: [{ ...PAE.segments[0]!, paddr: 0x100000 }], notes: { ...PAE.notes, VIRT_BASE: 0, ENTRY: 0x100000 } }),
    );
    const l3 = low.view(low.root);
    expect([0, 1, 2, 3].map((i) => l3.getUint32(i * 8, true) & 1)).toEqual([1, 1, 1, 1]);
  });
});

describe('the L3 table of a PAE kernel', () => {
  const plainYes: TinyElf = {
    bits: 32,
    entry: 0xc0100000,
    segments: [{ paddr: 0xc0100000, vaddr: 0xc0100000, data: pattern(64, 3) }],
    xenGuest: 'GUEST_OS=linux,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,PAE=yes,LOADER=generic',
  };
  const high = { firstFrame: 0x100000 };

  it('is moved below 4 GiB when the kernel does not know the extended cr3', () => {
    const t = build(specOf(plainYes), high);
    expect(t.root).toBeLessThan(0x100000);
    const c = abi.xen_x86_32.vcpu_guest_context.decode('x86_32', t.dom.vcpuContext!);
    expect(c.ctrlreg[3]).toBe(BigInt(t.root * 4096));
    expect(c.vm_assist).toBe(0n);
    expect(t.walk(0xc0100000)?.mfn).toBe(t.mfnOf.get(0x100));
    const entry = new DataView(t.bytesAt(t.startInfo().mfn_list + t.built.layout.pageTables.pfn * 4, 4).buffer).getUint32(0, true);
    expect(entry).toBe(t.root);
  });

  it('stays where it is when the kernel does', () => {
    const t = build(specOf(PAE), high);
    expect(t.root).toBeGreaterThanOrEqual(0x100000);
    const c = abi.xen_x86_32.vcpu_guest_context.decode('x86_32', t.dom.vcpuContext!);
    expect(abi.xen_x86_32.xen_cr3_to_pfn(Number(c.ctrlreg[3]))).toBe(t.root);
  });
});

describe('a domain that cannot be built', () => {
  const message = (spec: PvDomainSpec, options: FakeOptions = {}) => {
    try {
      build(spec, options);
    } catch (e) {
      return (e as Error).message;
    }
    return 'built';
  };

  it('says what is too little, missing or refused, by name', () => {
    expect(message(specOf(LINUX_LIKE, { memoryMiB: 3 }))).toBe(
      'memory: 3 MiB are too little for /boot/vmlinuz: with its initial mapping it takes 4 MiB',
    );
    expect(message(specOf(LINUX_LIKE, { memoryMiB: 4, ramdisk: { file: 'i', bytes: new Uint8Array(5 << 20) } }))).toMatch(
      /with its ramdisk it takes 9 MiB/,
    );
    expect(message(specOf(PAE), { capabilities: 'xen-3.0-x86_64' })).toMatch(
      /vmlinuz: this hypervisor does not run xen-3.0-x86_32p kernels/,
    );
    expect(message(specOf(LINUX_LIKE), { freePages: 1024 })).toBe('memory: the machine has only 4 MiB free of the 33 MiB asked for');
    expect(message(specOf(LINUX_LIKE, { cmdline: 'x'.repeat(1024) }))).toMatch(/command line: 1024 characters/);
    expect(message(specOf(LINUX_LIKE, { ramdisk: { file: '/boot/initrd', bytes: new Uint8Array(0) } }))).toBe(
      '/boot/initrd: the ramdisk file is empty',
    );
  });

  it('leaves no domain behind', () => {
    const xen = new FakeXen(256, { freePages: 1024 });
    expect(() => buildPvDomain(new Privcmd(new Hypercalls(xen, 256)), specOf(LINUX_LIKE), decompressors)).toThrow(/free/);
    expect(xen.domains.get(1)?.destroyed).toBe(true);
    expect(xen.mappedForeign).toBe(0);
  });
});

it('the layout of Debian 6.1 in 256 MiB is the one real Xen printed: ramdisk at 0x04000000', () => {
  const cloud: TinyElf = {
    bits: 64,
    segments: [{ paddr: 0x1000000, vaddr: -0x7f000000, data: new Uint8Array(16), memsz: 0x2e00000 }],
    notes: { ...LINUX_LIKE.notes, ENTRY: -0x7cfb1e40, HYPERCALL_PAGE: -0x7f000000 },
  };
  const t = build(specOf(cloud, { memoryMiB: 256, ramdisk: { file: 'i', bytes: new Uint8Array(0x1e4001) } }));
  expect(t.built.layout.ramdisk).toMatchObject({ pfn: 0x4000, pages: 0x1e5 });
});
