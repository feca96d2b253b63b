// Tests as data: a row is a little program of steps that a small interpreter in the guest carries out: what to write, when to enter, what to
// find afterwards. Each row reports one line, in XTF's words:
//
//   test-vmx-cpuid: Success
//   test-vmx-cpuid: Failure reason got=0xc want=0xa, qualification got=0x1 want=0x0
//   test-vmx-rdseed: Skip secondary controls
//
// A row of another processor generation is skipped by what the processor itself says of its capabilities, never by its name.
import {
  type Assembler,
  addr,
  al,
  at,
  at64,
  cl,
  cx,
  eax,
  ecx,
  type Imm,
  mem8,
  mem16,
  mem32,
  mem64,
  r12,
  r15,
  rax,
  rcx,
  rdx,
  rsi,
} from '../../asm/index.ts';
import { type BareKernel, print, reserve, routine, text } from './bare.ts';

const OPS = ['end', 'setField', 'orField', 'clearField', 'store', 'call', 'need', 'forbid', 'when', 'unless', 'field', 'memory'] as const;
type Op = (typeof OPS)[number];
const code = (op: Op): number => OPS.indexOf(op);

type Bytes = 1 | 2 | 4 | 8;
/** A step lies in .data as six words: op, where, value, mask, size, text. */
const STEP_BYTES = 48;

export interface Step {
  readonly op: Exclude<Op, 'end'>;
  /** A field's encoding, or an address. */
  readonly where: Imm;
  readonly value: Imm;
  readonly mask?: Imm;
  /** Bytes of a memory operand. */
  readonly size?: Bytes;
  /** Of an expectation or a need: what the report calls it. */
  readonly text?: string;
}

export interface Row {
  readonly name: string;
  /** The section that says so. */
  readonly manual: string;
  readonly steps: readonly Step[];
}

const ALL = (1n << 64n) - 1n;

export const store = (where: Imm, value: Imm, size: Bytes = 8): Step => ({ op: 'store', where, value, size });
export const call = (label: string): Step => ({ op: 'call', where: addr(label), value: 0 });
/** The row is skipped unless these bits of the 64-bit variable are all set. */
export const need = (variable: string, bits: Imm, what: string): Step => ({ op: 'need', where: addr(variable), value: bits, text: what });
/** The row is skipped if any of them is. */
export const forbid = (variable: string, bits: Imm, what: string): Step => ({
  op: 'forbid',
  where: addr(variable),
  value: bits,
  text: what,
});
/** The next step is left out unless these bits are all set; or if they are. */
export const when = (variable: string, bits: Imm): Step => ({ op: 'when', where: addr(variable), value: bits });
export const unless = (variable: string, bits: Imm): Step => ({ op: 'unless', where: addr(variable), value: bits });
/** Memory is to hold this. */
export const expectMemory = (what: string, where: Imm, value: Imm, size: Bytes = 8, mask: Imm = ALL): Step => ({
  op: 'memory',
  where,
  value,
  mask,
  size,
  text: what,
});

/** How fields that are not memory (VMX's) are reached: RDX is the field, RAX the value. No other register changes. */
export interface Access {
  read(a: Assembler<64>): void;
  write(a: Assembler<64>): void;
}

/**
 * Puts the rows into .data and emits `run_rows`, which carries them out, each after `reset` was called; it reports and leaves in RAX
 * whether anything failed.
 */
export function rows(k: BareKernel, environment: string, list: readonly Row[], reset: string, access?: Access): void {
  const { a, image } = k;
  const names = new Set<string>();
  image.within('.data', () => {
    a.align(8).label('rows');
    for (const { name, steps } of list) {
      if (names.has(name)) throw new Error(`two rows are called ${name}`);
      names.add(name);
      a.dq(addr(text(k, `test-${environment}-${name}`)));
      for (const s of steps) {
        const what = s.text === undefined ? 0 : addr(text(k, s.text));
        a.dq(code(s.op), s.where, s.value, s.mask ?? ALL, s.size ?? 0, what);
      }
      a.dq(code('end'));
    }
    a.dq(0);
  });
  interpreter(k, reset, access);
}

function interpreter(k: BareKernel, reset: string, access?: Access): void {
  const { a } = k;
  for (const name of ['rows_success', 'rows_failure', 'rows_skip']) reserve(k, name, 8);
  const part = (n: number) => mem64(r15, { disp: n * 8 });

  // R15: the step; R12: what did not hold in this row.
  routine(k, 'run_rows', () => {
    a.lea(r15, at('rows'));
    a.label('.row').mov(rsi, mem64(r15)).test(rsi, rsi).jz('.done').add(r15, 8).call('print').call('in_command_line').push(rax);
    print(k, ': ');
    a.pop(rax);
    // Names that the command line lists are left out: an emulator may not survive them.
    a.test(al, al).jnz('.excluded').xor(r12, r12).call(reset);
    a.label('.step').mov(rax, part(0)).mov(rdx, part(1)).mov(rcx, part(2));
    for (const op of OPS) a.cmp(eax, code(op)).je(`.${op}`);
    a.ud2();
    a.label('.next').add(r15, STEP_BYTES).jmp('.step');
    a.label('.over')
      .add(r15, 2 * STEP_BYTES)
      .jmp('.step');

    a.label('.end').add(r15, 8).test(r12, r12).jnz('.failure');
    print(k, 'Success\n');
    a.inc(at64('rows_success')).jmp('.row').label('.failure');
    print(k, '\n');
    a.inc(at64('rows_failure')).jmp('.row');

    a.label('.setField').mov(rax, rcx);
    access?.write(a);
    a.jmp('.next').label('.orField');
    access?.read(a);
    a.or(rax, rcx);
    access?.write(a);
    a.jmp('.next').label('.clearField');
    access?.read(a);
    a.not(rcx).and(rax, rcx);
    access?.write(a);
    a.jmp('.next');

    a.label('.store').mov(rax, part(4));
    a.cmp(eax, 8).je('.store8').cmp(eax, 4).je('.store4').cmp(eax, 2).je('.store2');
    a.mov(mem8(rdx), cl).jmp('.next');
    a.label('.store2').mov(mem16(rdx), cx).jmp('.next');
    a.label('.store4').mov(mem32(rdx), ecx).jmp('.next');
    a.label('.store8').mov(mem64(rdx), rcx).jmp('.next');

    a.label('.call').push(r15).push(r12).call(rdx).pop(r12).pop(r15).jmp('.next');

    a.label('.excluded');
    print(k, 'Skip by the command line\n');
    a.inc(at64('rows_skip')).cmp(mem64(r15), code('end')).je('.empty').jmp('.rest');
    a.label('.empty').add(r15, 8).jmp('.row');
    a.label('.need').mov(rax, mem64(rdx)).and(rax, rcx).cmp(rax, rcx).je('.next');
    a.label('.skip');
    print(k, 'Skip ');
    a.mov(rsi, part(5)).call('print');
    print(k, '\n');
    a.inc(at64('rows_skip'));
    a.label('.rest').add(r15, STEP_BYTES).cmp(mem64(r15), code('end')).jne('.rest').add(r15, 8).jmp('.row');
    a.label('.forbid').test(mem64(rdx), rcx).jz('.next').jmp('.skip');
    a.label('.when').mov(rax, mem64(rdx)).and(rax, rcx).cmp(rax, rcx).je('.next').jmp('.over');
    a.label('.unless').mov(rax, mem64(rdx)).and(rax, rcx).cmp(rax, rcx).jne('.next').jmp('.over');

    a.label('.memory').mov(rax, part(4));
    a.cmp(eax, 8).je('.load8').cmp(eax, 4).je('.load4').cmp(eax, 2).je('.load2');
    a.movzx(eax, mem8(rdx)).jmp('.compare');
    a.label('.load2').movzx(eax, mem16(rdx)).jmp('.compare');
    a.label('.load4').mov(eax, mem32(rdx)).jmp('.compare');
    a.label('.load8').mov(rax, mem64(rdx)).jmp('.compare');
    a.label('.field');
    access?.read(a);
    a.label('.compare').mov(rdx, part(3)).and(rax, rdx).and(rcx, rdx).cmp(rax, rcx).je('.next');
    a.test(r12, r12).jnz('.further');
    print(k, 'Failure ');
    a.jmp('.say').label('.further');
    print(k, ', ');
    a.label('.say').inc(r12).mov(rsi, part(5)).call('print');
    print(k, ' got=');
    a.call('print_hex');
    print(k, ' want=');
    a.mov(rax, rcx).call('print_hex').jmp('.next');

    a.label('.done');
    for (const [variable, what] of [
      ['rows_success', ' Success, '],
      ['rows_failure', ' Failure, '],
      ['rows_skip', ' Skip\n'],
    ] as const) {
      a.mov(rax, at64(variable)).call('print_dec');
      print(k, what);
    }
    a.xor(eax, eax).cmp(at64('rows_failure'), 0).setne(al);
  });
}
