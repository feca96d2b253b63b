import * as abi from '@ringworld/abi';
import { type DomainPort, domid, evtchnPort, type Gfn, grantRef, type PageView } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { EventChannels } from './evtchn.ts';
import { FrameRanges } from './frame-ranges.ts';
import { GrantError, GrantTable } from './gnttab.ts';
import { HypercallError, Hypercalls } from './hypercall.ts';

const PAGE = 4096;

/** A port with pages and one scripted hypercall at a time. */
class ScriptedPort implements DomainPort {
  readonly domid = domid(0);
  readonly pages = new Map<number, Uint8Array>();
  upcall: (vcpu: number) => void = () => {};
  script: (nr: number, args: number[]) => number = () => 0;

  constructor(ramPages: number) {
    for (let i = 0; i < ramPages; i++) this.pages.set(i, new Uint8Array(PAGE));
  }

  hypercall(nr: number, ...args: (number | bigint)[]): number {
    return this.script(nr, args.map(Number));
  }

  systemTime(): number {
    return 0;
  }

  hold(): () => void {
    return () => {};
  }

  setUpcall(upcall: (vcpu: number) => void): void {
    this.upcall = upcall;
  }

  at<T, W>(codec: abi.Codec<T, W>, address: number): { read(): T; write(value: W): void } {
    const view = () => new DataView(this.pages.get(Math.floor(address / PAGE))!.buffer);
    return { read: () => codec.read(view(), address % PAGE, 'x86_64'), write: (v) => codec.write(view(), address % PAGE, 'x86_64', v) };
  }

  page(gfn: Gfn): PageView {
    const bytes = () => {
      const page = this.pages.get(gfn);
      if (page === undefined) throw new Error(`frame ${gfn} is not mapped`);
      return page;
    };
    const view = () => new DataView(bytes().buffer);
    return {
      u8: (o) => view().getUint8(o),
      u16: (o) => view().getUint16(o, true),
      u32: (o) => view().getUint32(o, true),
      u64: (o) => view().getBigUint64(o, true),
      setU8: (o, v) => view().setUint8(o, v),
      setU16: (o, v) => view().setUint16(o, v, true),
      setU32: (o, v) => view().setUint32(o, v, true),
      setU64: (o, v) => view().setBigUint64(o, v, true),
      bytes: (o, n) => bytes().slice(o, o + n),
      readInto: (o, into) => into.set(bytes().subarray(o, o + into.length)),
      writeBytes: (o, source) => bytes().set(source, o),
    };
  }
}

describe('frame ranges', () => {
  it('are handed out first fit and join again when given back', () => {
    const r = new FrameRanges(10, 10);
    expect([r.take(4), r.take(4), r.take(4)]).toEqual([10, 14, null]);
    r.giveBack(10, 4);
    expect(r.take(5)).toBeNull();
    r.giveBack(14, 4);
    expect(r.take(10)).toBe(10);
    r.giveBack(10, 10);
    expect(() => r.giveBack(12, 1)).toThrow(/free already/);
  });
});

describe('hypercalls', () => {
  it('carry their structure in dom0 memory, both ways', () => {
    const port = new ScriptedPort(64);
    const xen = new Hypercalls(port, 64);
    port.script = (nr, [cmd, at]) => {
      expect([nr, cmd]).toEqual([abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_alloc_unbound]);
      const arg = port.at(abi.evtchn_alloc_unbound, at!);
      expect(arg.read()).toMatchObject({ dom: 3, remote_dom: 0 });
      arg.write({ ...arg.read(), port: evtchnPort(17) });
      return 0;
    };
    const { out } = xen.op(abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_alloc_unbound, abi.evtchn_alloc_unbound, {
      dom: domid(3),
      remote_dom: domid(0),
    });
    expect(out.port).toBe(17);
  });

  it('that fail say which operation and which error', () => {
    const port = new ScriptedPort(64);
    const xen = new Hypercalls(port, 64);
    port.script = () => -abi.XEN_ESRCH;
    const call = () => xen.op(abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_close, abi.evtchn_close, { port: evtchnPort(1) });
    expect(call).toThrow(HypercallError);
    expect(call).toThrow('EVTCHNOP_close failed: -ESRCH');
  });
});

describe('event channels', () => {
  const open = () => {
    const port = new ScriptedPort(64);
    const xen = new Hypercalls(port, 64);
    const shared = new Uint8Array(PAGE);
    const view = new DataView(shared.buffer);
    const word = (field: 'evtchn_pending' | 'evtchn_mask', local: number) => abi.shared_info.offset(field, 'x86_64') + (local >> 5) * 4;
    const isSet = (at: number, local: number) => (view.getUint32(at, true) & (1 << (local & 31))) !== 0;
    const select = (local: number) => {
      view.setBigUint64(8, view.getBigUint64(8, true) | (1n << BigInt(local >> 6)), true);
      shared[0] = 1;
    };
    const raise = (local: number) => {
      const at = word('evtchn_pending', local);
      view.setUint32(at, view.getUint32(at, true) | (1 << (local & 31)), true);
      if (!isSet(word('evtchn_mask', local), local)) select(local);
    };
    const unmask = (local: number) => {
      const at = word('evtchn_mask', local);
      view.setUint32(at, view.getUint32(at, true) & ~(1 << (local & 31)), true);
      if (isSet(word('evtchn_pending', local), local)) select(local);
    };
    port.script = (nr, [cmd, at]) => {
      if (nr === abi.__HYPERVISOR_memory_op && cmd === abi.XENMEM_add_to_physmap)
        port.pages.set(port.at(abi.xen_add_to_physmap, at!).read().gpfn, shared);
      if (nr === abi.__HYPERVISOR_event_channel_op && cmd === abi.EVTCHNOP_bind_interdomain) {
        const arg = port.at(abi.evtchn_bind_interdomain, at!);
        arg.write({ ...arg.read(), local_port: evtchnPort(arg.read().remote_port + 100) });
      }
      if (nr === abi.__HYPERVISOR_event_channel_op && cmd === abi.EVTCHNOP_unmask) unmask(port.at(abi.evtchn_unmask, at!).read().port);
      return 0;
    };
    const events = new EventChannels(xen);
    return { port, events, raise };
  };

  it('call their handlers once per event, in one upcall for many', () => {
    const { port, events, raise } = open();
    const seen: string[] = [];
    events.bindInterdomain(domid(1), evtchnPort(5), () => seen.push('a'));
    events.bindInterdomain(domid(1), evtchnPort(3900), () => seen.push('b'));
    raise(105);
    raise(4000);
    port.upcall(0);
    expect(seen).toEqual(['a', 'b']);
    port.upcall(0);
    expect(seen).toEqual(['a', 'b']);
  });

  it('raised while a handler runs are served before the upcall returns', () => {
    const { port, events, raise } = open();
    const seen: string[] = [];
    events.bindInterdomain(domid(1), evtchnPort(1), () => {
      seen.push('first');
      if (seen.length < 3) raise(101);
    });
    raise(101);
    port.upcall(0);
    expect(seen).toEqual(['first', 'first', 'first']);
  });

  it('pending before anybody listened are served when somebody does', () => {
    const { port, events, raise } = open();
    raise(101);
    let calls = 0;
    events.listen(evtchnPort(101), () => calls++);
    expect(calls).toBe(0);
    port.upcall(0);
    expect(calls).toBe(1);
  });

  it('that were closed are silent', () => {
    const { port, events, raise } = open();
    let calls = 0;
    const p = events.bindInterdomain(domid(1), evtchnPort(1), () => calls++);
    events.close(p);
    raise(p);
    port.upcall(0);
    expect(calls).toBe(0);
  });
});

describe('grants', () => {
  it('are mapped one after another and cannot be touched once unmapped', () => {
    const port = new ScriptedPort(64);
    const table = new GrantTable(new Hypercalls(port, 64));
    port.script = (nr, [cmd, at, count]) => {
      expect(nr).toBe(abi.__HYPERVISOR_grant_table_op);
      for (let i = 0; i < count!; i++) {
        if (cmd === abi.GNTTABOP_map_grant_ref) {
          const op = port.at(abi.gnttab_map_grant_ref, at! + i * abi.gnttab_map_grant_ref.size('x86_64'));
          port.pages.set(op.read().host_addr / PAGE, new Uint8Array(PAGE).fill(op.read().ref));
          op.write({ ...op.read(), status: op.read().ref === 99 ? abi.GNTST_bad_gntref : 0, handle: abi.grantHandle(op.read().ref) });
        } else
          port.pages.delete(
            port.at(abi.gnttab_unmap_grant_ref, at! + i * abi.gnttab_unmap_grant_ref.size('x86_64')).read().host_addr / PAGE,
          );
      }
      return 0;
    };
    const mapping = table.map(domid(1), [grantRef(7), grantRef(8)]);
    expect([mapping.page(0).u8(0), mapping.page(1).u8(4095)]).toEqual([7, 8]);
    const page = mapping.page(1);
    mapping.unmap();
    expect(() => page.u8(0)).toThrow(/not mapped/);
    const before = port.pages.size;
    expect(() => table.map(domid(1), [grantRef(7), grantRef(99)])).toThrow(GrantError);
    // The good one of the two was unmapped again; the bad one's frame is the script's own doing.
    expect(port.pages.size).toBe(before + 1);
  });
});
