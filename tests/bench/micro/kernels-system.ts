// Micro kernels that cross between user and supervisor mode, as every system call does.
import {
  type Assembler,
  addr,
  ds,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  esp,
  gs,
  mem,
  mem32,
  mem64,
  r8,
  r11,
  r12,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
} from '@ringworld/guests';
import { type MicroKernel, SEL } from './image.ts';

const STAR = 0xc000_0081;
const LSTAR = 0xc000_0082;
const FMASK = 0xc000_0084;
const KERNEL_GS_BASE = 0xc000_0102;
const LEAVE = -1;

/** SYSCALL and SYSRET with what a kernel does between them: SWAPGS, another stack, registers saved, a call through a table. */
function syscall64(a: Assembler<64>): void {
  const wrmsr = (msr: number, low: ReturnType<typeof addr> | number, high = 0) => a.mov(ecx, msr).mov(eax, low).mov(edx, high).wrmsr();
  a.mov(r12, rsp).mov(rbx, rcx);
  // CS and SS of SYSCALL are base and base + 8; of SYSRET base + 16 and base + 8.
  wrmsr(STAR, 0, (SEL.userCode32 << 16) | SEL.code64);
  wrmsr(LSTAR, addr('syscall_entry'));
  wrmsr(FMASK, 0x700);
  wrmsr(KERNEL_GS_BASE, addr('space'));
  a.mov(rax, addr('trap_stack_top')).mov(mem64(null, { disp: addr('space') }), rax);
  a.mov(rax, addr('getppid')).mov(mem64(null, { disp: addr('space', 64) }), rax);
  a.mov(rcx, addr('user')).mov(r11, 2).sysretq();
  a.label('user').xor(r8, r8);
  a.label('.again').xor(eax, eax).mov(edi, ebx).mov(esi, 3).syscall().add(r8, rax).dec(rbx).jnz('.again').mov(rax, LEAVE).syscall();
  a.label('syscall_entry')
    .swapgs()
    .mov(mem64(null, { disp: 8, seg: gs }), rsp)
    .mov(rsp, mem64(null, { disp: 0, seg: gs }));
  a.cmp(rax, LEAVE).je('.leave').push(rcx).push(r11).push(rdi).push(rsi).push(rdx).push(rbx);
  a.call({ ...mem(null, { index: rax, scale: 8, disp: addr('space', 64) }), size: 64 });
  a.pop(rbx)
    .pop(rdx)
    .pop(rsi)
    .pop(rdi)
    .pop(r11)
    .pop(rcx)
    .mov(rsp, mem64(null, { disp: 8, seg: gs }))
    .swapgs()
    .sysretq();
  a.label('.leave').swapgs().mov(rsp, r12).mov(rax, r8).ret();
  a.label('getppid')
    .lea(rax, mem(rdi, { disp: 5 }))
    .ret();
}

/** INT 0x80 and IRET, with the register save area and segment loads of a 32-bit Linux. */
function int80(a: Assembler<32>): void {
  a.mov(mem32(null, { disp: addr('space') }), esp).mov(ebx, ecx);
  a.mov(edi, addr('idt', 0x80 * 8))
    .mov(edx, addr('int80_entry'))
    .call('set_gate');
  a.mov(eax, SEL.userData).mov(ds, eax).mov(es, eax);
  a.push(SEL.userData).push(addr('stack', 8192)).push(2).push(SEL.userCode32).push(addr('user')).iretd();
  a.label('user').xor(edi, edi).label('.again').mov(eax, 20).int(0x80).add(edi, eax).dec(ebx).jnz('.again').mov(eax, LEAVE).int(0x80);
  a.label('int80_entry').cmp(eax, LEAVE).je('.leave').push(es).push(ds).pusha().mov(edx, SEL.data).mov(ds, edx).mov(es, edx);
  a.add(eax, ebx)
    .mov(mem32(esp, { disp: 28 }), eax)
    .popa()
    .pop(ds)
    .pop(es)
    .iretd();
  a.label('.leave')
    .mov(eax, SEL.data)
    .mov(ds, eax)
    .mov(es, eax)
    .mov(esp, mem32(null, { disp: addr('space') }))
    .mov(eax, edi)
    .ret();
}

export const SYSTEM_KERNELS: readonly MicroKernel[] = [
  { name: 'syscall64', group: 'syscall', mode: 64, rounds: 18e6, about: 'SYSCALL, SWAPGS, SYSRET', emit: syscall64 },
  { name: 'int80', group: 'syscall', mode: 32, rounds: 4e6, about: 'INT 0x80, segment loads, IRET', emit: int80 },
];
