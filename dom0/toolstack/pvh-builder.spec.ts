// A PVH domain built through hypercalls, against the hypervisor itself with hooks of hvm/ that only take notes; what the kernel would find
// is read back from guest memory, from EBX on.
import * as abi from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import type { HvmCpuState } from '../../hypervisor/core/hvm-hooks.ts';
import type { Gfn, Maddr } from '../../hypervisor/core/ids.ts';
import { createBench, recordingHvm } from '../../hypervisor/core/testing.ts';
import { Hypercalls } from '../kernel/hypercall.ts';
import { Privcmd } from '../kernel/privcmd.ts';
import { gzipNode } from './decompress/gzip-node.ts';
import { decompressorsWith } from './decompress/index.ts';
import { ramLayout } from './hvm-domain.ts';
import { buildPvhDomain, type PvhDomainSpec } from './pvh-builder.ts';
import { type TinyElf, tinyElf } from './testing/tiny-elf.ts';

const pattern = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);
const KERNEL: TinyElf = {
  bits: 64,
  segments: [
    { paddr: 0x100000, vaddr: -0x7ff00000, data: pattern(0x1800, 1) },
    { paddr: 0x102800, vaddr: 0, data: pattern(0x900, 2), memsz: 0x2000 },
  ],
  notes: { PHYS32_ENTRY: 0x100040 },
};
const RAMDISK = pattern(10_000, 5);
const text = (bytes: Uint8Array) => String.fromCharCode(...bytes);

function build(more: Partial<PvhDomainSpec> = {}, kernel: TinyElf = KERNEL) {
  const calls: unknown[][] = [];
  let state: HvmCpuState | undefined;
  const hvm = recordingHvm(calls, {
    loadCpu: (_hv, _v, s) => {
      state = s;
      return 0;
    },
  });
  const bench = createBench({ hvm, ramBytes: 64 * 2 ** 20 });
  const privcmd = new Privcmd(new Hypercalls(bench.dom0, 64));
  const spec: PvhDomainSpec = {
    kernel: { file: '/boot/vmlinuz', bytes: tinyElf(kernel) },
    ramdisk: { file: '/boot/initrd', bytes: RAMDISK },
    cmdline: 'console=hvc0 quiet',
    memoryMiB: 16,
    vcpus: 3,
    online: 2,
    uuid: pattern(16, 9),
    hap: null,
    outOfSync: true,
    acpi: true,
    ...more,
  };
  const built = buildPvhDomain(privcmd, spec, decompressorsWith(gzipNode));
  const domain = bench.hv.domain(built.domid)!;
  const read = (gpa: number, length: number): Uint8Array => {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++)
      out[i] = bench.hv.ram.read8((domain.p2m.mfn(Math.floor((gpa + i) / 4096) as Gfn) * 4096 + ((gpa + i) % 4096)) as Maddr);
    return out;
  };
  const info = abi.hvm_start_info.decode('x86_64', read(Number(state!.rbx), 56));
  return { bench, built, domain, state: state!, read, info, calls };
}

describe('a PVH domain', () => {
  const t = build();

  it('starts vCPU 0 at the kernel\u2019s PVH entry, in flat protected mode without paging', () => {
    expect(t.state).toMatchObject({ rip: 0x100040n, cr0: 0x11n, cr4: 0n, msr_efer: 0n, rflags: 2n, cs_limit: 0xffff_ffff, tr_limit: 0x67 });
    // Rights as the machine has them: granularity and size in bits 15 and 14.
    expect([t.state.cs_arbytes, t.state.ds_arbytes, t.state.ss_arbytes, t.state.tr_arbytes]).toEqual([0xc09b, 0xc093, 0xc093, 0x8b]);
    const [v0, v1] = t.domain.vcpus;
    expect([v0!.isInitialised, v0!.isDown, v1!.isInitialised, v1!.isDown]).toEqual([true, false, false, true]);
  });

  it('has the kernel at its physical addresses, and EBX at start info of version 1', () => {
    expect(t.read(0x100000, 0x1800)).toEqual(pattern(0x1800, 1));
    expect(t.read(0x102800, 0x902)).toEqual(new Uint8Array([...pattern(0x900, 2), 0, 0]));
    expect(t.info).toMatchObject({ magic: abi.XEN_HVM_START_MAGIC_VALUE, version: 1, flags: 0, nr_modules: 1, reserved: 0 });
    expect(text(t.read(t.info.cmdline_paddr, 19))).toBe('console=hvc0 quiet\0');
    const module = abi.hvm_modlist_entry.decode('x86_64', t.read(t.info.modlist_paddr, 32));
    expect(module.size).toBe(RAMDISK.length);
    expect(t.read(module.paddr, RAMDISK.length)).toEqual(RAMDISK);
  });

  it('is told the same memory map by start info and by XENMEM_memory_map', () => {
    const entries = Array.from({ length: t.info.memmap_entries }, (_, i) =>
      abi.hvm_memmap_table_entry.decode('x86_64', t.read(t.info.memmap_paddr + i * 24, 24)),
    );
    expect(entries.map((e) => [e.addr, e.size, e.type])).toEqual([
      [0, 16 * 2 ** 20, abi.XEN_HVM_MEMMAP_TYPE_RAM],
      [0xfc00_0000, 4096, abi.XEN_HVM_MEMMAP_TYPE_ACPI],
      [0xfeff_8000, 8 * 4096, abi.XEN_HVM_MEMMAP_TYPE_RESERVED],
    ]);
    const e820 = new DataView(t.domain.e820!.buffer);
    expect(
      entries.map((_, i) => [
        Number(e820.getBigUint64(i * 20, true)),
        Number(e820.getBigUint64(i * 20 + 8, true)),
        e820.getUint32(i * 20 + 16, true),
      ]),
    ).toEqual(entries.map((e) => [e.addr, e.size, e.type]));
  });

  it('finds ACPI tables with sound checksums: FADT, and a MADT with every other APIC ID and the vCPUs that are online', () => {
    const sum = (bytes: Uint8Array) => bytes.reduce((s, b) => (s + b) & 0xff, 0);
    const view = (bytes: Uint8Array) => new DataView(bytes.buffer);
    const tableAt = (at: number): Uint8Array => {
      const bytes = t.read(at, view(t.read(at, 8)).getUint32(4, true));
      expect(sum(bytes)).toBe(0);
      return bytes;
    };
    const rsdp = t.read(t.info.rsdp_paddr, 36);
    expect([text(rsdp.subarray(0, 8)), rsdp[15], sum(rsdp.subarray(0, 20)), sum(rsdp)]).toEqual(['RSD PTR ', 2, 0, 0]);
    const xsdt = tableAt(view(rsdp).getUint32(24, true));
    const tables = Array.from({ length: (xsdt.length - 36) / 8 }, (_, i) => tableAt(view(xsdt).getUint32(36 + i * 8, true)));
    expect(tables.map((b) => text(b.subarray(0, 4)))).toEqual(['FACP', 'APIC']);
    const [fadt, madt] = tables as [Uint8Array, Uint8Array];
    expect(text(tableAt(view(fadt).getUint32(140, true)).subarray(0, 4))).toBe('DSDT');
    expect(text(t.read(view(fadt).getUint32(36, true), 4))).toBe('FACS');
    const lapics = Array.from({ length: 3 }, (_, i) => [...madt.subarray(44 + i * 8, 52 + i * 8)]);
    expect(lapics).toEqual([
      [0, 8, 0, 0, 1, 0, 0, 0],
      [0, 8, 1, 2, 1, 0, 0, 0],
      [0, 8, 2, 4, 0, 0, 0, 0],
    ]);
  });

  it('reads its rings and ports from HVM parameters, and grants the rings to dom0', () => {
    const value = (index: number) => Number(t.domain.hvm!.params[index]);
    expect([value(abi.HVM_PARAM_STORE_PFN), value(abi.HVM_PARAM_CONSOLE_PFN)]).toEqual([0xfeffc, 0xfefff]);
    expect([value(abi.HVM_PARAM_STORE_EVTCHN), value(abi.HVM_PARAM_CONSOLE_EVTCHN)]).toEqual([t.built.store.port, t.built.console.port]);
    const identity = new DataView(t.read(value(abi.HVM_PARAM_IDENT_PT), 4096).buffer);
    expect([0, 1, 1023].map((i) => identity.getUint32(i * 4, true))).toEqual([0xe7, 0x4000e7, 0xffc000e7]);
    const table = t.domain.grants.sharedFrame(0, false) * 4096;
    const entry = (ref: number) => [
      t.bench.hv.ram.read16((table + ref * 8) as Maddr),
      t.bench.hv.ram.read32((table + ref * 8 + 4) as Maddr),
    ];
    expect([entry(abi.GNTTAB_RESERVED_CONSOLE), entry(abi.GNTTAB_RESERVED_XENSTORE)]).toEqual([
      [abi.GTF_permit_access, 0xfefff],
      [abi.GTF_permit_access, 0xfeffc],
    ]);
    // The place where dom0 wrote it is empty again.
    expect(t.domain.p2m.mfn(0xffffe as Gfn)).toBe(-1);
    expect(t.domain.totPages).toBe(16 * 256 + 8 + 1);
  });

  it('goes without ACPI, without a ramdisk, and with shadow paging where it is asked for', () => {
    const plain = build({ acpi: false, ramdisk: undefined as never, hap: false });
    expect(plain.info).toMatchObject({ rsdp_paddr: 0, nr_modules: 0, modlist_paddr: 0 });
    expect(plain.domain.hvm!.isHap).toBe(false);
    expect(t.domain.hvm!.isHap).toBe(true);
    expect(t.domain.hvm!.emulationFlags).toBe(abi.XEN_X86_EMU_LAPIC);
  });

  it('has RAM that finds no room below the hole from 4 GiB up', () => {
    expect(ramLayout(1024, 0xf000_0000)).toEqual({ lowEnd: 0x40000, highEnd: 0x100000 });
    expect(ramLayout(4096, 0xf000_0000)).toEqual({ lowEnd: 0xf0000, highEnd: 0x110000 });
  });

  it.each<[string, Partial<PvhDomainSpec>, TinyElf]>([
    ['has no PVH entry', {}, { ...KERNEL, notes: {} }],
    ['needs memory up to 2 MiB, and the domain has 1', { memoryMiB: 1 }, KERNEL],
    ['have no room for the ramdisk', { memoryMiB: 2, ramdisk: { file: 'r', bytes: new Uint8Array(2 ** 20) } }, KERNEL],
    ['neither an ELF image nor', { kernel: { file: 'k', bytes: pattern(4096, 0) } }, KERNEL],
    ['the kernel file is empty', { kernel: { file: 'k', bytes: new Uint8Array(0) } }, KERNEL],
  ])('says what is wrong: %s', (message, more, kernel) => {
    expect(() => build(more, kernel)).toThrow(message);
  });
});
