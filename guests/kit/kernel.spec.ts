// The kit's helpers, by the bytes and labels that they leave; what the code does is seen by booting it (dom0/xl/cli.spec.ts).
import { evtchn_bind_ipi, sched_poll, XENVER_version } from '@ringworld/abi';
import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { describe, expect, test } from 'vitest';
import { w } from '../asm/index.ts';
import { type Arch, PV32PAE, PV64 } from './arch.ts';
import { directHypercall, hypercall, hypercallPage } from './hypercalls.ts';
import { createKernel, type Kernel, structure, text } from './kernel.ts';
import { buildKernel } from './start.ts';

function disassemble(arch: Arch, build: (k: Kernel) => void): string[] {
  const k = createKernel(arch);
  build(k);
  k.a.label('end');
  hypercallPage(k);
  const linked = k.image.link(arch.virtBase);
  const code = linked.sections[0]!;
  const decoder = new Decoder(arch.bits, code.bytes.subarray(0, Number(linked.address('end') - code.address)), DecoderOptions.None);
  decoder.ip = code.address;
  const formatter = new Formatter(FormatterSyntax.Nasm);
  const lines: string[] = [];
  while (decoder.canDecode) lines.push(formatter.format(decoder.decode()));
  return lines;
}

describe('a hypercall', () => {
  test('loads its arguments where 64-bit Xen looks for them, and calls its stub', () => {
    const lines = disassemble(PV64, (k) => hypercall(k, 'mmu_update', 1, 2, 3, 4));
    expect(lines.slice(0, 4)).toEqual(['mov rdi,1', 'mov rsi,2', 'mov rdx,3', 'mov r10,4']);
    expect(lines[4]).toBe('call 0FFFFFFFF80001020h');
  });

  test('loads its arguments where Xen looks for those of 32-bit kernels', () => {
    const lines = disassemble(PV32PAE, (k) => hypercall(k, 'update_va_mapping', 1, 2, 3, w.ax));
    expect(lines.slice(0, 4)).toEqual(['mov ebx,1', 'mov ecx,2', 'mov edx,3', 'mov esi,eax']);
    expect(lines[4]).toBe('call 0C00011C0h');
  });

  test('without the page is a SYSCALL with its number in rax', () => {
    expect(disassemble(PV64, (k) => directHypercall(k, 'xen_version', XENVER_version)).slice(-2)).toEqual(['mov rax,11h', 'syscall']);
  });

  test('with more arguments than there are registers is refused', () => {
    expect(() => disassemble(PV64, (k) => hypercall(k, 'mmu_update', 1, 2, 3, 4, 5, 6))).toThrow(/more than 5/);
  });
});

describe('a structure', () => {
  test('has the layout of the kernel it is in', () => {
    for (const [arch, size] of [
      [PV64, 24],
      [PV32PAE, 16],
    ] as const) {
      const k = createKernel(arch);
      structure(k, sched_poll, { nr_ports: 1 }, 'poll');
      const data = k.image.link(0n).sections.find((s) => s.name === '.data')!;
      expect(data.size).toBe(size);
      expect(data.bytes[arch.wordBytes]).toBe(1);
    }
  });

  test('names its 32-bit members, and no others', () => {
    const k = createKernel(PV64);
    expect(structure(k, evtchn_bind_ipi).u32('port').disp).toMatchObject({ offset: 4n });
    expect(() => structure(k, sched_poll).u32('ports')).toThrow(/no 32-bit member/);
  });
});

test('the same text is stored once', () => {
  const k = createKernel(PV64);
  expect(text(k, 'hello')).toBe(text(k, 'hello'));
  expect(text(k, 'hello')).not.toBe(text(k, 'world'));
});

test('a kernel that does nothing can be built, twice to the same bytes', () => {
  for (const arch of [PV64, PV32PAE]) {
    const build = () => buildKernel(arch, { guestOs: 'nothing', guestVersion: '0', main: () => {} });
    expect(Buffer.from(build()).equals(Buffer.from(build()))).toBe(true);
  }
});
