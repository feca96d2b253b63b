// User mode: page tables with one page of code and one of stack below 4 GiB, and the way there and back.
//
// A 64-bit PV guest keeps two top-level tables, one for its kernel and one for its programs (both run in ring 3, so the page tables are
// the only wall between them), and tells Xen the second one by MMUEXT_NEW_USER_BASEPTR. A 32-bit kernel runs in ring 1 and hangs the
// program's tables into its own.
import {
  DOMID_SELF,
  MMU_NORMAL_PT_UPDATE,
  MMUEXT_NEW_USER_BASEPTR,
  MMUEXT_PIN_L2_TABLE,
  MMUEXT_PIN_L4_TABLE,
  mmu_update,
  mmuext_op,
  start_info,
} from '@ringworld/abi';
import { addr, at, at32, atw, ax, ds, eax, es, mem32, memw, w } from '../asm/index.ts';
import { hypercall } from './hypercalls.ts';
import { type Kernel, PAGE_SIZE, routine, structure, variable } from './kernel.ts';
import { entryAddress, makePte, PTE, READ_ONLY, READ_WRITE, updateVaMapping } from './memory.ts';
import { frame, jumpToIret, TRAPS } from './traps.ts';

/** Where programs see their two pages: neighbours in one page table. */
export const USER_CODE = 0x400000;
export const USER_STACK = 0x401000;
const FLAGS_IF = 0x200;

const indexOf = (level: 1 | 2 | 3 | 4, address: number): number => Math.floor(address / 2 ** (3 + 9 * level)) % 512;

/** Numbers by which programs call this kernel, in w.ax; the argument is in w.bx. */
export const SYS = { add_one: 1, exit: 2 } as const;

/** From user mode: w.ax is the number, and what comes back; w.bx the argument. */
export function systemCall(k: Kernel, number: number): void {
  k.a.mov(w.ax, number);
  if (k.arch.bits === 64) k.a.syscall();
  else k.a.int(TRAPS.system_call.vector);
}

/** `program` fills the page at USER_CODE. */
export function userRoutines(k: Kernel, program: (k: Kernel) => void): void {
  const { a, arch } = k;
  a.section('.user', { align: PAGE_SIZE, execute: true }).label('user_code');
  program(k);
  a.ud2().align(PAGE_SIZE).section('.text');

  const tables = arch.bits === 64 ? ['user_l1', 'user_l2', 'user_l3', 'user_l4'] : ['user_l1', 'user_l2'];
  for (const table of [...tables, 'user_stack', 'user_entry_stack']) variable(k, table, PAGE_SIZE, PAGE_SIZE);
  variable(k, 'user_entry_stack_top', 0, 1);
  variable(k, 'user_result');
  variable(k, 'user_cs');
  variable(k, 'user_calls');
  variable(k, 'kernel_sp');
  const update = structure(k, mmu_update, {}, 'user_update');
  const top = structure(k, mmuext_op, { cmd: arch.bits === 64 ? MMUEXT_PIN_L4_TABLE : MMUEXT_PIN_L2_TABLE }, 'user_pin');
  const base = structure(k, mmuext_op, { cmd: MMUEXT_NEW_USER_BASEPTR }, 'user_base');

  const storeEntry = (table: string, index: number) => {
    a.lea(w.bx, at(table, index * 8))
      .mov(eax, at32('pte'))
      .mov(mem32(w.bx), eax);
    a.mov(eax, at32('pte', 4)).mov(mem32(w.bx, { disp: 4 }), eax);
  };

  // While they are ordinary pages, tables are written like any; then they become read-only for us, and page tables for Xen.
  routine(k, 'user_tables', () => {
    makePte(k, 'user_code', PTE.P | PTE.US | PTE.A);
    storeEntry('user_l1', indexOf(1, USER_CODE));
    for (const [i, table] of tables.slice(0, -1).entries()) {
      makePte(k, table, READ_WRITE);
      storeEntry(tables[i + 1]!, indexOf((i + 2) as 2 | 3 | 4, USER_CODE));
    }
    for (const table of tables) {
      makePte(k, table, READ_ONLY);
      updateVaMapping(k, addr(table));
      a.test(w.ax, w.ax).jnz('.end');
    }
    const highest = tables[tables.length - 1]!;
    a.lea(w.ax, at(highest)).call('mfn_of');
    a.mov(atw('user_pin', mmuext_op.offset('arg1', k.abi)), w.ax).mov(atw('user_base', mmuext_op.offset('arg1', k.abi)), w.ax);
    hypercall(k, 'mmuext_op', top.address, 1, 0, DOMID_SELF);
    a.test(w.ax, w.ax).jnz('.end');
    if (arch.bits === 64) hypercall(k, 'mmuext_op', base.address, 1, 0, DOMID_SELF);
    else {
      // An entry of a PAE top-level table has no flags but "present".
      makePte(k, highest, PTE.P);
      a.mov(eax, at32('pte')).mov(at32('user_update', 8), eax).mov(eax, at32('pte', 4)).mov(at32('user_update', 12), eax);
      a.mov(w.bx, atw('start_info'))
        .mov(w.ax, memw(w.bx, { disp: start_info.offset('pt_base', k.abi) }))
        .call('mfn_of');
      a.mov(w.dx, indexOf(3, USER_CODE) * 8 + MMU_NORMAL_PT_UPDATE).call('make_pte');
      a.mov(eax, at32('pte')).mov(at32('user_update'), eax).mov(eax, at32('pte', 4)).mov(at32('user_update', 4), eax);
      hypercall(k, 'mmu_update', update.address, 1, 0, DOMID_SELF);
    }
    a.label('.end');
  });

  // The page table is Xen's by now: the stack page goes in by mmu_update. Result in w.ax.
  routine(k, 'user_map_stack', () => {
    entryAddress(k, 'user_l1', indexOf(1, USER_STACK), 'user_update');
    makePte(k, 'user_stack', READ_WRITE);
    a.mov(eax, at32('pte')).mov(at32('user_update', 8), eax).mov(eax, at32('pte', 4)).mov(at32('user_update', 12), eax);
    hypercall(k, 'mmu_update', update.address, 1, 0, DOMID_SELF);
  });

  // Into the program at USER_CODE; returns when it calls SYS.exit, with its argument in w.ax.
  routine(k, 'user_run', () => {
    a.push(w.bp);
    hypercall(k, 'stack_switch', arch.kernelSs, addr('user_entry_stack_top'));
    a.mov(atw('kernel_sp'), w.sp);
    if (arch.bits === 32) a.mov(w.ax, arch.userDs).mov(ds, ax).mov(es, ax);
    a.push(arch.userSs)
      .push(USER_STACK + PAGE_SIZE)
      .push(FLAGS_IF)
      .push(arch.userCs)
      .push(USER_CODE);
    jumpToIret(k);
    a.label('user_exit').mov(w.sp, atw('kernel_sp')).pop(w.bp).mov(w.ax, atw('user_result'));
  });

  // From trap_common, w.bp at the frame.
  routine(k, 'system_call', () => {
    a.inc(atw('user_calls'));
    a.mov(w.cx, frame(k, 'cs')).mov(atw('user_cs'), w.cx);
    a.mov(w.ax, frame(k, 'ax')).mov(w.bx, frame(k, 'bx')).cmp(w.ax, SYS.exit).je('.exit');
    a.inc(w.bx).mov(frame(k, 'ax'), w.bx).jmp('.end');
    a.label('.exit').mov(atw('user_result'), w.bx).jmp('user_exit');
    a.label('.end');
  });
}
