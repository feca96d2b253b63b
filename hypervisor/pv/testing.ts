// Test support: a hypervisor on a small machine with one PV domain of one vCPU, whose memory is mapped one to one at a fixed linear base,
// for the kernel and for users alike. The vCPU can be put on the CPU by hand, so that a test looks at registers between two exits.

import { encode, xen_x86_32, xen_x86_64 } from '@ringworld/abi';
import { createDomain, createVcpu } from '../core/domain-create.ts';
import { FrameTable } from '../core/frame-table.ts';
import { PGT_l3_page_table, PGT_l4_page_table } from '../core/frame-types.ts';
import { Hypervisor } from '../core/hypervisor.ts';
import type { Domid, Maddr, Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { HypercallContext, HypercallResult } from '../hypercalls/context.ts';
import { createMachine, type EmulatedCpu } from '../machine/index.ts';
import { pvHooks } from './index.ts';
import { installPageTables } from './mm-install.ts';

const PRESENT_RW_USER = 7;
const DATA_PAGES = 64;

export interface TestGuest {
  readonly hv: Hypervisor;
  readonly cpu: EmulatedCpu;
  readonly vcpu: Vcpu;
  /** Linear address of data page n; pages 0..63 are mapped writable. */
  lin(page: number, offset?: number): number;
  maddr(page: number, offset?: number): Maddr;
  frame(page: number): Mfn;
  /** Puts the vCPU on the CPU. */
  enter(): void;
  leave(): void;
  /** Runs until something is for the hypervisor, which is then handled; delivers what is pending after it. */
  step(cycles?: number): void;
  read64(lin: number): bigint;
  read32(lin: number): number;
  write(page: number, offset: number, bytes: readonly number[]): void;
}

export interface TestGuestOptions {
  is32bit?: boolean;
  dispatch?: (c: HypercallContext, number: number) => HypercallResult;
  code?: readonly number[];
  context?: Record<string, unknown>;
  regs?: Record<string, unknown>;
}

/** Base of the mapping: L4 slot 272, the first that is the guest's in the upper half, or 256 MiB in a 32-bit guest. */
const BASE64 = -0x7800_0000_0000;
const BASE32 = 0x1000_0000;
export const CODE_PAGE = 0;
export const KERNEL_STACK_PAGE = 2;
export const USER_STACK_PAGE = 4;

/** Code at page 0, running in the guest's kernel with the stack at the end of page 2, events masked. */
export function createTestGuest(options: TestGuestOptions = {}): TestGuest {
  const is32bit = options.is32bit ?? false;
  const machine = createMachine({ ramBytes: 16 << 20, cpus: 1, contexts: 8 });
  const frames = new FrameTable(machine.ram, () => machine.cpus[0]!.flushAll());
  const hv = new Hypervisor({ machine, frames, pv: pvHooks, dispatch: options.dispatch ?? (() => 0) });
  const pt = installPageTables(hv);
  const domain = createDomain(hv, { id: 1 as Domid, maxVcpus: 4 })!;
  domain.is32bit = is32bit;
  if (createVcpu(hv, domain, 0) !== 0) throw new Error('no vCPU');
  const vcpu = domain.vcpus[0]!;
  const cpu = machine.cpus[0]!;

  const alloc = () => frames.allocForDomain(domain);
  const [l4, user4, l3, user3, l2, l1] = [alloc(), alloc(), alloc(), alloc(), alloc(), alloc()];
  const data = Array.from({ length: DATA_PAGES }, alloc);
  const put = (table: Mfn, i: number, mfn: Mfn, flags = PRESENT_RW_USER) => pt.write(table, i, (mfn << 12) | flags, 0);
  data.forEach((mfn, i) => {
    put(l1, i, mfn);
  });
  const base = is32bit ? BASE32 : BASE64;
  if (is32bit) {
    put(l2, BASE32 >>> 21, l1);
    put(l3, 0, l2, 1);
    for (const i of [1, 2]) put(l3, i, alloc(), 1);
    put(l3, 3, alloc(), 1);
  } else {
    put(l2, 0, l1);
    for (const [four, three] of [
      [l4, l3],
      [user4, user3],
    ] as const) {
      put(three, 0, l2);
      put(four, 272, three);
    }
  }
  const root = is32bit ? l3 : l4;
  const pinned = pt.pin(root, is32bit ? PGT_l3_page_table : PGT_l4_page_table, domain.id);
  if (pinned !== 0) throw new Error(`pin: ${pinned}`);

  const write = (page: number, offset: number, bytes: readonly number[]) =>
    hv.ram.writeBytes((data[page]! * 4096 + offset) as Maddr, Uint8Array.from(bytes));
  if (options.code) write(CODE_PAGE, 0, options.code);
  const lin = (page: number, offset = 0) => base + page * 4096 + offset;
  const bytes = is32bit ? context32(options, lin, l3) : context64(options, lin, l4, user4);
  const rc = pvHooks.loadGuestContext(hv, vcpu, bytes);
  if (rc !== 0) throw new Error(`context: ${rc}`);
  hv.ram.write8((vcpu.vcpuInfo + 1) as Maddr, 1);

  return {
    hv,
    cpu,
    vcpu,
    lin,
    write,
    maddr: (page, offset = 0) => (data[page]! * 4096 + offset) as Maddr,
    frame: (page) => data[page]!,
    enter() {
      cpu.copyFrom(vcpu.context);
      vcpu.cpu = cpu;
      pvHooks.switchTo(hv, vcpu, cpu);
    },
    leave() {
      pvHooks.switchFrom(hv, vcpu, cpu);
      vcpu.context.copyFrom(cpu);
      vcpu.cpu = null;
    },
    step(cycles = 10_000) {
      pvHooks.handleExit(hv, vcpu, cpu, cpu.run(cpu.cycles + cycles));
      if (!domain.isShuttingDown) pvHooks.deliverPending(hv, vcpu);
    },
    read64(at) {
      if (!vcpu.guest.read64(at)) throw new Error(`no memory at ${at.toString(16)}`);
      return (BigInt(vcpu.guest.hi >>> 0) << 32n) | BigInt(vcpu.guest.lo >>> 0);
    },
    read32: (at) => vcpu.guest.read32(at),
  };
}

const ZERO_TRAPS = Array.from({ length: 256 }, () => ({ vector: 0, flags: 0, cs: 0, address: 0 }));
const ZEROES = new Array<bigint>(8).fill(0n);
const u64 = (v: number) => BigInt.asUintN(64, BigInt(v));

function context64(o: TestGuestOptions, lin: (p: number, o?: number) => number, l4: Mfn, user4: Mfn): Uint8Array {
  const ctrlreg = [...ZEROES];
  ctrlreg[3] = BigInt(l4) << 12n;
  ctrlreg[1] = BigInt(user4) << 12n;
  const debugreg = [...ZEROES];
  const zero = Object.fromEntries('r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi'.split(' ').map((r) => [r, 0n]));
  const pad = [0, 0, 0];
  const value = {
    fpu_ctxt: new Uint8Array(512),
    flags: 4 | 32,
    user_regs: {
      ...zero,
      error_code: 0,
      entry_vector: 0,
      rip: u64(lin(CODE_PAGE)),
      cs: 0xe033,
      rflags: 0x202n,
      rsp: u64(lin(KERNEL_STACK_PAGE + 1)),
      ss: 0xe02b,
      saved_upcall_mask: 0,
      es: 0,
      ds: 0,
      fs: 0,
      gs: 0,
      _pad0: [0],
      _pad1: new Uint8Array(3),
      _pad2: pad,
      _pad3: pad,
      _pad4: pad,
      _pad5: pad,
      _pad6: pad,
      ...o.regs,
    },
    trap_ctxt: ZERO_TRAPS,
    ldt_base: 0,
    ldt_ents: 0,
    gdt_frames: new Array<number>(16).fill(0),
    gdt_ents: 0,
    kernel_ss: 0xe02b,
    kernel_sp: lin(KERNEL_STACK_PAGE + 1),
    ctrlreg,
    debugreg,
    event_callback_eip: 0,
    failsafe_callback_eip: 0,
    syscall_callback_eip: 0,
    vm_assist: 4n,
    fs_base: 0n,
    gs_base_kernel: 0n,
    gs_base_user: 0n,
    ...o.context,
  };
  // SAFE: a test's literal, checked by what the test sees.
  return encode(xen_x86_64.vcpu_guest_context, 'x86_64', value as never);
}

function context32(o: TestGuestOptions, lin: (p: number, o?: number) => number, l3: Mfn): Uint8Array {
  const ctrlreg = [...ZEROES];
  ctrlreg[3] = BigInt(xen_x86_32.xen_pfn_to_cr3(l3));
  const value = {
    fpu_ctxt: new Uint8Array(512),
    flags: 4 | 32,
    user_regs: {
      ...Object.fromEntries('ebx ecx edx esi edi ebp eax'.split(' ').map((r) => [r, 0])),
      error_code: 0,
      entry_vector: 0,
      eip: lin(CODE_PAGE),
      cs: 0xe019,
      eflags: 0x202,
      esp: lin(KERNEL_STACK_PAGE + 1),
      ss: 0xe021,
      saved_upcall_mask: 0,
      es: 0xe021,
      ds: 0xe021,
      fs: 0,
      gs: 0,
      _pad0: 0,
      _pad1: 0,
      _pad2: 0,
      _pad3: 0,
      _pad4: 0,
      _pad5: 0,
      ...o.regs,
    },
    trap_ctxt: ZERO_TRAPS,
    ldt_base: 0,
    ldt_ents: 0,
    gdt_frames: new Array<number>(16).fill(0),
    gdt_ents: 0,
    kernel_ss: 0xe021,
    kernel_sp: lin(KERNEL_STACK_PAGE + 1),
    ctrlreg,
    debugreg: ZEROES,
    event_callback_cs: 0,
    event_callback_eip: 0,
    failsafe_callback_cs: 0,
    failsafe_callback_eip: 0,
    vm_assist: 4n,
    ...o.context,
  };
  // SAFE: as above.
  return encode(xen_x86_32.vcpu_guest_context, 'x86_32', value as never);
}
