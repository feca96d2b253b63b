// Hypercalls: the page that Xen (or its toolstack) fills with stubs of 32 bytes each, and the macro that calls one of them.
import { HYPERCALLS, type HypercallName } from '@ringworld/abi';
import { at, generalRegister, isSym, type Mem, type Reg, type Sym, w } from '../asm/index.ts';
import { type Kernel, PAGE_SIZE } from './kernel.ts';

/** An argument: a number, an address, what a variable holds, or w.ax (which no argument displaces). */
export type Argument = number | bigint | Sym | Mem<32 | 'word'> | Reg<'word', 0>;

const STUB_BYTES = 32;
const UNUSED = 63;
export const stub = (name: HypercallName): string => `hypercall_${name}`;

/** The page, with a label for each stub: HYPERCALL_PAGE in the notes says where it is (elfnote.h). */
export function hypercallPage(k: Kernel): void {
  k.image.within('.text', () => {
    k.a.align(PAGE_SIZE).label('hypercall_page');
    let offset = 0;
    const byNumber = Object.entries(HYPERCALLS).sort(([, x], [, y]) => x.nr - y.nr);
    for (const [name, { nr }] of byNumber) {
      k.a.reserve(nr * STUB_BYTES - offset).label(stub(name as HypercallName));
      offset = nr * STUB_BYTES;
    }
    // A number that no hypercall has, to see it refused.
    k.a
      .reserve(UNUSED * STUB_BYTES - offset)
      .label('hypercall_unused')
      .reserve(PAGE_SIZE - UNUSED * STUB_BYTES);
  });
}

function load(k: Kernel, register: Reg<'word'>, value: Argument): void {
  const { a } = k;
  if (typeof value === 'number' || typeof value === 'bigint') a.mov(register, value);
  else if (isSym(value)) a.lea(register, at(value.label, value.offset));
  else if (value.kind === 'reg') a.mov(register, value);
  // A 32-bit load clears the upper half of a 64-bit register: unsigned ints of the ABI arrive as they should.
  else if (value.size === 32) a.mov(generalRegister(32, register.nr), { ...value, size: 32 });
  else a.mov(register, { ...value, size: 'word' });
}

/** Loads the arguments and calls. The result is in w.ax: 0 or a count, or a negative errno. */
export function hypercall(k: Kernel, name: HypercallName, ...args: Argument[]): void {
  loadArguments(k, args);
  k.a.call(stub(name));
}

/** The same without the page, as kernels do that do not trust it: 64-bit only (SYSCALL; it destroys RCX and R11). */
// TOUR hypercall 10: The guest's side. Arguments go to the registers of the ABI, the number to RAX, and SYSCALL is executed: in ring 3,
// where a PV kernel runs. (The page that the toolstack fills, used just above, holds the same instructions.)
export function directHypercall(k: Kernel, name: HypercallName, ...args: Argument[]): void {
  loadArguments(k, args);
  k.a.mov(w.ax, HYPERCALLS[name].nr).syscall();
}

function loadArguments(k: Kernel, args: readonly Argument[]): void {
  for (const [i, value] of args.entries()) {
    const register = k.arch.argument[i];
    if (register === undefined) throw new Error(`more than ${k.arch.argument.length} arguments`);
    load(k, register, value);
  }
}
