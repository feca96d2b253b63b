// The tables against ACPI 6.5 (offsets, checksums, pointers), against Intel's own compiler (acpica-tools: each table must disassemble without
// complaint, and the DSDT must compile again), and the loader script against what SeaBIOS does with it (src/fw/romfile_loader.c).

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createAcpiTables } from './acpi-tables.ts';
import { integer, ref, string } from './acpi-tables-aml.ts';
import type { AcpiConfig } from './acpi-tables-dsdt.ts';
import { acpiFiles, linkAcpi } from './acpi-tables-loader.ts';

const CONFIG: AcpiConfig = { apicIds: [0, 1, 2, 3], ioapicId: 4, pciHole: 0xc000_0000, serialPorts: 2, fwCfg: true };
const BASE = 0x7fe_0000;
const RSDP_AT = 0xf_5000;

const sum = (bytes: Uint8Array): number => bytes.reduce((a, b) => (a + b) & 0xff, 0);
const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/** Follows the pointers as an OS does: RSDP, XSDT, the tables in it, and FADT's DSDT and FACS. */
function walk(memory: (at: number, length: number) => Uint8Array, rsdpAt: number) {
  const view = (at: number, length: number) => {
    const b = memory(at, length).slice();
    return new DataView(b.buffer);
  };
  const get = (at: number) => memory(at, view(at + 4, 4).getUint32(0, true));
  const rsdp = view(rsdpAt, 36);
  const xsdtAt = Number(rsdp.getBigUint64(24, true));
  const rsdtAt = rsdp.getUint32(16, true);
  const xsdt = get(xsdtAt).slice();
  const found = new Map<string, Uint8Array>([
    ['XSDT', xsdt],
    ['RSDT', get(rsdtAt).slice()],
  ]);
  const [x, r] = [new DataView(xsdt.buffer), new DataView(found.get('RSDT')!.buffer)];
  for (let i = 0; 36 + 8 * i < xsdt.length; i++) {
    const at = Number(x.getBigUint64(36 + 8 * i, true));
    expect(r.getUint32(36 + 4 * i, true)).toBe(at);
    const t = get(at).slice();
    found.set(text(t.subarray(0, 4)), t);
  }
  const fadt = new DataView(found.get('FACP')!.buffer);
  found.set('DSDT', get(fadt.getUint32(40, true)).slice());
  expect(Number(fadt.getBigUint64(140, true))).toBe(fadt.getUint32(40, true));
  found.set('FACS', get(fadt.getUint32(36, true)).slice());
  expect(Number(fadt.getBigUint64(132, true))).toBe(fadt.getUint32(36, true));
  expect(fadt.getUint32(36, true) % 64).toBe(0);
  return found;
}

function linked(config = CONFIG) {
  const { tables, rsdp } = linkAcpi(createAcpiTables(config), BASE);
  const memory = (at: number, n: number) =>
    at >= BASE ? tables.subarray(at - BASE, at - BASE + n) : rsdp.subarray(at - RSDP_AT, at - RSDP_AT + n);
  return { tables, rsdp, found: walk(memory, RSDP_AT) };
}

describe('linked by us', () => {
  it('every table is found and sums up to zero', () => {
    const { rsdp, found } = linked();
    expect([sum(rsdp.subarray(0, 20)), sum(rsdp)]).toEqual([0, 0]);
    expect([...found.keys()]).toEqual(['XSDT', 'RSDT', 'FACP', 'APIC', 'HPET', 'DSDT', 'FACS']);
    for (const [name, bytes] of found) if (name !== 'FACS') expect([name, sum(bytes)]).toEqual([name, 0]);
  });

  it.each<[string, number, number, number]>([
    ['SCI_INT', 46, 2, 9],
    ['SMI_CMD', 48, 4, 0xb2],
    ['PM1a_EVT_BLK', 56, 4, 0x600],
    ['PM1a_CNT_BLK', 64, 4, 0x604],
    ['PM_TMR_BLK', 76, 4, 0x608],
    ['GPE0_BLK', 80, 4, 0xafe0],
    ['RESET_REG address', 120, 4, 0xcf9],
    ['RESET_VALUE', 128, 1, 6],
    ['CENTURY', 108, 1, 0x32],
  ])('FADT %s', (_name, offset, size, value) => {
    const fadt = linked().found.get('FACP')!;
    let v = 0;
    for (let i = 0; i < size; i++) v += fadt[offset + i]! * 256 ** i;
    expect([fadt[8], fadt.length, v]).toEqual([3, 244, value]);
  });

  it('the MADT names the processors, x2APIC ones too, and the overrides', () => {
    const entries = (ids: number[]) => {
      const madt = linked({ ...CONFIG, apicIds: ids }).found.get('APIC')!;
      const out: string[] = [];
      for (let at = 44; at < madt.length; at += madt[at + 1]!) out.push([...madt.subarray(at, at + madt[at + 1]!)].join(' '));
      return out;
    };
    expect(entries([0, 2])).toEqual([
      '0 8 0 0 1 0 0 0',
      '0 8 1 2 1 0 0 0',
      '1 12 4 0 0 0 192 254 0 0 0 0',
      '2 10 0 0 2 0 0 0 0 0',
      '2 10 0 5 5 0 0 0 13 0',
      '2 10 0 9 9 0 0 0 13 0',
      '2 10 0 10 10 0 0 0 13 0',
      '2 10 0 11 11 0 0 0 13 0',
      '4 6 255 0 0 1',
    ]);
    expect(entries([0, 300])[1]).toBe('9 16 0 0 44 1 0 0 1 0 0 0 1 0 0 0');
  });
});

it('SeaBIOS’s loader comes to the same tables', () => {
  const files = new Map(acpiFiles(createAcpiTables(CONFIG)).map((f) => [f.name, f.content.slice()]));
  const script = files.get('etc/table-loader')!;
  expect(script.length % 128).toBe(0);
  const view = new DataView(script.buffer);
  const nameAt = (at: number) => text(script.subarray(at, at + 56)).replace(/\0.*$/s, '');
  const placed = new Map<string, { base: number; bytes: Uint8Array }>();
  for (let at = 0; at < script.length; at += 128) {
    const first = placed.get(nameAt(at + 4));
    switch (view.getUint32(at, true)) {
      case 1:
        placed.set(nameAt(at + 4), { base: script[at + 64] === 2 ? RSDP_AT : BASE, bytes: files.get(nameAt(at + 4))! });
        break;
      case 2: {
        const source = placed.get(nameAt(at + 60))!;
        const field = new DataView(first!.bytes.buffer);
        const offset = view.getUint32(at + 116, true);
        expect([4, 8]).toContain(script[at + 120]);
        field.setUint32(offset, field.getUint32(offset, true) + source.base, true);
        break;
      }
      case 3: {
        const [offset, start, length] = [60, 64, 68].map((o) => view.getUint32(at + o, true)) as [number, number, number];
        first!.bytes[offset] = first!.bytes[offset]! - sum(first!.bytes.subarray(start, start + length));
        break;
      }
      default:
        throw new Error('unknown command');
    }
  }
  const { tables, rsdp } = linked();
  expect(placed.get('etc/acpi/tables')!.bytes).toEqual(tables);
  expect(placed.get('etc/acpi/rsdp')!.bytes).toEqual(rsdp);
});

describe('AML', () => {
  it.each([
    ['a segment is filled up', ref('PCI'), 'PCI_'],
    ['two segments', ref('\\_SB.PCI0'), '\\\x2e_SB_PCI0'],
    ['three segments', ref('\\_SB.PCI0.ISA'), '\\\x2f\x03_SB_PCI0ISA_'],
    ['a parent', ref('^A'), '^A___'],
    ['a string', string('x'), '\x0dx\0'],
    ['integers', [0, 1, 2, 0x100, 0x1_0000].flatMap((v) => [...integer(v)]), '\0\x01\x0a\x02\x0b\0\x01\x0c\0\0\x01\0'],
  ])('%s', (_name, aml, bytes) => {
    expect(text(Uint8Array.from(aml))).toBe(bytes);
  });
});

const iasl = spawnSync('iasl', ['-v']);
describe.skipIf(iasl.error !== undefined)('Intel’s compiler (skipped where acpica-tools is not installed)', () => {
  it('disassembles every table without complaint, and compiles the DSDT again to the same bytes', () => {
    const dir = mkdtempSync(join(tmpdir(), 'acpi-'));
    try {
      for (const [name, bytes] of linked().found) {
        writeFileSync(join(dir, `${name}.dat`), bytes);
        const log = execFileSync('iasl', ['-d', `${name}.dat`], { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
        expect([name, log.match(/^.*(error|warning|invalid|incorrect|unknown).*$/gim)]).toEqual([name, null]);
        const asl = readFileSync(join(dir, `${name}.dsl`), 'utf8');
        expect([name, asl.match(/^.*(error|warning|invalid|incorrect|unknown|unresolved).*$/gim)]).toEqual([name, null]);
      }
      const again = spawnSync('iasl', ['-oa', '-p', 'again', 'DSDT.dsl'], { cwd: dir, encoding: 'utf8' });
      expect(again.stdout + again.stderr).toMatch(/0 Errors, 0 Warnings/);
      const compiled = readFileSync(join(dir, 'again.aml'));
      expect(text(compiled.subarray(36))).toBe(text(linked().found.get('DSDT')!.subarray(36)));
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
