// The kernel of a guest that does as it is told: it waits for a number to change in its own memory, calls the code that lies in a page
// set apart for it, and notes what came of it, be that a value in RAX (EAX) or a trap. Any real Xen would boot it.
//
// It does without a hypercall page and without IRET: a trap handler notes vector and error code and goes back to waiting on a fresh stack.
import { SCHEDOP_yield, trap_info } from '@ringworld/abi';
import {
  type Assembler,
  addr,
  assembler,
  at,
  at32,
  atw,
  ax,
  ds,
  eax,
  es,
  generalRegister,
  Image,
  kit,
  type Linked,
  type Mode,
  r11,
  rcx,
  w,
  writeElf,
  xenNotes,
} from '@ringworld/guests';

export type Bits = 32 | 64;
const PAGE = 4096;
/** Pages of room behind the code, mapped writable by the domain builder. */
export const SPARE_PAGES = 256;
export const NO_TRAP = 0xffff_ffff;
/** SDM Vol 3A, table 6-1: exceptions that push an error code. */
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21]);
const VECTORS = 32;
const __HYPERVISOR_set_trap_table = 0;
const __HYPERVISOR_sched_op = 29;

export const archOf = (bits: Bits): kit.Arch => (bits === 64 ? kit.PV64 : kit.PV32PAE);

/** Number and arguments into their registers, and over: SYSCALL in 64-bit kernels, INT 0x82 in 32-bit ones. */
export function emitHypercall(a: Assembler<Mode>, bits: Bits, nr: number | bigint, args: readonly (number | bigint)[]): void {
  const order = bits === 64 ? [7, 6, 2, 10, 8, 9] : [3, 1, 2, 6, 7, 5];
  for (const [i, value] of args.entries()) a.mov(generalRegister('word', order[i]!), BigInt.asUintN(bits, BigInt(value)));
  a.mov(w.ax, nr);
  if (bits === 64) a.syscall();
  else a.int(0x82);
}

export interface PuppetKernel {
  readonly elf: Uint8Array;
  readonly linked: Linked;
}

export function buildPuppet(bits: Bits): PuppetKernel {
  const arch = archOf(bits);
  const image = new Image();
  const a: Assembler<Mode> = assembler<Mode>(image, bits);
  const hypercall = (nr: number, first: number, second?: 'trap_table') => {
    const order = bits === 64 ? [7, 6] : [3, 1];
    if (second === undefined) a.mov(generalRegister('word', order[0]!), first);
    else a.lea(generalRegister('word', order[0]!), at(second));
    a.mov(w.ax, nr);
    if (bits === 64) a.syscall();
    else a.int(0x82);
  };
  image.section('.text', { align: PAGE });
  a.label('_start').cld().lea(w.sp, at('stack_top'));
  hypercall(__HYPERVISOR_set_trap_table, 0, 'trap_table');
  a.label('wait').mov(eax, at32('order')).cmp(eax, at32('done')).jne('obey');
  a.inc(at32('idle_turns')).mov(w.cx, 500);
  a.label('.burn').pause().dec(w.cx).jnz('.burn');
  hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield);
  a.jmp('wait');
  a.label('obey').mov(at32('trap'), -1).mov(at32('error'), 0).mov(w.si, w.sp).mov(atw('saved_sp'), w.si);
  a.call('act').mov(atw('result'), w.ax);
  a.label('finish').lea(w.sp, at('stack_top')).mov(eax, at32('order')).mov(at32('done'), eax).jmp('wait');

  for (let v = 0; v < VECTORS; v++) {
    a.align(16).label(`trap_${v}`);
    if (bits === 64) a.pop(rcx).pop(r11);
    if (!WITH_ERROR_CODE.has(v)) a.push(0);
    a.push(v).jmp('trap_common');
  }
  a.label('trap_common');
  if (bits === 32) a.mov(eax, arch.kernelSs).mov(ds, ax).mov(es, ax);
  a.pop(w.ax).mov(at32('trap'), eax);
  a.pop(w.ax).mov(at32('error'), eax);
  a.pop(w.ax).mov(atw('trap_ip'), w.ax).jmp('finish');

  image.section('.data', { align: PAGE });
  for (const name of ['order', 'done', 'result', 'trap', 'error', 'trap_ip', 'idle_turns', 'saved_sp']) a.align(8).label(name).reserve(8);
  a.align(8).label('trap_table');
  for (let v = 0; v < VECTORS; v++)
    a.db(v, v === 3 || v === 4 ? 3 : 0)
      .dw(arch.kernelCs)
      .reserve(trap_info.offset('address', arch.abi) - 4)
      .word(addr(`trap_${v}`));
  a.reserve(trap_info.size(arch.abi));
  image.section('.bss', { align: PAGE });
  a.label('act')
    .reserve(PAGE)
    .label('stack')
    .reserve(2 * PAGE)
    .label('stack_top');
  a.label('spare').reserve(SPARE_PAGES * PAGE);

  const linked = image.link(arch.virtBase + arch.loadAddress);
  const notes = xenNotes({
    GUEST_OS: 'puppet',
    GUEST_VERSION: '1',
    XEN_VERSION: 'xen-3.0',
    LOADER: 'generic',
    VIRT_BASE: arch.virtBase,
    ENTRY: linked.address('_start'),
    ...(bits === 32 ? { PAE_MODE: 'yes' } : {}),
    FEATURES: '!writable_page_tables|pae_pgdir_above_4gb',
    HV_START_LOW: arch.machphys,
  } as const);
  return { elf: writeElf(linked, { bits, entry: '_start', notes, virtToPhys: arch.virtBase }), linked };
}
