// Cores of PV domains in both widths, on the real hypervisor, read back by the format's own description (docs/misc/dump-core-format.txt),
// and by readelf where there is one.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Domid,
  XEN_DOMCTL_getdomaininfo,
  XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION,
  XEN_ELFNOTE_DUMPCORE_HEADER,
  XEN_ELFNOTE_DUMPCORE_NONE,
  XEN_ELFNOTE_DUMPCORE_XEN_VERSION,
  xen_domctl_getdomaininfo,
} from '@ringworld/abi';
import { buildHello32, buildHello64 } from '@ringworld/guests';
import { createDom0, createHypervisor, createMachine } from '@ringworld/hypervisor';
import { describe, expect, it, test } from 'vitest';
import { Hypercalls } from '../kernel/hypercall.ts';
import { Privcmd } from '../kernel/privcmd.ts';
import { gzipNode } from './decompress/gzip-node.ts';
import { decompressorsWith } from './decompress/index.ts';
import { buildPvDomain } from './domain-builder.ts';
import { dumpCore, XC_CORE_INVALID, XC_CORE_MAGIC, xen_dumpcore_elfnote_header_desc, xen_dumpcore_p2m } from './dump-core.ts';
import { type ElfImage, parseElf, parseNotes } from './elf.ts';
import { contextSize } from './pv-context.ts';
import { readVcpuContext } from './save-pv.ts';
import { type PublishedP2m, publishP2m } from './testing/publish-p2m.ts';

const DOM0_PAGES = 1024;
const MIB = 4;
const KERNELS = { 64: buildHello64(), 32: buildHello32() };

interface Built {
  readonly privcmd: Privcmd;
  readonly domid: Domid;
  readonly info: ReturnType<typeof infoOf>;
}

const infoOf = (privcmd: Privcmd, dom: Domid) => privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, dom, xen_domctl_getdomaininfo, {}).out;

/** A domain that has not run yet; `lie`: what it says of its table of frames. Null: nothing. */
function built(bits: 32 | 64, lie: PublishedP2m['lie'] | null = {}): Built {
  const hv = createHypervisor({ machine: createMachine({ ramBytes: 64 << 20, cpus: 1, engine: 'interp' }) });
  const { port } = createDom0(hv, { pages: DOM0_PAGES });
  const privcmd = new Privcmd(new Hypercalls(port, DOM0_PAGES));
  const kernel = { file: 'hello', bytes: KERNELS[bits] };
  const { domid } = buildPvDomain(
    privcmd,
    { kernel, cmdline: '', memoryMiB: MIB, vcpus: 1, uuid: new Uint8Array(16) },
    decompressorsWith(gzipNode),
  );
  if (lie !== null) publishP2m(privcmd, { domid, kernel: kernel.bytes, memoryMiB: MIB, lie });
  return { privcmd, domid, info: infoOf(privcmd, domid) };
}

function core({ privcmd, domid }: Pick<Built, 'privcmd' | 'domid'>): Uint8Array {
  return new Uint8Array(Buffer.concat([...dumpCore(privcmd, domid, 'hello')]));
}

function section(elf: ElfImage, name: string): Uint8Array {
  const found = elf.sections.find((s) => s.name === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found.data;
}

function entries(elf: ElfImage): { readonly pfn: number; readonly gmfn: number }[] {
  const table = section(elf, '.xen_p2m');
  const view = new DataView(table.buffer, table.byteOffset);
  return Array.from({ length: table.length / 16 }, (_, i) => xen_dumpcore_p2m.read(view, i * 16, 'x86_64'));
}

const page = (elf: ElfImage, i: number): Uint8Array => section(elf, '.xen_pages').subarray(i * 4096, (i + 1) * 4096);

function frame({ privcmd, domid }: Built, gmfn: number): Uint8Array {
  const mapping = privcmd.mapForeign(domid, [gmfn]);
  const bytes = mapping.read(0, 4096);
  mapping.unmap();
  return bytes;
}

describe.each([64, 32] as const)('the core of a %i-bit domain', (bits) => {
  const d = built(bits);
  const file = core(d);
  const elf = parseElf('core', file);

  it('is a 64-bit core file with the sections of the format', () => {
    expect([elf.bits, elf.machine, new DataView(file.buffer).getUint16(16, true), elf.segments]).toEqual([64, 62, 4, []]);
    expect(elf.sections.map((s) => [s.name, s.type])).toEqual([
      ['', 0],
      ['.shstrtab', 3],
      ['.note.Xen', 7],
      ['.xen_prstatus', 1],
      ['.xen_shared_info', 1],
      ['.xen_pages', 1],
      ['.xen_p2m', 1],
    ]);
    expect(section(elf, '.xen_pages').byteOffset % 4096).toBe(0);
  });

  it('says in its notes what it is, of which Xen, and how much there is', () => {
    const notes = parseNotes(section(elf, '.note.Xen'));
    expect(notes.map((n) => [n.name, n.type, n.desc.length])).toEqual([
      ['Xen', XEN_ELFNOTE_DUMPCORE_NONE, 0],
      ['Xen', XEN_ELFNOTE_DUMPCORE_HEADER, 32],
      ['Xen', XEN_ELFNOTE_DUMPCORE_XEN_VERSION, 1280],
      ['Xen', XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION, 8],
    ]);
    const [header, version, format] = notes.slice(1).map((n) => n.desc);
    expect(xen_dumpcore_elfnote_header_desc.decode('x86_64', header!)).toEqual({
      xch_magic: XC_CORE_MAGIC,
      xch_nr_vcpus: 1,
      xch_nr_pages: MIB * 256,
      xch_page_size: 4096,
    });
    const view = new DataView(version!.buffer, version!.byteOffset);
    expect([view.getUint32(0, true), view.getUint32(8, true)]).toEqual([4, 17]);
    expect(new TextDecoder().decode(version!.subarray(176, 176 + 1024))).toMatch(/^xen-3\.0-x86_64 xen-3\.0-x86_32p /);
    // Of a 32-bit domain it stands where a 32-bit dumper would have put it.
    expect(view.getUint32(bits === 64 ? 1272 : 1268, true)).toBe(4096);
    expect([...format!]).toEqual([1, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('has the registers, the shared page, and every page under both of its numbers', () => {
    const status = section(elf, '.xen_prstatus');
    const size = contextSize(bits === 32);
    expect(status.length).toBe(contextSize(false));
    expect(status.subarray(0, size)).toEqual(readVcpuContext(d.privcmd, d.domid, 0, bits === 32));
    expect(section(elf, '.xen_shared_info')).toEqual(frame(d, d.info.shared_info_frame));
    const all = entries(elf);
    expect(all.map((e) => e.pfn)).toEqual(Array.from({ length: MIB * 256 }, (_, i) => i));
    expect(new Set(all.map((e) => e.gmfn)).size).toBe(MIB * 256);
    const wrong = all.filter(({ gmfn }, i) => Buffer.compare(page(elf, i), frame(d, gmfn)) !== 0);
    expect(wrong).toEqual([]);
  });

  it('leaves the domain and dom0 as they were', () => {
    const before = d.privcmd.xen.memory.reserveFrames(1);
    d.privcmd.xen.memory.releaseFrames(before, 1);
    expect(Buffer.compare(core(d), file)).toBe(0);
    const after = d.privcmd.xen.memory.reserveFrames(1);
    d.privcmd.xen.memory.releaseFrames(after, 1);
    expect(after).toBe(before);
  });
});

describe('what a guest says of its frames is checked', () => {
  test('a frame that is not its own is left out, and made up for at the end', () => {
    const d = built(64);
    const good = entries(parseElf('core', core(d)));
    // Entry 0 of the table is in the page that its own first entries name by content: found by what it holds.
    const table = good.find(({ gmfn }) => {
      const view = new DataView(frame(d, gmfn).buffer);
      return [0, 1, 2, 3].every((i) => view.getUint32(i * 8, true) === good[i]!.gmfn && view.getUint32(i * 8 + 4, true) === 0);
    })!;
    const mapping = d.privcmd.mapForeign(d.domid, [table.gmfn]);
    const word = (i: number, value: number) => mapping.write(i * 8, new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
    // dom0's, beyond the machine, and its own a second time.
    word(5, 3);
    word(7, 0x7fff_ffff);
    word(9, good[8]!.gmfn);
    mapping.unmap();
    const elf = parseElf('core', core(d));
    const found = entries(elf);
    expect(found.length).toBe(MIB * 256);
    expect(found.slice(-2)).toEqual(Array.from({ length: 2 }, () => ({ pfn: XC_CORE_INVALID, gmfn: XC_CORE_INVALID })));
    expect(found.slice(0, -2).map((e) => e.pfn)).toEqual(good.map((e) => e.pfn).filter((pfn) => pfn !== 5 && pfn !== 7));
    expect(page(elf, found.length - 1).every((b) => b === 0)).toBe(true);
    const again = found.findIndex((e) => e.pfn === 9);
    expect(page(elf, again)).toEqual(frame(d, good[8]!.gmfn));
  });

  test('one that says it has more than it has gets a core of what it has', () => {
    const elf = parseElf('core', core(built(64, { max_pfn: MIB * 256 + 512 })));
    expect(entries(elf).length).toBeLessThanOrEqual(MIB * 256);
  });

  test.each([
    ['that has said nothing', null, /says that it has 0 frames/],
    ['that says it has more than there can be', { max_pfn: 2 ** 40 }, /says that it has 1099511627776 frames/],
  ])('of a guest %s there is no core', (_, lie, message) => {
    const d = built(64, lie);
    expect(() => core(d)).toThrow(message);
  });
});

const hasReadelf = (() => {
  try {
    return execFileSync('readelf', ['--version']).length > 0;
  } catch {
    return false;
  }
})();

test.skipIf(!hasReadelf)('readelf finds nothing to complain of (skipped where there is none)', () => {
  const dir = mkdtempSync(join(tmpdir(), 'ringworld-core-'));
  try {
    const file = join(dir, 'hello.core');
    writeFileSync(file, core(built(64)));
    const said = execFileSync('readelf', ['-h', '-S', '-W', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    expect(said).toMatch(/Type: +CORE \(Core file\)/);
    expect(said).toMatch(/\[ 5\] \.xen_pages +PROGBITS +0+ 003000 400000 1000 +0 +0 4096\n/);
    expect(said).toMatch(/\[ 6\] \.xen_p2m +PROGBITS +0+ 403000 004000 10 +0 +0 +8\n/);
    expect(said).not.toMatch(/warning|error/i);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
