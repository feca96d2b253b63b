// Instructions that a guest may not execute, and registrations that make no sense: emulated, refused with the exception that Xen gives,
// or the end of that domain alone. xen/arch/x86/pv/emul-priv-op.c, iret.c, callback.c and x86_64/entry.S of 4.17.
import * as abi from '@ringworld/abi';
import { al, ax, cr0, cr3, cr4, cr8, dr0, dr6, dr7, ds, dx, eax, ecx, edx, far, kit, mem, ss, w } from '@ringworld/guests';
import { expect, it } from 'vitest';
import { forBothGuests, type Group } from './containment/group.ts';
import { emitHypercall } from './containment/puppet-kernel.ts';
import { type Puppet, World } from './containment/world.ts';

const IA32_SYSENTER_EIP = 0x176;
const IA32_LSTAR = 0xc000_0082;
const IA32_EFER = 0xc000_0080;
const IA32_APIC_BASE = 0x1b;
const SMM_CTL = 0xc001_0116;

const iopl = (p: Puppet, level: number) => p.call(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iopl, p.put(p.page(), [level]));

forBothGuests('privileged instructions', (g: Group) => {
  it('IN and OUT are #GP without I/O privilege; with it, nobody is there: ones (guest_io_okay, guest_io_read)', () => {
    const p = g.puppet();
    expect(iopl(p, 0)).toBe(0);
    for (const port of [0x60, 0x3f8, 0xcf8, 0xffff]) {
      expect(p.exec((a) => a.mov(edx, port).in(al, dx))).toBe('#GP(0)');
      expect(p.exec((a) => a.mov(edx, port).out(dx, al))).toBe('#GP(0)');
    }
    expect(iopl(p, 4)).toBe(-abi.XEN_EINVAL);
    expect(iopl(p, 1)).toBe(0);
    expect(p.exec((a) => a.xor(eax, eax).mov(edx, 0x3f8).in(al, dx))).toBe(0xff);
    expect((p.exec((a) => a.xor(eax, eax).mov(edx, 0x3f8).in(eax, dx)) as number) >>> 0).toBe(0xffff_ffff);
    // Reset of the keyboard controller, and of the chipset: nothing happens.
    expect(p.exec((a) => a.mov(eax, 0xfe).out(0x64, al))).toBe(0xfe);
    expect(p.exec((a) => a.mov(eax, 6).mov(edx, 0xcf9).out(dx, al))).toBe(6);
    expect(p.exec((a) => a.cli().sti().mov(eax, 1))).toBe(1);
    expect(iopl(p, 0)).toBe(0);
    expect(p.exec((a) => a.cli())).toBe('#GP(0)');
    expect(p.exec((a) => a.sti())).toBe('#GP(0)');
  });

  it('POPF neither raises IOPL nor masks interrupts: the bits are not there (ring 3, or 1, under IOPL 0)', () => {
    const p = g.puppet();
    expect(p.exec((a) => a.push(0x3002).popf().pushf().pop(w.ax).and(w.ax, 0x3200))).toBe(0x200);
  });

  it("HLT, LGDT and their kind are the guest's own #GP (no rule in validate())", () => {
    const p = g.puppet();
    const page = p.page();
    const at = (a: Parameters<Parameters<Puppet['exec']>[0]>[0]) => a.mov(w.cx, BigInt.asUintN(p.bits, BigInt(page)));
    expect(p.exec((a) => a.hlt())).toBe('#GP(0)');
    expect(p.exec((a) => at(a).lgdt(mem(w.cx)))).toBe('#GP(0)');
    expect(p.exec((a) => at(a).lidt(mem(w.cx)))).toBe('#GP(0)');
    expect(p.exec((a) => a.xor(eax, eax).lldt(ax))).toBe('#GP(0)');
    expect(p.exec((a) => a.xor(eax, eax).ltr(ax))).toBe('#GP(0)');
    expect(p.exec((a) => at(a).invlpg(mem(w.cx)))).toBe('#GP(0)');
    expect(p.exec((a) => a.invd())).toBe('#GP(0)');
    expect(p.exec((a) => a.mov(eax, 1).lmsw(ax))).toBe('#GP(0)');
    expect(p.exec((a) => a.wbinvd().mov(eax, 3))).toBe(3);
    expect(p.exec((a) => a.rsm())).toBe('#UD(0)');
    if (p.bits === 64) expect(p.exec((a) => a.swapgs())).toBe('#GP(0)');
  });

  it("control registers keep what is Xen's (read_cr, write_cr)", () => {
    const p = g.puppet();
    const before = p.exec((a) => a.mov(w.ax, cr0));
    // PG, PE, WP off; NW on: "Attempt to change unmodifiable CR0 flags".
    for (const flip of [0x8000_0000, 1, 0x1_0000, 0x2000_0000])
      expect(
        p.exec((a) => a.mov(w.ax, cr0).xor(eax, flip).mov(cr0, w.ax)),
        flip.toString(16),
      ).toBe('#GP(0)');
    expect(p.exec((a) => a.mov(w.ax, cr0))).toBe(before);
    const cr4Before = p.exec((a) => a.mov(w.ax, cr4));
    expect(p.exec((a) => a.xor(eax, eax).mov(cr4, w.ax).mov(w.ax, cr4))).toEqual(expect.any(Number));
    // Paging itself does not depend on what the guest thinks that it wrote.
    expect(p.call(abi.__HYPERVISOR_xen_version, 0, 0)).toBe(0x4_0011);
    expect(p.exec((a) => a.mov(w.ax, cr4))).toEqual(cr4Before);
    const root = p.vcpu.pv.guestTable;
    for (const mfn of [root + 1, 0, p.world.hv.ram.size / 4096 + 1])
      expect(
        p.exec((a) => a.mov(w.ax, BigInt(mfn) << 12n).mov(cr3, w.ax)),
        `frame ${mfn}`,
      ).toBe('#GP(0)');
    expect(p.vcpu.pv.guestTable).toBe(root);
    if (p.bits === 64) expect(p.exec((a) => a.mov(w.ax, cr8))).toBe('#GP(0)');
  });

  it('no breakpoint reaches into the hypervisor (set_debugreg)', () => {
    const p = g.puppet();
    // The hypervisor is beyond what a 32-bit guest can name (access_ok).
    if (p.bits === 64) {
      const xen = 0xffff_8200_0000_0000n;
      expect(p.exec((a) => a.mov(w.ax, xen).mov(dr0, w.ax))).toBe('#GP(0)');
      expect(p.call(abi.__HYPERVISOR_set_debugreg, 0, xen)).toBe(-abi.XEN_EPERM);
    }
    // General detect would let the guest see Xen's own use of the registers.
    expect(p.exec((a) => a.mov(w.ax, 0x2400).mov(dr7, w.ax))).toBe('#GP(0)');
    expect(p.call(abi.__HYPERVISOR_set_debugreg, 7, 0x2400)).toBe(-abi.XEN_EPERM);
    expect((p.exec((a) => a.xor(eax, eax).mov(dr6, w.ax).mov(w.ax, dr6)) as number) >>> 0).toBe(0xffff_0ff0);
  });

  it("MSRs of the processor's own are #GP, and so stay Xen's (guest_rdmsr, guest_wrmsr)", () => {
    const p = g.puppet();
    const rdmsr = (n: number) => p.exec((a) => a.mov(ecx, n).rdmsr());
    const wrmsr = (n: number, v: number) => p.exec((a) => a.mov(ecx, n).mov(eax, v).xor(edx, edx).wrmsr());
    for (const n of [SMM_CTL, 0x1234_5678, 0x9e, 0x480]) {
      expect(rdmsr(n), n.toString(16)).toBe('#GP(0)');
      expect(wrmsr(n, 1), n.toString(16)).toBe('#GP(0)');
    }
    for (const n of [IA32_LSTAR, IA32_SYSENTER_EIP, IA32_EFER, IA32_APIC_BASE]) {
      wrmsr(n, 0x1000);
      expect(p.call(abi.__HYPERVISOR_xen_version, 0, 0), n.toString(16)).toBe(0x4_0011);
    }
  });

  it('selectors of the hypervisor and far jumps into ring 0 are #GP with the selector', () => {
    const p = g.puppet();
    for (const selector of [0xe008, 0xe010]) {
      expect(
        p.exec((a) => a.mov(eax, selector).mov(ds, ax)),
        selector.toString(16),
      ).toBe(`#GP(${(selector & ~3).toString(16)})`);
      expect(
        p.exec((a) => a.mov(eax, selector).mov(ss, ax)),
        selector.toString(16),
      ).toBe(`#GP(${(selector & ~3).toString(16)})`);
    }
    // Beyond what set_gdt gave.
    expect(p.exec((a) => a.mov(eax, 0x1230).mov(ds, ax))).toEqual(expect.stringMatching(/^#(GP|NP)/));
    const target = p.page();
    if (p.bits === 32) {
      expect(p.exec((a) => a.ljmp(far(0xe008, BigInt(target))))).toBe('#GP(e008)');
    } else {
      p.put(target, [BigInt.asUintN(64, BigInt(target)), 0xe008]);
      expect(p.exec((a) => a.mov(w.cx, BigInt.asUintN(64, BigInt(target))).ljmpq(mem(w.cx)))).toBe('#GP(e008)');
    }
  });

  it('INT to a vector that is not open to the kernel is #GP with the vector (do_general_protection)', () => {
    const p = g.puppet();
    for (const vector of [0x20, 0xef, 0xff])
      expect(
        p.exec((a) => a.int(vector)),
        `INT ${vector}`,
      ).toBe(`#GP(${(vector * 8 + 2).toString(16)})`);
    // Not the way of this guest to make hypercalls.
    if (p.bits === 64) expect(p.exec((a) => a.int(0x82))).toBe('#GP(412)');
  });
});

/** Acts after which a domain cannot go on: it alone ends, as crashed. */
const FATAL: Record<string, (p: Puppet) => unknown> = {
  'a trap without a handler': (p) => {
    p.call(abi.__HYPERVISOR_set_trap_table, 0);
    return p.code(0x0f, 0x0b);
  },
  'a trap table that points into the hypervisor: fault upon fault, until the stack is used up': (p) => {
    const address = p.bits === 64 ? -0x7d2f_8000_0000 : 0xfd00_0000;
    setTraps(p, [6, 14], address);
    return p.code(0x0f, 0x0b);
  },
  'a trap on a stack inside the hypervisor': (p) => p.exec((a) => a.mov(w.sp, p.bits === 64 ? 0xffff_8300_0000_0000n : 0xfe00_0000n).ud2()),
  'a trap on an unmapped stack': (p) => p.exec((a) => a.mov(w.sp, 0x7000_0000).ud2()),
  'a trap on a read-only stack': (p) =>
    p.exec((a) => a.mov(w.sp, BigInt.asUintN(p.bits, BigInt(p.bits === 64 ? -0x7f80_0000_0000 + 0x1000 : 0xf580_1000))).ud2()),
  'IRET from an unmapped stack': (p) =>
    p.exec((a) => {
      a.mov(w.sp, 0x7000_0000);
      emitHypercall(a, p.bits, abi.__HYPERVISOR_iret, []);
    }),
  'IRET to user mode without user tables, or to ring 0': (p) => {
    const frame = p.page();
    // 64-bit: rax r11 rcx flags rip cs rflags rsp ss; 32-bit: eax eip cs eflags.
    if (p.bits === 64) p.put(frame, [0, 0, 0, 0, 0x1000, 0xe033, 0x202, 0x2000, 0xe02b]);
    else p.put(frame, new Uint8Array(Uint32Array.of(0, 0x1000, 0xe008, 0x202).buffer));
    return p.exec((a) => {
      a.mov(w.sp, BigInt.asUintN(p.bits, BigInt(frame)));
      emitHypercall(a, p.bits, abi.__HYPERVISOR_iret, []);
    });
  },
};

function setTraps(p: Puppet, vectors: readonly number[], address: number): void {
  const { abi: layout } = p.domain;
  const cs = kit.PV32PAE.kernelCs;
  const table = vectors.flatMap((vector) => [...abi.trap_info.encode(layout, { vector, flags: 0, cs, address: address as never })]);
  const end = new Array<number>(abi.trap_info.size(layout)).fill(0);
  expect(p.call(abi.__HYPERVISOR_set_trap_table, p.put(p.page(), Uint8Array.from([...table, ...end])))).toBe(0);
}

forBothGuests('the end of a domain, and of nobody else', (g: Group) => {
  for (const [what, act] of Object.entries(FATAL))
    it(what, () => {
      const p = g.puppet();
      expect(act(p)).toBe('crash');
      expect(p.domain.shutdownCode).toBe(abi.SHUTDOWN_crash);
      expect(g.world.hv.console.text()).toContain(`Domain ${p.domain.id} crashed`);
    });

  it("IRET with selectors of ring 0 comes back in the guest's own ring, or is its failsafe's affair", () => {
    const p = g.puppet();
    const frame = p.page();
    const back = p.page();
    p.put(back, Uint8Array.of(0x0f, 0x0b));
    const sp = BigInt.asUintN(p.bits, BigInt(frame + 4096));
    const ip = BigInt.asUintN(p.bits, BigInt(back));
    if (p.bits === 64) {
      // RPL 0: "kernel", which is ring 3 on the way out.
      p.put(frame, [0, 0, 0, 0, ip, 0xe030, 0x3202, sp, 0xe028]);
    } else p.put(frame, new Uint8Array(Uint32Array.of(0, Number(ip), 0xe019, 0x3202).buffer));
    const answer = p.exec((a) => {
      a.mov(w.sp, BigInt.asUintN(p.bits, BigInt(frame)));
      emitHypercall(a, p.bits, abi.__HYPERVISOR_iret, []);
    });
    expect(answer).toBe('#UD(0)');
    expect(p.vcpu.context.selector(1) & 3).toBe(p.bits === 64 ? 3 : 1);
  });
});

it('a guest that loops with events masked leaves the one beside it on the same CPU its share (credit scheduler)', () => {
  const world = new World(1);
  const [wild, good] = [world.puppet(64), world.puppet(32)];
  world.runFor(2_000_000);
  // jmp $, and a loop that counts in EAX. Events are masked in both since start-of-day.
  for (const p of [wild, good]) {
    p.put(p.address('act'), p === wild ? Uint8Array.of(0xeb, 0xfe) : Uint8Array.of(0x40, 0xeb, 0xfd));
    p.put(p.address('order'), new Uint8Array(Uint32Array.of(1).buffer));
  }
  const before = [wild, good].map((p) => p.vcpu.runstateTime[0]!);
  world.runFor(250_000_000);
  const times = [wild, good].map((p, i) => p.vcpu.runstateTime[0]! - before[i]!);
  expect(times[1]! / (times[0]! + times[1]!)).toBeGreaterThan(0.35);
  world.audit();
});
