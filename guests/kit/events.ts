// Event channels, two-level: the upcall notes every pending port in `events_seen`, and waiting is blocking until a bit is there.
import { SCHEDOP_block, shared_info, start_info, vcpu_info, XENVER_version } from '@ringworld/abi';
import { addr, at, at8, atw, type Mem, mem, memw, w } from '../asm/index.ts';
import { hypercall } from './hypercalls.ts';
import { type Kernel, PAGE_SIZE, routine, variable } from './kernel.ts';
import { READ_WRITE, updateVaMapping } from './memory.ts';
import { dropEntryRegisters, jumpToIret } from './traps.ts';

const vcpu0 = (k: Kernel, field: 'evtchn_upcall_pending' | 'evtchn_upcall_mask' | 'evtchn_pending_sel' | 'arch' | 'time'): number =>
  shared_info.offset('vcpu_info', k.abi) + vcpu_info.offset(field, k.abi);

/** CR2 as Xen shows it to the guest: arch.cr2 of vcpu_info. */
export const cr2 = (k: Kernel): Mem<'word'> => atw('shared_info', vcpu0(k, 'arch'));
/** Offset of vcpu_info.time in the shared page. */
export const timeOffset = (k: Kernel): number => vcpu0(k, 'time');

export function eventRoutines(k: Kernel): void {
  const { a, arch, abi } = k;
  const word = arch.wordBytes;
  const words = arch.bits; // 64 words of 64 bits, or 32 of 32
  const pending = shared_info.offset('evtchn_pending', abi);
  const mask = shared_info.offset('evtchn_mask', abi);
  const upcallMask = at8('shared_info', vcpu0(k, 'evtchn_upcall_mask'));
  const upcallPending = at8('shared_info', vcpu0(k, 'evtchn_upcall_pending'));
  const selector = atw('shared_info', vcpu0(k, 'evtchn_pending_sel'));

  // The page has a frame of its own; what is mapped here until then is given up.
  variable(k, 'shared_info', PAGE_SIZE, PAGE_SIZE);
  variable(k, 'events_seen', words * word);

  // start_info gives a machine address, not a frame. It is below 4 GiB << 12 in a 32-bit kernel too, where it is one word.
  routine(k, 'events_init', () => {
    a.mov(w.bx, atw('start_info')).mov(w.ax, memw(w.bx, { disp: start_info.offset('shared_info', abi) }));
    a.shr(w.ax, 12).mov(w.dx, READ_WRITE).call('make_pte');
    updateVaMapping(k, addr('shared_info'));
    a.test(w.ax, w.ax).jnz('crash');
    const { kernelCs } = arch;
    if (arch.bits === 64) hypercall(k, 'set_callbacks', addr('upcall'), addr('failsafe'), addr('trap_system_call'));
    else hypercall(k, 'set_callbacks', kernelCs, addr('upcall'), kernelCs, addr('failsafe'));
  });

  k.image.within('.text', () => {
    a.align(16).label('upcall');
    dropEntryRegisters(k);
    const saved = [w.ax, w.bx, w.cx, w.dx, w.si] as const;
    for (const register of saved) a.push(register);
    a.mov(upcallPending, 0);
    // The selector says which words to look at; emptying it before reading them loses nothing.
    a.xor(w.ax, w.ax).lea(w.bx, selector).xchg(mem(w.bx), w.ax);
    a.label('.word').bsf(w.cx, w.ax).jz('.done').btr(w.ax, w.cx);
    a.lea(w.bx, at('shared_info')).mov(w.dx, mem(w.bx, { index: w.cx, scale: word, disp: mask }));
    a.not(w.dx).and(w.dx, mem(w.bx, { index: w.cx, scale: word, disp: pending }));
    a.lock().xor(mem(w.bx, { index: w.cx, scale: word, disp: pending }), w.dx);
    a.lea(w.si, at('events_seen'))
      .or(mem(w.si, { index: w.cx, scale: word }), w.dx)
      .jmp('.word');
    a.label('.done');
    for (const register of [...saved].reverse()) a.pop(register);
    jumpToIret(k);

    // Xen comes here when it cannot restore a segment: nothing in this kernel makes that happen.
    a.align(16).label('failsafe').jmp('crash');
  });

  // Unmasked events that came meanwhile are delivered at the next way out of Xen, so go there (as Linux's force_evtchn_callback).
  routine(k, 'events_enable', () => {
    a.mov(upcallMask, 0).cmp(upcallPending, 0).je('.none');
    hypercall(k, 'xen_version', XENVER_version, 0);
    a.label('.none');
  });

  // w.ax: a port. Returns when it was seen pending, and forgets that. SCHEDOP_block unmasks and sleeps in one step.
  routine(k, 'event_wait', () => {
    a.push(w.bp).mov(w.bp, w.ax);
    a.label('.again').mov(upcallMask, 1);
    a.lea(w.bx, at('events_seen')).btr(mem(w.bx), w.bp).jc('.seen');
    hypercall(k, 'sched_op', SCHEDOP_block, 0);
    a.jmp('.again');
    a.label('.seen').pop(w.bp).call('events_enable');
  });
}
