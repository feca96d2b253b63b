// A PV guest that introduces itself and then tries, one after the other, the things that a PV kernel lives by: hypercalls, traps and
// the way back from them, page tables, user mode, events, time. Every step prints a line; a step that fails says so and crashes the
// domain. It boots on this project's hypervisor and on real Xen alike, 64-bit and 32-bit PAE from the same source.
import {
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_xen_version,
  DOMID_SELF,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_virq,
  EVTCHNOP_send,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_ipi,
  evtchn_bind_virq,
  evtchn_send,
  multicall_entry,
  SIF_INITDOMAIN,
  start_info,
  VCPUOP_is_up,
  VIRQ_TIMER,
  XENVER_extraversion,
  XENVER_version,
} from '@ringworld/abi';
import { addr, at, at32, atw, cs, eax, edx, mem, mem32, w } from '../asm/index.ts';
import {
  cr2,
  dec,
  directHypercall,
  expectResult,
  expectTrap,
  hex,
  hypercall,
  type Kernel,
  makePte,
  READ_ONLY,
  READ_WRITE,
  SYS,
  say,
  sayToXen,
  startInfoWord,
  stringAt,
  structure,
  systemCall,
  updateVaMapping,
  variable,
} from '../kit/index.ts';

const PAGE_SIZE = 4096;
/** Nobody maps anything here. */
const NOWHERE = 0x10000;
const TIMER_NS = 5_000_000;

export function hello(k: Kernel): void {
  introduce(k);
  tryVersion(k);
  tryMulticall(k);
  tryTraps(k);
  tryMemory(k);
  tryUserMode(k);
  tryEvents(k);
  tryTimer(k);
  say(k, `${k.arch.name}: all is well, powering off`);
}

function introduce(k: Kernel): void {
  sayToXen(k, `hello from ${k.arch.name} through HYPERVISOR_console_io`);
  say(k, `hello from ${k.arch.name}: `, dec(startInfoWord(k, 'nr_pages')), ' pages');
  k.a.mov(w.bx, atw('start_info'));
  say(k, 'start_info magic: ', stringAt(mem(w.bx, { disp: start_info.offset('magic', k.abi) })));
  k.a.mov(w.bx, atw('start_info'));
  say(k, 'command line: ', stringAt(mem(w.bx, { disp: start_info.offset('cmd_line', k.abi) })));
}

function tryVersion(k: Kernel): void {
  const { a } = k;
  const version = atw('version');
  variable(k, 'version');
  variable(k, 'extraversion', 16);
  hypercall(k, 'xen_version', XENVER_version, 0);
  a.mov(version, w.ax);
  hypercall(k, 'xen_version', XENVER_extraversion, addr('extraversion'));
  expectResult(k, 'XENVER_extraversion', 0);
  a.movzx(eax, { ...at32('version', 2), size: 16 })
    .mov(edx, at32('version'))
    .and(edx, 0xffff)
    .mov(at32('minor'), edx);
  variable(k, 'minor', 4);
  say(k, 'Xen ', dec(w.ax), '.', dec(at32('minor')), stringAt(at('extraversion')));
  if (k.arch.bits === 64) {
    directHypercall(k, 'xen_version', XENVER_version, 0);
    a.sub(w.ax, version);
    expectResult(k, 'a hypercall by SYSCALL gives another version', 0);
    say(k, 'hypercall without the page: the same answer');
  }
  // 63 is no hypercall at all.
  const ENOSYS = 38;
  a.call('hypercall_unused');
  expectResult(k, 'hypercall 63 is not refused by -ENOSYS', -ENOSYS);
  say(k, 'hypercall 63: -ENOSYS');
}

/** Two calls in one, with answers known beforehand. */
function tryMulticall(k: Kernel): void {
  const { a } = k;
  const entry = multicall_entry.size(k.abi);
  const result = multicall_entry.offset('result', k.abi);
  k.image.within('.data', () => {
    const version = { op: __HYPERVISOR_xen_version, args: [BigInt(XENVER_version), 0n, 0n, 0n, 0n, 0n] };
    const isUp = { op: __HYPERVISOR_vcpu_op, args: [BigInt(VCPUOP_is_up), 0n, 0n, 0n, 0n, 0n] };
    a.align(8).label('calls').bytes(multicall_entry.encode(k.abi, version)).bytes(multicall_entry.encode(k.abi, isUp));
  });
  hypercall(k, 'multicall', addr('calls'), 2);
  expectResult(k, 'multicall', 0);
  a.mov(w.ax, atw('calls', result)).sub(w.ax, atw('version'));
  expectResult(k, 'xen_version by multicall gives another version', 0);
  a.mov(w.ax, atw('calls', entry + result));
  expectResult(k, 'VCPUOP_is_up', 1);
  say(k, 'multicall: two calls in one');
}

function tryTraps(k: Kernel): void {
  const { a } = k;
  expectTrap(k, 'divide_error', () => a.xor(edx, edx).xor(eax, eax).div(eax));
  say(k, 'trap #DE handled');
  expectTrap(k, 'invalid_op', () => a.ud2());
  say(k, 'trap #UD handled');
  expectTrap(k, 'breakpoint', () => a.int3());
  say(k, 'trap #BP handled');
  expectTrap(k, 'general_protection', () => a.int(0x77));
  say(k, 'trap #GP handled, error code ', hex(atw('trap_error')));
  expectTrap(k, 'page_fault', () => a.mov(eax, mem32(NOWHERE)));
  a.mov(w.ax, cr2(k));
  expectResult(k, 'cr2 is not the address of the fault', NOWHERE);
  say(k, 'trap #PF handled, cr2 ', hex(cr2(k)), ', error code ', hex(atw('trap_error')));
}

/** A page of ours is made read-only, written in vain, made writable again. */
function tryMemory(k: Kernel): void {
  const { a } = k;
  variable(k, 'own_page', PAGE_SIZE, PAGE_SIZE);
  a.mov(at32('own_page'), 1);
  makePte(k, 'own_page', READ_ONLY);
  updateVaMapping(k, addr('own_page'));
  expectResult(k, 'update_va_mapping to read-only', 0);
  expectTrap(k, 'page_fault', () => a.mov(at32('own_page'), 2));
  const PRESENT_AND_WRITE = 3;
  a.mov(w.ax, atw('trap_error'));
  expectResult(k, 'the error code is not that of a write to a present page', PRESENT_AND_WRITE);
  makePte(k, 'own_page', READ_WRITE);
  updateVaMapping(k, addr('own_page'));
  expectResult(k, 'update_va_mapping to writable', 0);
  a.mov(at32('own_page'), 3).mov(eax, at32('own_page'));
  expectResult(k, 'the page did not keep what was written', 3);
  say(k, 'update_va_mapping: read-only and back');

  // A machine frame that is nobody's: far beyond the end of memory. A domain 0 may map even that, as it could be a device.
  a.mov(w.bx, atw('start_info'));
  a.test(mem32(w.bx, { disp: start_info.offset('flags', k.abi) }), SIF_INITDOMAIN).jnz('.refused');
  a.mov(w.ax, 0xffffff).mov(w.dx, READ_WRITE).call('make_pte');
  updateVaMapping(k, addr('own_page'));
  a.test(w.ax, w.ax).jns('.accepted');
  say(k, 'a foreign frame is refused');
  a.jmp('.refused').label('.accepted');
  say(k, 'FAILED: a frame beyond the end of memory was mapped');
  a.jmp('crash').label('.refused');
}

/** What runs in user mode: 41 goes to the kernel, comes back as 42, and goes along with the exit. */
export function helloUser(k: Kernel): void {
  const { a } = k;
  a.mov(w.bx, 41).push(w.bx).pop(w.bx);
  systemCall(k, SYS.add_one);
  a.mov(w.bx, w.ax);
  systemCall(k, SYS.exit);
}

function tryUserMode(k: Kernel): void {
  k.a.call('user_tables');
  expectResult(k, 'building page tables for user mode', 0);
  k.a.call('user_map_stack');
  expectResult(k, 'mmu_update', 0);
  say(k, 'mmu_update: a stack for user mode');
  k.a.call('user_run');
  expectResult(k, 'what came back from user mode is not 42', 42);
  const way = k.arch.bits === 64 ? 'syscall' : 'int 0x80';
  say(
    k,
    'user mode: ',
    dec(atw('user_calls')),
    ` calls by ${way}, cs `,
    hex({ ...atw('user_cs'), size: 16 }),
    ', result ',
    dec(atw('user_result')),
  );
  k.a.mov(eax, cs);
  say(k, 'kernel mode again, cs ', hex(w.ax));
}

function tryEvents(k: Kernel): void {
  const { a } = k;
  const send = structure(k, evtchn_send);
  const wait = () => a.mov(eax, send.u32('port')).call('event_wait');
  a.call('events_enable');

  const ipi = structure(k, evtchn_bind_ipi, { vcpu: 0 });
  hypercall(k, 'event_channel_op', EVTCHNOP_bind_ipi, ipi.address);
  expectResult(k, 'EVTCHNOP_bind_ipi', 0);
  a.mov(eax, ipi.u32('port')).mov(send.u32('port'), eax);
  hypercall(k, 'event_channel_op', EVTCHNOP_send, send.address);
  expectResult(k, 'EVTCHNOP_send to an ipi', 0);
  wait();
  say(k, 'event: an ipi to ourselves, port ', dec(send.u32('port')));

  const unbound = structure(k, evtchn_alloc_unbound, { dom: DOMID_SELF as never, remote_dom: DOMID_SELF as never });
  const bind = structure(k, evtchn_bind_interdomain, { remote_dom: DOMID_SELF as never });
  hypercall(k, 'event_channel_op', EVTCHNOP_alloc_unbound, unbound.address);
  expectResult(k, 'EVTCHNOP_alloc_unbound', 0);
  a.mov(eax, unbound.u32('port')).mov(bind.u32('remote_port'), eax);
  hypercall(k, 'event_channel_op', EVTCHNOP_bind_interdomain, bind.address);
  expectResult(k, 'EVTCHNOP_bind_interdomain', 0);
  a.mov(eax, bind.u32('local_port')).mov(send.u32('port'), eax);
  hypercall(k, 'event_channel_op', EVTCHNOP_send, send.address);
  expectResult(k, 'EVTCHNOP_send', 0);
  a.mov(eax, unbound.u32('port')).call('event_wait');
  say(k, 'event: from port ', dec(bind.u32('local_port')), ' to port ', dec(unbound.u32('port')));
}

function tryTimer(k: Kernel): void {
  const { a } = k;
  variable(k, 'before', 8);
  variable(k, 'deadline', 8);
  const virq = structure(k, evtchn_bind_virq, { virq: VIRQ_TIMER, vcpu: 0 });
  hypercall(k, 'event_channel_op', EVTCHNOP_bind_virq, virq.address);
  expectResult(k, 'EVTCHNOP_bind_virq', 0);
  a.call('read_time').mov(w.ax, atw('now')).mov(atw('before'), w.ax);
  a.mov(eax, at32('now')).mov(edx, at32('now', 4)).add(eax, TIMER_NS).adc(edx, 0);
  a.mov(at32('deadline'), eax).mov(at32('deadline', 4), edx);
  // VIRQ_TIMER may also come for other reasons and a little early (xen.h: "timebase update, and/or requested timeout"): ask again then.
  a.label('.sleep');
  if (k.arch.bits === 64) hypercall(k, 'set_timer_op', atw('deadline'));
  else hypercall(k, 'set_timer_op', at32('deadline'), at32('deadline', 4));
  expectResult(k, 'set_timer_op', 0);
  a.mov(eax, virq.u32('port')).call('event_wait');
  a.call('read_time').mov(w.ax, atw('now')).sub(w.ax, atw('deadline')).js('.sleep');
  // Less than 4 s in any case: one word of the difference will do.
  a.mov(w.ax, atw('now')).sub(w.ax, atw('before'));
  a.xor(edx, edx).mov(w.cx, 1000).div(w.cx);
  say(k, 'timer: slept for ', dec(w.ax), ' us');
}
