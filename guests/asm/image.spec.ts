// Sections, labels, fixups and the typed surface of the assembler.
import { describe, expect, test } from 'vitest';
import {
  addr,
  al,
  assembler,
  at,
  ax,
  cr3,
  distance,
  dx,
  eax,
  ebx,
  far,
  Image,
  mem,
  mem8,
  mem32,
  memw,
  r8,
  rax,
  rbx,
  rcx,
  rsi,
  short,
  sp,
  w,
} from './index.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const code = (build: (image: Image) => void, base = 0x1000n): string => {
  const image = new Image();
  build(image);
  return hex(image.link(base).sections[0]!.bytes);
};
const code64 = (build: (a: ReturnType<typeof assembler<64>>) => void): string => code((image) => build(assembler(image, 64)));

describe('labels', () => {
  test('a jump back and a jump forward reach their labels', () => {
    expect(code64((a) => a.label('back').jmp('back').jmp('ahead').nop().label('ahead'))).toBe('e9fbffffff' + 'e901000000' + '90');
  });

  test('a short jump has two bytes', () => {
    expect(code64((a) => a.label('here').jmp(short('here')))).toBe('ebfe');
  });

  test('a short jump to a label that is too far is refused', () => {
    expect(() => code64((a) => a.jmp(short('far')).reserve(128).label('far'))).toThrow(/does not fit 8 bits/);
  });

  test('memory at a label is relative to the end of the instruction, immediates included', () => {
    // mov dword [rip+0], 5 needs 10 bytes; the label follows directly.
    expect(code64((a) => a.mov({ ...at('x'), size: 32 }, 5).label('x'))).toBe('c705' + '00000000' + '05000000');
  });

  test('the same memory is absolute in 32-bit code', () => {
    expect(code((image) => assembler(image, 32).mov(eax, at('x')).label('x'))).toBe('8b05' + '06100000');
  });

  test('an address takes all 64 bits of a register, and the signed 32 of a displacement', () => {
    const image = new Image();
    assembler(image, 64)
      .label('start')
      .mov(rax, addr('start'))
      .mov(rax, mem(rbx, { disp: addr('start', 8) }));
    expect(hex(image.link(0xffffffff80000000n).sections[0]!.bytes)).toBe('48b800000080ffffffff' + '488b8308000080');
    expect(() => image.link(0x80000000n)).toThrow(/does not fit 32 bits/);
  });

  test('distances between labels are data', () => {
    expect(code64((a) => a.label('from').nop().nop().label('to').dw(distance('from', 'to')).dd(distance('to', 'from')))).toBe(
      '9090' + '0200' + 'feffffff',
    );
  });

  test('labels that begin with a dot belong to the label before them', () => {
    const bytes = code64((a) => a.label('one').label('.l').jmp(short('.l')).label('two').label('.l').jmp(short('.l')));
    expect(bytes).toBe('ebfeebfe');
  });

  test('a label twice, and a label that is nowhere, are errors', () => {
    expect(() => code64((a) => a.label('x').label('x'))).toThrow(/twice/);
    expect(() => code64((a) => a.jmp('nowhere'))).toThrow(/no label nowhere/);
  });
});

describe('an image', () => {
  test('holds code of three modes, with far jumps from one to the next', () => {
    const bytes = code((image) => {
      assembler(image, 16).ljmp(far(8, 'pm', 32));
      assembler(image, 32).label('pm').ljmp(far(16, 'lm'));
      assembler(image, 64).label('lm').mov(cr3, rax);
    });
    expect(bytes).toBe('66ea' + '08100000' + '0800' + 'ea' + '0f100000' + '1000' + '0f22d8');
  });

  test('word registers have the width of the code around them', () => {
    const build = (image: Image, mode: 32 | 64) =>
      assembler<32 | 64>(image, mode)
        .mov(w.ax, memw(w.bx, { disp: 4 }))
        .push(w.si);
    expect(code((image) => build(image, 64))).toBe('488b4304' + '56');
    expect(code((image) => build(image, 32))).toBe('8b4304' + '56');
  });

  test('places sections in order, each at its alignment, .bss without bytes', () => {
    const image = new Image();
    const a = assembler(image, 64);
    a.nop().section('.data', { align: 64 }).dq(addr('zero')).section('.bss').label('zero').reserve(100);
    const { sections, symbols } = image.link(0x1000n);
    expect(sections.map((s) => [s.name, s.address, s.size, s.bytes.length])).toEqual([
      ['.text', 0x1000n, 1, 1],
      ['.data', 0x1040n, 8, 8],
      ['.bss', 0x1050n, 100, 0],
    ]);
    expect(hex(sections[1]!.bytes)).toBe('5010000000000000');
    expect(symbols).toEqual([{ name: 'zero', address: 0x1050n, size: 100, section: 2 }]);
    expect(() => a.nop()).toThrow(/holds no bytes/);
  });

  test('pads code with long NOPs', () => {
    expect(code64((a) => a.nop().align(16).nop())).toBe('90' + '0f1f840000000000' + '0f1f8000000000' + '90');
  });
});

describe('prefixes', () => {
  test('stand before the instruction that follows', () => {
    expect(code64((a) => a.lock().inc(mem32(rbx)).rep().movsb().repne().scasw())).toBe('f0ff03' + 'f3a4' + 'f266af');
  });
});

describe('nonsense', () => {
  const a64 = () => assembler(new Image(), 64);
  const a32 = () => assembler(new Image(), 32);

  test('does not compile, and is refused where types could not see it', () => {
    // @ts-expect-error  registers of two widths
    expect(() => a64().mov(rax, ebx)).toThrow(/no such form/);
    // @ts-expect-error  a 64-bit register in 32-bit code
    expect(() => a32().mov(rax, rbx)).toThrow(/no such form/);
    // @ts-expect-error  from memory to memory
    expect(() => a64().mov(mem(rax), mem(rbx))).toThrow(/no such form/);
    // @ts-expect-error  memory of no stated size
    expect(() => a64().inc(mem(rax))).toThrow(/no such form/);
    // @ts-expect-error  ports are in DX
    expect(() => a64().in(al, ax)).toThrow(/no such form/);
    // @ts-expect-error  an instruction of three operands
    expect(() => a64().add(rax, rbx, rcx)).toThrow(/no such form/);
    // @ts-expect-error  a stack of 32-bit words in 64-bit code
    expect(() => a64().push(eax)).toThrow(/no such form/);
    // @ts-expect-error  an 8-bit counter only
    expect(() => a64().shl(rax, dx)).toThrow(/no such form/);
    expect(() => a32().inc(mem32(r8))).toThrow(/64-bit address/);
    expect(() => a64().mov(mem8(sp), 1)).toThrow(/16-bit address/);
    expect(() => a64().pusha()).toThrow(/no such form in 64-bit code/);
    expect(() => a32().swapgs()).toThrow(/no such form in 32-bit code/);
  });

  test('numbers that do not fit are refused', () => {
    expect(() => a64().mov(al, 256)).toThrow(/no such form/);
    expect(() => a64().add(rax, 0x80000000)).toThrow(/no such form/);
    expect(() => a64().mov(rax, mem(rsi, { disp: 0x80000000 }))).toThrow(/does not fit/);
    expect(() => a64().db(256)).toThrow(/does not fit/);
  });
});
