// A kernel of the kit's, 64-bit and 32-bit PAE from the same source, that suspends and goes on: in another machine, where all its frames are
// others, or in its own when the save was called off. (A stock Linux does the same in tests/save-restore.long.spec.ts.)
import {
  domid,
  SCHEDOP_shutdown,
  SHUTDOWN_suspend,
  sched_shutdown,
  start_info,
  XEN_DOMCTL_getdomaininfo,
  xen_domctl_getdomaininfo,
} from '@ringworld/abi';
import { addr, at, at32, atw, kit, memw, w } from '@ringworld/guests';
import { auditHypervisor } from '@ringworld/hypervisor';
import { describe, expect, it } from 'vitest';
import { demoGuest } from '../xl/demo.ts';
import { type Host, switchOn } from '../xl/host.ts';
import type { LiveDomain } from './lifecycle.ts';
import { machineInfo } from './machine-info.ts';
import { StreamReader } from './migration-stream.ts';
import { publishP2m } from './testing/publish-p2m.ts';

const COUNTER = 4711;
const SLICE_CYCLES = 1_000_000;

/** As xen_suspend of Linux's drivers/xen/manage.c: what names machine frames is turned into frames of its own, or given back. */
function suspend(k: kit.Kernel): void {
  const { a, arch, abi } = k;
  const field = (offset: number) => memw(w.bx, { disp: offset });
  for (const offset of [start_info.offset('store_mfn', abi), start_info.offset('console', abi)]) {
    a.mov(w.bx, atw('start_info')).mov(w.ax, field(offset)).call('machine_to_virtual');
    a.mov(w.cx, arch.virtBase).sub(w.ax, w.cx).shr(w.ax, 12);
    a.mov(w.bx, atw('start_info')).mov(field(offset), w.ax);
  }
  kit.makePte(k, 'shared_info', kit.READ_WRITE);
  kit.updateVaMapping(k, addr('shared_info'));
  kit.expectResult(k, 'the place of shared_info cannot have its own page back', 0);
  const reason = kit.structure(k, sched_shutdown, { reason: SHUTDOWN_suspend });
  a.mov(w.ax, atw('start_info')).call('mfn_of');
  kit.hypercall(k, 'sched_op', SCHEDOP_shutdown, reason.address, w.ax);
  a.mov(atw('answer'), w.ax).test(w.ax, w.ax).jz('.elsewhere');
  // Called off: start_info is as this kernel left it.
  for (const offset of [start_info.offset('store_mfn', abi), start_info.offset('console', abi)]) {
    a.mov(w.bx, atw('start_info')).mov(w.ax, field(offset)).shl(w.ax, 12).mov(w.cx, arch.virtBase).add(w.ax, w.cx).call('mfn_of');
    a.mov(w.cx, w.ax).mov(w.bx, atw('start_info')).mov(field(offset), w.cx);
  }
  a.label('.elsewhere').call('events_init').call('console_init');
}

function main(k: kit.Kernel): void {
  const { a } = k;
  kit.variable(k, 'answer');
  kit.variable(k, 'counter');
  kit.variable(k, 'own_page', 4096, 4096);
  a.mov(w.ax, COUNTER).mov(atw('counter'), w.ax);
  kit.say(k, 'suspending');
  suspend(k);
  kit.say(k, 'back with ', kit.dec(atw('answer')), ', counter ', kit.dec(atw('counter')));
  // Its own table of frames and Xen's of this machine fit each other.
  a.lea(w.ax, at('own_page')).call('mfn_of').call('machine_to_virtual').lea(w.cx, at('own_page')).sub(w.ax, w.cx);
  kit.expectResult(k, 'the way to the machine and back leads elsewhere', 0);
  // And its page tables and traps are in force.
  kit.makePte(k, 'own_page', kit.READ_ONLY);
  kit.updateVaMapping(k, addr('own_page'));
  kit.expectResult(k, 'update_va_mapping to read-only', 0);
  kit.expectTrap(k, 'page_fault', () => a.mov(at32('own_page'), 1));
  kit.say(k, 'all is well');
}

const KERNELS = {
  64: kit.buildKernel(kit.PV64, { guestOs: 'suspends', guestVersion: '1', main }),
  32: kit.buildKernel(kit.PV32PAE, { guestOs: 'suspends', guestVersion: '1', main }),
};

/** A machine, and what is said on it. */
class Machine {
  readonly host: Host = switchOn({ guestMiB: 64, cpus: 1, engine: 'interp' });
  said = '';
  readonly sink = {
    room: () => 4096,
    write: (bytes: Uint8Array) => {
      this.said += new TextDecoder().decode(bytes);
    },
  };

  /** Until the domain shuts down; why it did. */
  run(live: LiveDomain): string {
    const { hv } = this.host;
    hv.run({ stop: () => live.shutdown !== null });
    // As a host does before it asks for anything: the vCPU leaves its CPU.
    hv.run({ untilCycles: hv.baseCycles + SLICE_CYCLES, timePasses: true });
    live.console.serve();
    return live.shutdown?.reason ?? 'not at all';
  }

  info(live: LiveDomain) {
    return this.host.toolstack.privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, domid(live.domid), xen_domctl_getdomaininfo, {}).out;
  }
}

function readerOf(image: Uint8Array): StreamReader {
  let at = 0;
  return new StreamReader((count) => {
    const piece = image.slice(at, at + count);
    at += count;
    return new Uint8Array(piece);
  });
}

describe.each([64, 32] as const)('a %i-bit domain', (bits) => {
  const guest = demoGuest('suspends', KERNELS[bits]);
  const { memoryMiB } = guest.config;

  /** Has said that it suspends, and has. */
  function suspended(): { m: Machine; live: LiveDomain } {
    const m = new Machine();
    const { toolstack } = m.host;
    const live = toolstack.create(guest.config, guest.files, m.sink);
    publishP2m(toolstack.privcmd, { domid: live.domid, kernel: KERNELS[bits], memoryMiB });
    toolstack.unpause(live);
    expect([m.run(live), m.said]).toEqual(['suspend', 'suspending\r\n']);
    return { m, live };
  }

  it('goes on in another machine, in other frames', () => {
    const { m, live } = suspended();
    const image = Buffer.concat([...m.host.toolstack.save(live)]);
    const other = new Machine();
    const { toolstack, hv } = other.host;
    // So that its frames are not by chance the old ones.
    toolstack.create({ ...guest.config, name: 'first' }, guest.files, other.sink);
    const steps = toolstack.restore(guest.config, 'image', readerOf(image), other.sink);
    let step = steps.next();
    while (!step.done) step = steps.next();
    const restored = step.value;
    expect(other.info(restored).shared_info_frame).not.toBe(m.info(live).shared_info_frame);
    expect(other.info(restored).tot_pages).toBe(m.info(live).tot_pages);
    toolstack.unpause(restored);
    expect([other.run(restored), other.said]).toEqual(['poweroff', `back with 0, counter ${COUNTER}\r\nall is well\r\n`]);
    expect(auditHypervisor(hv)).toEqual([]);
  });

  it('goes on where it is when the save was called off', () => {
    const { m, live } = suspended();
    expect([...m.host.toolstack.save(live)].length).toBeGreaterThan(0);
    m.host.toolstack.resume(live);
    expect([m.run(live), m.said]).toEqual(['poweroff', `suspending\r\nback with 1, counter ${COUNTER}\r\nall is well\r\n`]);
    expect(auditHypervisor(m.host.hv)).toEqual([]);
  });

  it('whose image is cut short is not there in the end', () => {
    const { m, live } = suspended();
    const image = Buffer.concat([...m.host.toolstack.save(live)]);
    const other = new Machine();
    const { toolstack } = other.host;
    const free = () => machineInfo(toolstack.privcmd).freePages;
    const before = free();
    const short = readerOf(image.subarray(0, image.length >> 1));
    expect(() => [...toolstack.restore(guest.config, 'image', short, other.sink)]).toThrow(/image: ends within a record/);
    expect(free()).toBe(before);
  });
});
