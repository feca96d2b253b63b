// The beginning and the end of a kernel: entry point, stack, the notes, poweroff, crash; and the finished file.
import { SCHEDOP_shutdown, SHUTDOWN_crash, SHUTDOWN_poweroff, sched_shutdown, start_info } from '@ringworld/abi';
import { at, atw, memw, w, writeElf, xenNotes } from '../asm/index.ts';
import type { Arch } from './arch.ts';
import { consoleRoutines, say } from './console.ts';
import { eventRoutines } from './events.ts';
import { hypercall, hypercallPage } from './hypercalls.ts';
import { createKernel, type Kernel, PAGE_SIZE, routine, structure, variable } from './kernel.ts';
import { memoryRoutines } from './memory.ts';
import { timeRoutines } from './time.ts';
import { trapRoutines } from './traps.ts';
import { userRoutines } from './user.ts';

const STACK_BYTES = 2 * PAGE_SIZE;

function shutdownRoutines(k: Kernel): void {
  const end = (name: string, reason: number) => {
    const argument = structure(k, sched_shutdown, { reason }, `${name}_argument`);
    routine(k, name, () => {
      // consoled reads what is still in the ring when the domain is gone, but it must know that there is something.
      k.a.call('console_notify');
      hypercall(k, 'sched_op', SCHEDOP_shutdown, argument.address);
      k.a.ud2();
    });
  };
  end('poweroff', SHUTDOWN_poweroff);
  end('crash', SHUTDOWN_crash);
}

/** Goes on only if w.ax holds this; otherwise says what failed and crashes the domain, which is what a test's user should see. */
export function expectResult(k: Kernel, what: string, value: number): void {
  const { a } = k;
  const good = a.fresh('good');
  a.cmp(w.ax, value).je(good);
  say(k, `FAILED: ${what}`);
  a.jmp('crash');
  a.label(good);
}

export interface KernelOptions {
  readonly guestOs: string;
  readonly guestVersion: string;
  /** Emits the kernel's own code; runs once console, traps, events and time are up. Falls through to poweroff. */
  readonly main: (k: Kernel) => void;
  /** The program that user_run enters. It runs elsewhere than where it is linked: no absolute addresses. */
  readonly user?: (k: Kernel) => void;
}

/** A bootable ELF. The same options give the same bytes. */
export function buildKernel(arch: Arch, options: KernelOptions): Uint8Array {
  const k = createKernel(arch);
  const { a } = k;
  variable(k, 'start_info');
  variable(k, 'stack', STACK_BYTES, PAGE_SIZE);
  variable(k, 'stack_top', 0, 1);

  // xen.h, "Initial start-of-day": RSI (ESI) points at start_info, the stack is small, events are masked, interrupts do not exist.
  a.label('_start').cld().lea(w.sp, at('stack_top')).mov(atw('start_info'), w.si);
  a.call('console_init').call('trap_init').call('events_init');
  options.main(k);
  a.jmp('poweroff');

  hypercallPage(k);
  memoryRoutines(k);
  consoleRoutines(k);
  trapRoutines(k);
  eventRoutines(k);
  timeRoutines(k);
  userRoutines(k, options.user ?? (() => {}));
  shutdownRoutines(k);

  const linked = k.image.link(arch.virtBase + arch.loadAddress);
  const notes = xenNotes({
    GUEST_OS: options.guestOs,
    GUEST_VERSION: options.guestVersion,
    XEN_VERSION: 'xen-3.0',
    LOADER: 'generic',
    VIRT_BASE: arch.virtBase,
    ENTRY: linked.address('_start'),
    HYPERCALL_PAGE: linked.address('hypercall_page'),
    ...(arch.bits === 32 ? { PAE_MODE: 'yes' } : {}),
    FEATURES: '!writable_page_tables|pae_pgdir_above_4gb',
    HV_START_LOW: arch.machphys,
  } as const);
  return writeElf(linked, { bits: arch.bits, entry: '_start', notes, virtToPhys: arch.virtBase });
}

/** Memory operand for a word-sized member of start_info; destroys w.bx. */
export function startInfoWord(k: Kernel, field: Parameters<typeof start_info.offset>[0]) {
  k.a.mov(w.bx, atw('start_info'));
  return memw(w.bx, { disp: start_info.offset(field, k.abi) });
}
