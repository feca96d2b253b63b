// Memory as a PV kernel sees it: pseudo-physical frames mapped from VIRT_BASE on, the p2m list from frame to machine frame, Xen's M2P
// table back, and page-table entries that hold machine frames and are changed by hypercall only.
import { start_info, UVMF_INVLPG } from '@ringworld/abi';
import { at, at32, atw, eax, ecx, edx, mem, memw, type Sym, w } from '../asm/index.ts';
import { hypercall } from './hypercalls.ts';
import { type Kernel, routine, variable } from './kernel.ts';

/** Page-table entry bits (SDM Vol 3A, 4.4 and 4.5). 64-bit PV kernels run in ring 3, so even their own pages are user pages. */
export const PTE = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40 } as const;
export const READ_ONLY = PTE.P | PTE.US | PTE.A | PTE.D;
export const READ_WRITE = READ_ONLY | PTE.RW;

export function memoryRoutines(k: Kernel): void {
  const { a, arch } = k;
  variable(k, 'pte', 8);

  // w.ax: an address of ours -> its machine frame.
  routine(k, 'mfn_of', () => {
    a.mov(w.cx, arch.virtBase).sub(w.ax, w.cx).shr(w.ax, 12);
    a.mov(w.bx, atw('start_info')).mov(w.bx, memw(w.bx, { disp: start_info.offset('mfn_list', k.abi) }));
    a.mov(w.ax, mem(w.bx, { index: w.ax, scale: arch.wordBytes }));
  });

  // w.ax: a machine frame of ours -> the address where it is mapped.
  routine(k, 'machine_to_virtual', () => {
    a.mov(w.bx, arch.machphys).mov(w.ax, mem(w.bx, { index: w.ax, scale: arch.wordBytes }));
    a.shl(w.ax, 12).mov(w.cx, arch.virtBase).add(w.ax, w.cx);
  });

  // w.ax: machine frame, w.dx: flags -> the variable `pte`, 64 bits in either kernel.
  routine(k, 'make_pte', () => {
    if (arch.bits === 64) a.shl(w.ax, 12).or(w.ax, w.dx).mov(atw('pte'), w.ax);
    else {
      a.mov(ecx, eax).shl(eax, 12).or(eax, edx).mov(at32('pte'), eax);
      a.shr(ecx, 20).mov(at32('pte', 4), ecx);
    }
  });
}

/** The variable `pte` becomes an entry for the page at a label. */
export function makePte(k: Kernel, page: string, flags: number): void {
  k.a.lea(w.ax, at(page)).call('mfn_of').mov(w.dx, flags).call('make_pte');
}

/** Maps what the variable `pte` says at an address of ours; the entry's page table is found by Xen. Result in w.ax. */
export function updateVaMapping(k: Kernel, address: Sym | bigint): void {
  if (k.arch.bits === 64) hypercall(k, 'update_va_mapping', address, atw('pte'), UVMF_INVLPG);
  else hypercall(k, 'update_va_mapping', address, at32('pte'), at32('pte', 4), UVMF_INVLPG);
}

/** Machine address of entry `index` of the page table at a label, with a command in its low bits (MMU_*) -> 64 bits at `to`. */
export function entryAddress(k: Kernel, table: string, index: number, to: string): void {
  const { a } = k;
  a.lea(w.ax, at(table))
    .call('mfn_of')
    .mov(w.dx, index * 8)
    .call('make_pte');
  a.mov(eax, at32('pte')).mov(at32(to), eax).mov(eax, at32('pte', 4)).mov(at32(to, 4), eax);
}
