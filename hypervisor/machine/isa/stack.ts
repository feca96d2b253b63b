// The stack: PUSH, POP and what is built of them, save for POPF (system.ts: what it may change depends on privilege).
//
// A push stores first and moves rSP after, a pop loads first: a fault leaves rSP as it was.

import type { Builder, Size } from '../stage/builder.ts';
import { toEflags } from '../stage/flags.ts';
import { EFLAGS, RBP, RSP, SS, STATE } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';

/** rSP moved by n bytes, at the stack's width. */
const moved = <V, X>(b: Builder<V, X>, sp: V, n: number): V => b.zext(b.add(sp, b.k(n)), b.mode.stackSize);
export const stackPointer = <V, X>(b: Builder<V, X>): V => b.reg(RSP, b.mode.stackSize);

/** Pushes v; the last thing that can fault is the store, which comes first. */
export function push<V, X>(b: Builder<V, X>, v: V, s: Size): void {
  const sp = moved(b, stackPointer(b), -s);
  b.store(SS, sp, s, v);
  b.setReg(RSP, b.mode.stackSize, sp);
}

/** What a pop would take. */
export const peek = <V, X>(b: Builder<V, X>, s: Size): V => b.load(SS, stackPointer(b), s);
/** rSP past n bytes. */
export const drop = <V, X>(b: Builder<V, X>, n: number): void => b.setReg(RSP, b.mode.stackSize, moved(b, stackPointer(b), n));

/** PUSH rSP stores the value from before (on all processors since the 286). */
export const PUSH = insn('PUSH', {
  sdm: 'Vol 2B, PUSH',
  forms: '50+r Zv {d64} | 68 Iz {d64} | 6A sIb {d64} | FF /6 Ev {d64}',
  operands: { src: 'r' },
  sem(b, { src }, c) {
    push(b, b.read(src), c.size);
  },
});

/**
 * A memory operand addressed through rSP sees rSP already incremented (SDM Vol 2B, POP). As the address is formed before the
 * semantics run, it is the decoder that adds the operand size to the displacement ({sp}).
 */
export const POP = insn('POP', {
  sdm: 'Vol 2B, POP',
  forms: '58+r Zv {d64} | 8F /0 Ev {d64 sp}',
  operands: { dst: 'w' },
  sem(b, { dst }, c) {
    const v = peek(b, c.size);
    if (dst.isReg) {
      // POP rSP: the value read wins over the increment.
      drop(b, c.size);
      b.write(dst, v);
      return;
    }
    b.write(dst, v);
    drop(b, c.size);
  },
});

/** All eight registers, rSP with its value from before. */
export const PUSHA = insn('PUSHA', {
  sdm: 'Vol 2B, PUSHA/PUSHAD',
  forms: '60 {i64}',
  operands: {},
  sem(b, _o, c) {
    const sp = stackPointer(b);
    for (let n = 0; n < 8; n++) b.store(SS, moved(b, sp, -(n + 1) * c.size), c.size, b.reg(n, c.size));
    drop(b, -8 * c.size);
  },
});

/** All but rSP, whose stored value is passed over. */
export const POPA = insn('POPA', {
  sdm: 'Vol 2B, POPA/POPAD',
  forms: '61 {i64}',
  operands: {},
  sem(b, _o, c) {
    const sp = stackPointer(b);
    const popped = Array.from({ length: 8 }, (_, n) => b.load(SS, moved(b, sp, (7 - n) * c.size), c.size));
    drop(b, 8 * c.size);
    popped.forEach((v, n) => {
      if (n !== RSP) b.setReg(n, c.size, v);
    });
  },
});

/** VM and RF read as zero. In vm86 mode without IOPL 3 the answer depends on CR4.VME: left to system code. */
export const PUSHF = insn('PUSHF', {
  sdm: 'Vol 2B, PUSHF/PUSHFD/PUSHFQ',
  forms: '9C {d64}',
  operands: {},
  flags: { reads: OSZAPC },
  sem(b, _o, c) {
    const system = b.state(STATE.eflags, 4);
    if (b.mode.bits === 16) {
      const restricted = b.and(b.ne(b.and(system, b.k(EFLAGS.VM)), b.k(0)), b.ne(b.and(system, b.k(EFLAGS.IOPL)), b.k(EFLAGS.IOPL)));
      b.if(restricted, () => b.slow());
    }
    const visible = b.and(system, b.k(~(EFLAGS.VM | EFLAGS.RF)));
    push(b, b.zext(b.or(b.or(visible, toEflags(b)), b.k(2)), c.size), c.size);
  },
});

/**
 * With a nesting level, frame pointers of the enclosing procedures are copied from the old frame. Space is only taken where a write
 * would succeed (SDM Vol 2A, ENTER: a page fault also if a write through the final rSP would cause one).
 */
export const ENTER = insn('ENTER', {
  sdm: 'Vol 2A, ENTER',
  forms: 'C8 Iw,Ib {d64}',
  operands: { space: 'r', level: 'r' },
  sem(b, { space, level }, c) {
    const s = c.size;
    const width = b.mode.stackSize;
    const depth = b.and(b.read(level), b.k(31));
    const frame = moved(b, stackPointer(b), -s);
    b.store(SS, frame, s, b.reg(RBP, s));
    const sp = b.var(frame);
    b.if(depth, () => {
      const from = b.var(b.reg(RBP, width));
      const left = b.var(b.sub(depth, b.k(1)));
      b.while(
        () => left.get(),
        () => {
          from.set(moved(b, from.get(), -s));
          sp.set(moved(b, sp.get(), -s));
          b.store(SS, sp.get(), s, b.load(SS, from.get(), s));
          left.set(b.sub(left.get(), b.k(1)));
        },
      );
      sp.set(moved(b, sp.get(), -s));
      b.store(SS, sp.get(), s, b.zext(frame, s));
    });
    const final = b.zext(b.sub(sp.get(), b.read(space)), width);
    b.loadRw(SS, final, s);
    b.setReg(RBP, s, b.zext(frame, s));
    b.setReg(RSP, width, final);
  },
});

export const LEAVE = insn('LEAVE', {
  sdm: 'Vol 2A, LEAVE',
  forms: 'C9 {d64}',
  operands: {},
  sem(b, _o, c) {
    const frame = b.reg(RBP, b.mode.stackSize);
    const v = b.load(SS, frame, c.size);
    b.setReg(RBP, c.size, v);
    b.setReg(RSP, b.mode.stackSize, moved(b, frame, c.size));
  },
});
