// Traps: the virtual IDT, entry and exit, and the idea that tests need: a trap that is expected, with a place to go on from.
//
// Xen bounces a trap onto the guest's stack much as hardware does (xen/arch/x86/x86_64/entry.S, create_bounce_frame). 64-bit kernels
// find RCX and R11 on top in addition, because Xen's own way back may be SYSRET. After popping these two, both kernels have the frame
// of the manuals: [error code] ip cs flags sp ss. The way out is the iret hypercall, since only Xen may change rings or the event mask.
import { trap_info } from '@ringworld/abi';
import { addr, at, atw, ax, ds, es, generalRegister, type Mem, memw, type Reg, r11, rcx, w } from '../asm/index.ts';
import { dec, hex, say } from './console.ts';
import { hypercall, stub } from './hypercalls.ts';
import { type Kernel, routine, variable } from './kernel.ts';

interface Vector {
  readonly vector: number;
  readonly name: string;
  readonly errorCode?: true;
  /** From ring 3 by INT n. */
  readonly user?: true;
}

/** SDM Vol 3A, table 6-1; and the vector by which programs call the kernel. */
export const TRAPS = {
  divide_error: { vector: 0, name: '#DE' },
  debug: { vector: 1, name: '#DB' },
  breakpoint: { vector: 3, name: '#BP', user: true },
  overflow: { vector: 4, name: '#OF', user: true },
  invalid_op: { vector: 6, name: '#UD' },
  device_not_available: { vector: 7, name: '#NM' },
  segment_not_present: { vector: 11, name: '#NP', errorCode: true },
  stack_segment: { vector: 12, name: '#SS', errorCode: true },
  general_protection: { vector: 13, name: '#GP', errorCode: true },
  page_fault: { vector: 14, name: '#PF', errorCode: true },
  alignment_check: { vector: 17, name: '#AC', errorCode: true },
  system_call: { vector: 0x80, name: 'system call', user: true },
} as const satisfies Record<string, Vector>;
export type TrapName = keyof typeof TRAPS;

/** What trap_common leaves on the stack, lowest address first: then comes what Xen pushed. */
const SAVED64 = ['r15', 'r14', 'r13', 'r12', 'r11', 'r10', 'r9', 'r8', 'di', 'si', 'bp', 'dx', 'cx', 'bx', 'ax'] as const;
const SAVED32 = ['es', 'ds', 'di', 'si', 'bp', 'dx', 'cx', 'bx', 'ax'] as const;
const HARDWARE = ['vector', 'error', 'ip', 'cs', 'flags', 'sp', 'ss'] as const;
type Slot = (typeof SAVED64)[number] | (typeof SAVED32)[number] | (typeof HARDWARE)[number];

/** A word of the trap frame, while w.bp points at it. */
export function frame(k: Kernel, slot: Slot): Mem<'word'> {
  const order: readonly Slot[] = [...(k.arch.bits === 64 ? SAVED64 : SAVED32), ...HARDWARE];
  return memw(w.bp, { disp: order.indexOf(slot) * k.arch.wordBytes });
}

const NUMBERS: Readonly<Record<string, number>> = { ax: 0, cx: 1, dx: 2, bx: 3, bp: 5, si: 6, di: 7 };
const saved = (slot: string): Reg<'word'> => generalRegister('word', NUMBERS[slot] ?? Number(slot.slice(1)));

const entryOf = (trap: TrapName): string => `trap_${trap}`;

/** Drops RCX and R11 of a 64-bit entry into the registers that they came from. */
export function dropEntryRegisters(k: Kernel): void {
  if (k.arch.bits === 64) k.a.pop(rcx).pop(r11);
}

export function trapRoutines(k: Kernel): void {
  const { a, arch } = k;
  for (const name of ['trap_expected', 'trap_resume', 'trap_taken', 'trap_error', 'trap_ip']) variable(k, name);

  k.image.within('.text', () => {
    for (const [name, trap] of Object.entries<Vector>(TRAPS)) {
      a.align(16).label(entryOf(name as TrapName));
      dropEntryRegisters(k);
      if (trap.errorCode === undefined) a.push(0);
      a.push(trap.vector).jmp('trap_common');
    }
    trapCommon(k);
    trapReturn(k);
  });

  k.image.within('.data', () => {
    a.align(8).label('trap_table');
    for (const [name, trap] of Object.entries<Vector>(TRAPS)) {
      const { vector } = trap;
      a.db(vector, trap.user ? 3 : 0)
        .dw(arch.kernelCs)
        .reserve(trap_info.offset('address', k.abi) - 4)
        .word(addr(entryOf(name as TrapName)));
    }
    a.reserve(trap_info.size(k.abi));
  });

  routine(k, 'trap_init', () => hypercall(k, 'set_trap_table', addr('trap_table')));
}

function trapCommon(k: Kernel): void {
  const { a, arch } = k;
  a.label('trap_common');
  for (const slot of [...(arch.bits === 64 ? SAVED64 : SAVED32)].reverse())
    if (slot === 'ds') a.push(ds);
    else if (slot === 'es') a.push(es);
    else a.push(saved(slot));
  // A 32-bit program has data segments of ring 3, which serve the kernel no less, but may also be null.
  if (arch.bits === 32) a.mov(w.ax, arch.kernelSs).mov(ds, ax).mov(es, ax);
  a.mov(w.bp, w.sp);

  a.mov(w.ax, frame(k, 'vector')).cmp(w.ax, TRAPS.system_call.vector).jne('.exception');
  a.call('system_call').jmp('trap_return');

  a.label('.exception').mov(atw('trap_taken'), w.ax);
  a.mov(w.cx, frame(k, 'error')).mov(atw('trap_error'), w.cx);
  a.mov(w.cx, frame(k, 'ip')).mov(atw('trap_ip'), w.cx);
  a.cmp(w.ax, atw('trap_expected')).jne('.unexpected');
  // One trap, once.
  a.mov(atw('trap_expected'), -1).mov(w.cx, atw('trap_resume')).mov(frame(k, 'ip'), w.cx).jmp('trap_return');

  a.label('.unexpected');
  say(k, 'unexpected trap ', dec(atw('trap_taken')), ', error code ', hex(atw('trap_error')), ', at ', hex(atw('trap_ip')));
  a.jmp('crash');
}

function trapReturn(k: Kernel): void {
  const { a, arch } = k;
  a.label('trap_return').mov(w.sp, w.bp);
  for (const slot of arch.bits === 64 ? SAVED64 : SAVED32)
    if (slot === 'ds') a.pop(ds);
    else if (slot === 'es') a.pop(es);
    else a.pop(saved(slot));
  a.add(w.sp, 2 * arch.wordBytes);
  jumpToIret(k);
}

/**
 * Leaves by the iret hypercall. On the stack: ip cs flags, and sp ss (which a 32-bit kernel leaves out to return to itself). Its stub
 * is jumped to, not called: it pushes the registers that the hypercall itself needs (xen/arch/x86/pv/hypercall.c).
 */
export function jumpToIret(k: Kernel): void {
  // struct iret_context: flags. Without VGCF_in_syscall, RCX and R11 come back as they are now.
  if (k.arch.bits === 64) k.a.push(0);
  k.a.jmp(stub('iret'));
}

/** Runs code that must trap; goes on behind it when it did, and crashes the domain with a word when it did not. */
export function expectTrap(k: Kernel, trap: TrapName, body: () => void): void {
  const { a } = k;
  const { vector, name } = TRAPS[trap];
  const behind = `trapped${k.image.fresh('t')}`;
  a.mov(atw('trap_expected'), vector).mov(atw('trap_taken'), -1);
  a.lea(w.ax, at(behind)).mov(atw('trap_resume'), w.ax);
  body();
  // Not a local label of the caller's: those are to stay his own.
  k.image.alias(behind);
  a.cmp(atw('trap_taken'), vector);
  const good = k.a.fresh('good');
  a.je(good);
  say(k, `FAILED: no ${name} came`);
  a.jmp('crash');
  a.label(good);
}
