// The console: a ring in a page that consoled shares (io/console.h), found through start_info, and an event channel to tell it that
// there is something to read. A domain 0 has no such ring: its console is the hypervisor's. `say` is printf for kernels of the kit.
import { CONSOLEIO_write, EVTCHNOP_send, evtchn_send, SCHEDOP_yield, SIF_INITDOMAIN, start_info, xencons_interface } from '@ringworld/abi';
import { addr, al, at, at8, atw, dl, eax, ecx, edx, type Imm, type Mem, mem8, mem32, memw, type Reg, w } from '../asm/index.ts';
import { hypercall } from './hypercalls.ts';
import { type Kernel, routine, structure, text, variable } from './kernel.ts';

const OUT_BYTES = 2048;
const LINE_END = '\r\n';

/** A number to print: what memory or a register holds. */
export interface Shown {
  readonly how: 'print_dec' | 'print_hex';
  readonly value: Mem<8 | 16 | 32 | 'word'> | Reg<'word', 0> | Imm;
}
export const dec = (value: Shown['value']): Shown => ({ how: 'print_dec', value });
export const hex = (value: Shown['value']): Shown => ({ how: 'print_hex', value });
/** The zero-terminated string that starts at an address held in memory, or at a label plus an offset. */
export interface StringAt {
  readonly string: Mem;
}
export const stringAt = (string: Mem): StringAt => ({ string });

/** Loads w.ax, zero-extending. */
export function loadAx(k: Kernel, value: Shown['value']): void {
  const { a } = k;
  if (typeof value === 'number' || typeof value === 'bigint' || value.kind === 'sym') a.mov(w.ax, value);
  else if (value.kind === 'reg') a.mov(w.ax, value);
  else if (value.size === 32) a.mov(eax, { ...value, size: 32 });
  else if (value.size === 16) a.movzx(eax, { ...value, size: 16 });
  else if (value.size === 8) a.movzx(eax, { ...value, size: 8 });
  else a.mov(w.ax, { ...value, size: 'word' });
}

/**
 * Prints a line and tells the other end. All values are taken first, as printing changes registers; each is taken through w.ax, so
 * w.ax itself can only be the first of them.
 */
export function say(k: Kernel, ...pieces: (string | Shown | StringAt)[]): void {
  const { a } = k;
  const values = pieces.filter((piece) => typeof piece !== 'string');
  for (const value of values) {
    if ('string' in value) a.lea(w.ax, value.string);
    else loadAx(k, value.value);
    a.push(w.ax);
  }
  const taken = (index: number) => memw(w.sp, { disp: (values.length - 1 - index) * k.arch.wordBytes });
  let next = 0;
  for (const piece of [...pieces, LINE_END]) {
    if (typeof piece === 'string') a.lea(w.si, at(text(k, piece))).call('print');
    else if ('string' in piece) a.mov(w.si, taken(next++)).call('print');
    else a.mov(w.ax, taken(next++)).call(piece.how);
  }
  if (values.length > 0) a.add(w.sp, values.length * k.arch.wordBytes);
  a.call('console_notify');
}

/** One line through the hypervisor's own console: there from the first instruction on, but seen only by whoever watches Xen. */
export function sayToXen(k: Kernel, line: string): void {
  const bytes = `${line}\n`;
  hypercall(k, 'console_io', CONSOLEIO_write, bytes.length, addr(text(k, bytes)));
}

/** The console's code and variables. */
export function consoleRoutines(k: Kernel): void {
  const { a, abi } = k;
  const ring = (field: 'out' | 'out_cons' | 'out_prod') => xencons_interface.offset(field, abi);
  const send = structure(k, evtchn_send, {}, 'console_port');
  variable(k, 'console_page');
  variable(k, 'digits', 24);
  variable(k, 'character', 1);

  // start_info names the page by machine frame; the M2P gives our own frame number, and with it the address.
  routine(k, 'console_init', () => {
    const domU = start_info.offset('console', abi);
    a.mov(w.bx, atw('start_info'))
      .test(mem32(w.bx, { disp: start_info.offset('flags', abi) }), SIF_INITDOMAIN)
      .jnz('.dom0');
    a.mov(w.ax, memw(w.bx, { disp: domU }))
      .call('machine_to_virtual')
      .mov(atw('console_page'), w.ax);
    a.mov(w.bx, atw('start_info'))
      .mov(eax, mem32(w.bx, { disp: domU + k.arch.wordBytes }))
      .mov(send.u32('port'), eax);
    a.label('.dom0');
  });

  routine(k, 'console_notify', () => {
    a.cmp(atw('console_page'), 0).je('.dom0');
    hypercall(k, 'event_channel_op', EVTCHNOP_send, send.address);
    a.label('.dom0');
  });

  // al: the character. Waits while the ring is full, as Linux does: by yielding.
  routine(k, 'putc', () => {
    a.mov(w.bx, atw('console_page')).test(w.bx, w.bx).jz('.dom0');
    a.mov(ecx, mem32(w.bx, { disp: ring('out_prod') }))
      .mov(edx, ecx)
      .sub(edx, mem32(w.bx, { disp: ring('out_cons') }));
    a.cmp(edx, OUT_BYTES).jb('.room');
    a.push(w.ax).push(w.si).call('console_notify');
    hypercall(k, 'sched_op', SCHEDOP_yield, 0);
    a.pop(w.si).pop(w.ax).jmp('putc');
    a.label('.room')
      .mov(edx, ecx)
      .and(edx, OUT_BYTES - 1);
    a.mov(mem8(w.bx, { index: w.dx, disp: ring('out') }), al);
    // x86 keeps stores in order: whoever sees the index sees the character.
    a.inc(ecx)
      .mov(mem32(w.bx, { disp: ring('out_prod') }), ecx)
      .jmp('.end');
    a.label('.dom0').mov(at8('character'), al).push(w.si);
    hypercall(k, 'console_io', CONSOLEIO_write, 1, addr('character'));
    a.pop(w.si).label('.end');
  });

  // w.si: a zero-terminated string.
  routine(k, 'print', () => {
    a.label('.next').mov(al, mem8(w.si)).test(al, al).jz('.end');
    a.inc(w.si).call('putc').jmp('.next');
    a.label('.end');
  });

  const digits = (name: string, base: 10 | 16, prefix: string) =>
    routine(k, name, () => {
      a.lea(w.di, at('digits', 23)).mov(mem8(w.di), 0).mov(w.cx, base);
      a.label('.digit').xor(edx, edx).div(w.cx);
      a.cmp(dl, 10)
        .jb('.decimal')
        .add(dl, 'a'.charCodeAt(0) - '0'.charCodeAt(0) - 10);
      a.label('.decimal').add(dl, '0'.charCodeAt(0)).dec(w.di).mov(mem8(w.di), dl);
      a.test(w.ax, w.ax).jnz('.digit');
      if (prefix !== '')
        a.push(w.di)
          .lea(w.si, at(text(k, prefix)))
          .call('print')
          .pop(w.di);
      a.mov(w.si, w.di).call('print');
    });
  digits('print_dec', 10, '');
  digits('print_hex', 16, '0x');
}
