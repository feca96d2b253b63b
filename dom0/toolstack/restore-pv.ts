// Makes a PV domain from the records of a domain image, as libxc does (tools/libs/guest/xg_sr_restore.c, xg_sr_restore_x86_pv.c): memory as it
// comes, with the new machine's frames put into page tables; then, at the end, what hangs together: shared_info, start_info, contexts, pins,
// the guest's own table of frames. An image comes from a file and is checked like any input.
import {
  arch_shared_info,
  type Domid,
  type EvtchnPort,
  guestHandle,
  type Mfn,
  MMUEXT_PIN_L1_TABLE,
  mfn,
  shared_info,
  start_info,
  vcpu_info,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_PFINFO_BROKEN,
  XEN_DOMCTL_PFINFO_LPINTAB,
  XEN_DOMCTL_PFINFO_XALLOC,
  XEN_DOMCTL_PFINFO_XTAB,
  XEN_DOMCTL_set_address_size,
  XEN_DOMCTL_set_ext_vcpucontext,
  XEN_DOMCTL_set_vcpu_msrs,
  XEN_DOMCTL_setvcpucontext,
  XEN_LEGACY_MAX_VCPUS,
  xen_domctl_address_size,
  xen_domctl_ext_vcpucontext,
  xen_domctl_getdomaininfo,
  xen_domctl_vcpu_msr,
  xen_domctl_vcpu_msrs,
  xen_domctl_vcpucontext,
} from '@ringworld/abi';
import { DOM0_ABI, HypercallError } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import { allocChannel, createDomain, type DomainLimits, setDomainLimits } from './domain-builder.ts';
import { DomainBuildError } from './errors.ts';
import { seedGrantTable } from './grant-seed.ts';
import { REC, StreamError, type StreamReader } from './migration-stream.ts';
import { contextSize, translateContext } from './pv-context.ts';
import { tableLevel, translateTable } from './pv-frames.ts';
import { PAGE_SIZE } from './virtual.ts';

export interface RestoredDomain {
  readonly domid: Domid;
  readonly console: { readonly mfn: Mfn; readonly port: EvtchnPort };
  readonly store: { readonly mfn: Mfn; readonly port: EvtchnPort };
}

const NONE = 0xffff_ffff;
const MAX_PFN = 1 << 24;

/** Yields after each piece of work, so that the caller may do something else; returns the domain, paused. Throws DomainBuildError. */
export function* restorePvDomain(
  privcmd: Privcmd,
  subject: string,
  limits: DomainLimits,
  reader: StreamReader,
): Generator<void, RestoredDomain> {
  const attempt = <T>(step: () => T): T => {
    try {
      return step();
    } catch (e) {
      if (e instanceof StreamError || e instanceof HypercallError) throw new DomainBuildError(subject, e.message, { cause: e });
      throw e;
    }
  };
  const dom = attempt(() => createDomain(privcmd, limits));
  try {
    const restorer = new Restorer(privcmd, dom, subject, limits);
    while (attempt(() => restorer.take(reader))) yield;
    return attempt(() => restorer.complete());
  } catch (e) {
    privcmd.domctl(XEN_DOMCTL_destroydomain, dom);
    throw e;
  }
}

interface SavedVcpu {
  basic?: Uint8Array;
  extended?: Uint8Array;
  msrs?: Uint8Array;
}

class Restorer {
  private readonly privcmd: Privcmd;
  private readonly dom: Domid;
  private readonly subject: string;
  private readonly limits: DomainLimits;
  private width: 4 | 8 | 0 = 0;
  /** By pfn: the new machine's frame, and what it is used for. */
  private p2m = new Uint32Array(0);
  private types = new Uint32Array(0);
  private p2mPfns: number[] = [];
  private shared: Uint8Array | null = null;
  private readonly vcpus = new Map<number, SavedVcpu>();

  constructor(privcmd: Privcmd, dom: Domid, subject: string, limits: DomainLimits) {
    this.privcmd = privcmd;
    this.dom = dom;
    this.subject = subject;
    this.limits = limits;
    setDomainLimits(privcmd, dom, limits);
  }

  /** The next record; false for END. */
  take(reader: StreamReader): boolean {
    const { type, body } = reader.record();
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    switch (type) {
      case REC.END:
        return false;
      case REC.X86_PV_INFO:
        this.pvInfo(view);
        break;
      case REC.X86_PV_P2M_FRAMES:
        this.p2mFrames(view);
        break;
      case REC.PAGE_DATA:
        this.pageData(view, body);
        break;
      case REC.SHARED_INFO:
        if (body.length !== PAGE_SIZE) this.fail('a shared_info that is no page');
        this.shared = body.slice();
        break;
      case REC.TSC_INFO:
        // The TSC is native to all domains here; a guest learns its new rate and offset from its vcpu_time_info.
        break;
      case REC.X86_PV_VCPU_BASIC:
      case REC.X86_PV_VCPU_EXTENDED:
      case REC.X86_PV_VCPU_MSRS:
        this.vcpu(type, view, body);
        break;
      default:
        this.fail(`a record of type ${type}, which is not known here`);
    }
    return true;
  }

  private fail(reason: string): never {
    throw new DomainBuildError(this.subject, reason);
  }
  private get is32bit(): boolean {
    if (this.width === 0) this.fail('a record before X86_PV_INFO');
    return this.width === 4;
  }

  private pvInfo(view: DataView): void {
    if (view.byteLength < 2 || this.width !== 0) this.fail('an X86_PV_INFO that cannot be');
    const [width, levels] = [view.getUint8(0), view.getUint8(1)];
    if (!(width === 8 && levels === 4) && !(width === 4 && levels === 3))
      this.fail(`a guest of width ${width} with ${levels} levels of tables`);
    this.width = width === 4 ? 4 : 8;
    this.privcmd.domctlWith(XEN_DOMCTL_set_address_size, this.dom, xen_domctl_address_size, { size: width * 8 });
  }

  private p2mFrames(view: DataView): void {
    const perFrame = PAGE_SIZE / (this.is32bit ? 4 : 8);
    if (view.byteLength < 8 || this.p2m.length > 0) this.fail('an X86_PV_P2M_FRAMES that cannot be');
    const [start, end] = [view.getUint32(0, true), view.getUint32(4, true)];
    const frames = Math.floor(end / perFrame) + 1;
    if (start !== 0 || end >= MAX_PFN || view.byteLength !== 8 + frames * 8) this.fail('an X86_PV_P2M_FRAMES of impossible size');
    this.p2m = new Uint32Array(end + 1).fill(NONE);
    this.types = new Uint32Array(end + 1);
    this.p2mPfns = Array.from({ length: frames }, (_, i) => Number(view.getBigUint64(8 + i * 8, true)));
  }

  private checkPfn(pfn: number, what: string): number {
    if (!(pfn < this.p2m.length)) this.fail(`${what}: pfn 0x${pfn.toString(16)} is out of range`);
    return pfn;
  }

  /** Gives frames to those that have none yet. */
  private populate(pfns: readonly number[]): void {
    const missing = [...new Set(pfns)].filter((pfn) => this.p2m[pfn] === NONE);
    if (missing.length === 0) return;
    const frames = this.privcmd.populatePhysmap(this.dom, missing, 0);
    frames.forEach((frame, i) => {
      this.p2m[missing[i]!] = frame;
    });
    if (frames.length < missing.length) this.fail('the machine has not enough free memory for the domain');
  }

  /** The frame of a pfn that must have one. */
  private readonly frameOf = (pfn: number): number => {
    const frame = this.p2m[pfn];
    return frame === undefined || frame === NONE ? -1 : frame;
  };

  private pageData(view: DataView, body: Uint8Array): void {
    const { is32bit } = this;
    const count = view.byteLength < 8 ? 0 : view.getUint32(0, true);
    if (count === 0 || 8 + count * 8 > body.length) this.fail('a PAGE_DATA of impossible size');
    const pages = Array.from({ length: count }, (_, i) => {
      const hi = view.getUint32(8 + i * 8 + 4, true);
      return {
        pfn: this.checkPfn((hi & 0xf_ffff) * 2 ** 32 + view.getUint32(8 + i * 8, true), 'PAGE_DATA'),
        type: (hi & 0xf000_0000) >>> 0,
      };
    });
    const hasFrame = (type: number) => type !== XEN_DOMCTL_PFINFO_XTAB && type !== XEN_DOMCTL_PFINFO_BROKEN;
    const withData = pages.filter((p) => hasFrame(p.type) && p.type !== XEN_DOMCTL_PFINFO_XALLOC);
    if (body.length !== 8 + count * 8 + withData.length * PAGE_SIZE) this.fail('a PAGE_DATA of impossible size');
    for (const { pfn, type } of pages) this.types[pfn] = type;
    this.populate(pages.filter((p) => hasFrame(p.type)).map((p) => p.pfn));
    if (withData.length === 0) return;
    // A copy, on a boundary of words.
    const data = body.slice(8 + count * 8);
    withData.forEach(({ type }, i) => {
      const level = tableLevel(type);
      if (level === 0) return;
      if (level > (is32bit ? 3 : 4)) this.fail(`a page table of level ${level}`);
      this.localise(data.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE), level);
    });
    const mapping = this.privcmd.mapForeign(
      this.dom,
      withData.map((p) => this.p2m[p.pfn]!),
    );
    mapping.write(0, data);
    mapping.unmap();
  }

  /** A table may name frames that come later in the image: they get their place now. */
  private localise(table: Uint8Array, level: number): void {
    const named: number[] = [];
    const words = new Uint32Array(table.buffer, table.byteOffset, 1024);
    for (let i = 0; i < 512; i++) {
      if ((words[i * 2]! & 1) === 0) continue;
      named.push(this.checkPfn((words[i * 2 + 1]! & 0xf_ffff) * 2 ** 20 + (words[i * 2]! >>> 12), `a level ${level} page table`));
    }
    this.populate(named);
    translateTable(table, level, this.is32bit ? 3 : 4, this.frameOf, { subject: this.subject, dropXen: false });
  }

  private vcpu(type: number, view: DataView, body: Uint8Array): void {
    if (body.length < 8) this.fail('a vCPU record without a head');
    const id = view.getUint32(0, true);
    if (id >= this.limits.vcpus) this.fail(`state of vCPU ${id}: the domain has ${this.limits.vcpus}`);
    const blob = body.slice(8);
    const saved = this.vcpus.get(id) ?? {};
    this.vcpus.set(id, saved);
    if (type === REC.X86_PV_VCPU_BASIC) {
      if (blob.length !== contextSize(this.is32bit)) this.fail('a vCPU context of the wrong size');
      saved.basic = blob;
    } else if (type === REC.X86_PV_VCPU_EXTENDED) {
      if (blob.length > 128) this.fail('an extended vCPU context of the wrong size');
      saved.extended = blob;
    } else {
      if (blob.length % xen_domctl_vcpu_msr.size(DOM0_ABI) !== 0) this.fail('vCPU MSRs of the wrong size');
      saved.msrs = blob;
    }
  }

  /** All records have come. */
  complete(): RestoredDomain {
    const { privcmd, dom, subject } = this;
    const ports = {
      store: allocChannel(privcmd, dom, this.limits.storeDomid),
      console: allocChannel(privcmd, dom, this.limits.consoleDomid),
    };
    const sharedFrame = privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, dom, xen_domctl_getdomaininfo, {}).out.shared_info_frame;
    this.writeSharedInfo(sharedFrame);
    let rings: { store: number; console: number } | null = null;
    for (const [id, saved] of [...this.vcpus].sort(([a], [b]) => a - b)) {
      if (saved.basic === undefined) this.fail(`no context of vCPU ${id}`);
      const { context, startInfo } = translateContext(saved.basic, this.frameOf, {
        subject,
        is32bit: this.is32bit,
        hasStartInfo: id === 0,
      });
      // Its frame was a pfn before the translation.
      if (id === 0) rings = this.updateStartInfo(this.checkPfn(startInfo, 'start_info'), sharedFrame, ports);
      this.setVcpu(id, context, saved);
    }
    if (rings === null) this.fail('no context of vCPU 0');
    this.pin();
    this.writeGuestP2m();
    const backend = { console: this.limits.consoleDomid ?? (0 as Domid), store: this.limits.storeDomid ?? (0 as Domid) };
    seedGrantTable(privcmd, dom, subject, {
      console: { frame: rings.console, backend: backend.console },
      store: { frame: rings.store, backend: backend.store },
    });
    return {
      domid: dom,
      console: { mfn: mfn(rings.console), port: ports.console },
      store: { mfn: mfn(rings.store), port: ports.store },
    };
  }

  /** vcpu_info and arch of old; no event is pending, all are masked (handle_shared_info). */
  private writeSharedInfo(frame: number): void {
    if (this.shared === null) this.fail('no SHARED_INFO record');
    const abi = this.is32bit ? 'x86_32' : 'x86_64';
    const mapping = this.privcmd.mapForeign(this.dom, [frame]);
    const page = mapping.read(0, PAGE_SIZE);
    const view = new DataView(page.buffer);
    const vcpuSize = vcpu_info.size(abi);
    page.set(this.shared.subarray(0, XEN_LEGACY_MAX_VCPUS * vcpuSize));
    const arch = shared_info.offset('arch', abi);
    const archSize = arch_shared_info.size(abi);
    page.set(this.shared.subarray(arch, arch + archSize), arch);
    view.setUint32(arch + arch_shared_info.offset('pfn_to_mfn_frame_list_list', abi), 0, true);
    if (!this.is32bit) view.setUint32(arch + arch_shared_info.offset('pfn_to_mfn_frame_list_list', abi) + 4, 0, true);
    const [pending, mask] = [shared_info.offset('evtchn_pending', abi), shared_info.offset('evtchn_mask', abi)];
    page.fill(0, pending, mask);
    page.fill(0xff, mask, mask + (mask - pending));
    const selector = vcpu_info.offset('evtchn_pending_sel', abi);
    for (let i = 0; i < XEN_LEGACY_MAX_VCPUS; i++) page.fill(0, i * vcpuSize + selector, i * vcpuSize + selector + (this.is32bit ? 4 : 8));
    mapping.write(0, page);
    mapping.unmap();
  }

  /** process_start_info. Returns the machine frames of the rings. */
  private updateStartInfo(
    pfn: number,
    sharedFrame: number,
    ports: { store: EvtchnPort; console: EvtchnPort },
  ): { store: number; console: number } {
    const abi = this.is32bit ? 'x86_32' : 'x86_64';
    const frame = this.frameOf(pfn);
    if (this.types[pfn] !== 0 || frame < 0) this.fail('start_info is in a page of another use');
    const mapping = this.privcmd.mapForeign(this.dom, [frame]);
    try {
      const page = mapping.read(0, PAGE_SIZE);
      const old = start_info.decode(abi, page);
      const ring = (what: string, ringPfn: number): number => {
        const found = this.frameOf(this.checkPfn(ringPfn, what));
        return found < 0 ? this.fail(`${what} has no page`) : found;
      };
      const rings = { store: ring('the store ring', old.store_mfn), console: ring('the console ring', old.console.domU.mfn) };
      start_info.update(new DataView(page.buffer), 0, abi, {
        nr_pages: this.p2m.length,
        shared_info: sharedFrame * PAGE_SIZE,
        flags: 0,
        store_mfn: mfn(rings.store),
        store_evtchn: ports.store,
        console: { domU: { mfn: mfn(rings.console), evtchn: ports.console } },
      });
      mapping.write(0, page);
      return rings;
    } finally {
      mapping.unmap();
    }
  }

  private setVcpu(id: number, context: Uint8Array, saved: SavedVcpu): void {
    const { privcmd, dom } = this;
    const { memory } = privcmd.xen;
    memory.withArguments((args) => {
      privcmd.domctlWith(XEN_DOMCTL_setvcpucontext, dom, xen_domctl_vcpucontext, { vcpu: id, ctxt: guestHandle(args.put(context)) });
    });
    if (saved.extended !== undefined) {
      const whole = new Uint8Array(xen_domctl_ext_vcpucontext.size(DOM0_ABI));
      whole.set(saved.extended.subarray(0, whole.length));
      const ext = xen_domctl_ext_vcpucontext.decode(DOM0_ABI, whole);
      privcmd.domctlWith(XEN_DOMCTL_set_ext_vcpucontext, dom, xen_domctl_ext_vcpucontext, { ...ext, vcpu: id });
    }
    const { msrs } = saved;
    if (msrs === undefined || msrs.length === 0) return;
    memory.withArguments((args) => {
      const msr_count = msrs.length / xen_domctl_vcpu_msr.size(DOM0_ABI);
      privcmd.domctlWith(XEN_DOMCTL_set_vcpu_msrs, dom, xen_domctl_vcpu_msrs, { vcpu: id, msr_count, msrs: guestHandle(args.put(msrs)) });
    });
  }

  private pin(): void {
    this.types.forEach((type, pfn) => {
      const level = tableLevel(type);
      const isPinned = (type & XEN_DOMCTL_PFINFO_LPINTAB) !== 0 && level >= 1 && level <= 4;
      if (isPinned) this.privcmd.mmuext(this.dom, MMUEXT_PIN_L1_TABLE + level - 1, this.p2m[pfn]!);
    });
  }

  /** update_guest_p2m, except that entries which were no frames (missing, or marks of the guest's own) stay as they are. */
  private writeGuestP2m(): void {
    const entries = PAGE_SIZE / (this.is32bit ? 4 : 8);
    this.p2mPfns.forEach((pfn, i) => {
      const frame = this.frameOf(this.checkPfn(pfn, 'the table of frames'));
      if (frame < 0 || this.types[pfn] !== 0) this.fail('its table of frames lies in a page of another use');
      const mapping = this.privcmd.mapForeign(this.dom, [frame]);
      const page = mapping.read(0, PAGE_SIZE);
      const words = new Uint32Array(page.buffer);
      for (let k = 0; k < entries && i * entries + k < this.p2m.length; k++) {
        const own = this.p2m[i * entries + k]!;
        if (own === NONE) continue;
        if (this.is32bit) words[k] = own;
        else {
          words[k * 2] = own;
          words[k * 2 + 1] = 0;
        }
      }
      mapping.write(0, page);
      mapping.unmap();
    });
  }
}
