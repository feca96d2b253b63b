// Writes a suspended PV domain as libxc does: the records of a domain image, with the domain's own frame numbers in place of the machine's
// (tools/libs/guest/xg_sr_save.c, xg_sr_save_x86_pv.c). The domain is only read.
import {
  type Domid,
  guestHandle,
  XEN_DOMCTL_get_address_size,
  XEN_DOMCTL_get_ext_vcpucontext,
  XEN_DOMCTL_get_vcpu_msrs,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_getpageframeinfo3,
  XEN_DOMCTL_gettscinfo,
  XEN_DOMCTL_getvcpucontext,
  XEN_DOMCTL_getvcpuextstate,
  XEN_DOMCTL_getvcpuinfo,
  XEN_DOMCTL_PFINFO_NOTAB,
  XEN_DOMCTL_PFINFO_XTAB,
  xen_domctl_address_size,
  xen_domctl_ext_vcpucontext,
  xen_domctl_getdomaininfo,
  xen_domctl_getpageframeinfo3,
  xen_domctl_getvcpuinfo,
  xen_domctl_tsc_info,
  xen_domctl_vcpu_msr,
  xen_domctl_vcpu_msrs,
  xen_domctl_vcpucontext,
  xen_domctl_vcpuextstate,
} from '@ringworld/abi';
import { DOM0_ABI } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import { DomainBuildError } from './errors.ts';
import { readGuestP2m } from './guest-p2m.ts';
import { REC, record } from './migration-stream.ts';
import { contextSize, markUserTable, translateContext } from './pv-context.ts';
import { type Translation, tableLevel, translateTable } from './pv-frames.ts';
import { PAGE_SIZE } from './virtual.ts';

/** Pages in one PAGE_DATA record (MAX_BATCH_SIZE). */
const BATCH = 1024;
const NONE = 0xffff_ffff;

/** Yields the records one after the other, END last. Throws DomainBuildError: `subject` names the domain. */
export function* savePvDomain(privcmd: Privcmd, dom: Domid, subject: string): Generator<Uint8Array, void> {
  const is32bit = privcmd.domctlWith(XEN_DOMCTL_get_address_size, dom, xen_domctl_address_size, {}).out.size === 32;
  const info = privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, dom, xen_domctl_getdomaininfo, {}).out;
  const sharedMapping = privcmd.mapForeign(dom, [info.shared_info_frame]);
  const shared = sharedMapping.read(0, PAGE_SIZE);
  sharedMapping.unmap();
  const { p2m, frames } = readGuestP2m(privcmd, dom, shared, is32bit, subject);

  const m2p = new Map<number, number>();
  p2m.forEach((frame, pfn) => {
    if (frame !== NONE) m2p.set(frame, pfn);
  });
  const toPfn: Translation = (frame) => m2p.get(frame) ?? -1;

  const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
  const width = is32bit ? 4 : 8;
  const levels = is32bit ? 3 : 4;
  yield record(REC.X86_PV_INFO, Uint8Array.of(width, levels, 0, 0, 0, 0, 0, 0));
  const p2mPfns = frames.map((frame) => {
    const pfn = toPfn(frame);
    if (pfn < 0) throw new DomainBuildError(subject, `its table of frames lies in frame 0x${frame.toString(16)}, which is not its own`);
    return BigInt(pfn);
  });
  yield record(REC.X86_PV_P2M_FRAMES, words(0, p2m.length - 1), new Uint8Array(BigUint64Array.from(p2mPfns).buffer));

  for (let pfn = 0; pfn < p2m.length; ) {
    const pfns: number[] = [];
    for (; pfn < p2m.length && pfns.length < BATCH; pfn++) if (p2m[pfn] !== NONE) pfns.push(pfn);
    if (pfns.length > 0) yield pageData(privcmd, dom, p2m, pfns, { levels, toPfn, subject });
  }

  const tsc = privcmd.domctlWith(XEN_DOMCTL_gettscinfo, dom, xen_domctl_tsc_info, {}).out;
  const tscBytes = words(tsc.tsc_mode, tsc.gtsc_khz, 0, 0, tsc.incarnation, 0);
  new DataView(tscBytes.buffer).setBigUint64(8, BigInt(tsc.elapsed_nsec), true);
  yield record(REC.TSC_INFO, tscBytes);
  yield record(REC.SHARED_INFO, shared);
  for (let id = 0; id <= info.max_vcpu_id; id++) {
    if (privcmd.domctlWith(XEN_DOMCTL_getvcpuinfo, dom, xen_domctl_getvcpuinfo, { vcpu: id }).out.online === 0) continue;
    const raw = readVcpuContext(privcmd, dom, id, is32bit);
    const { context } = translateContext(raw, toPfn, { subject, is32bit, hasStartInfo: id === 0 });
    markUserTable(context, is32bit);
    yield record(REC.X86_PV_VCPU_BASIC, words(id, 0), context);
    const ext = privcmd.domctlWith(XEN_DOMCTL_get_ext_vcpucontext, dom, xen_domctl_ext_vcpucontext, { vcpu: id }).out;
    yield record(REC.X86_PV_VCPU_EXTENDED, words(id, 0), xen_domctl_ext_vcpucontext.encode(DOM0_ABI, ext));
    const xsave = privcmd.domctlWith(XEN_DOMCTL_getvcpuextstate, dom, xen_domctl_vcpuextstate, { vcpu: id }).out;
    if (xsave.xfeature_mask !== 0n) throw new DomainBuildError(subject, 'it uses XSAVE state, which cannot be saved yet');
    const msrs = readMsrs(privcmd, dom, id);
    if (msrs.length > 0) yield record(REC.X86_PV_VCPU_MSRS, words(id, 0), msrs);
  }
  yield record(REC.END);
}

/** vcpu_guest_context in the domain's own layout. */
export function readVcpuContext(privcmd: Privcmd, dom: Domid, vcpu: number, is32bit: boolean): Uint8Array {
  const { memory } = privcmd.xen;
  const size = contextSize(is32bit);
  return memory.withArguments((args) => {
    const at = args.put(new Uint8Array(size));
    privcmd.domctlWith(XEN_DOMCTL_getvcpucontext, dom, xen_domctl_vcpucontext, { vcpu, ctxt: guestHandle(at) });
    return memory.read(at, size);
  });
}

function readMsrs(privcmd: Privcmd, dom: Domid, vcpu: number): Uint8Array {
  const { memory } = privcmd.xen;
  const { msr_count } = privcmd.domctlWith(XEN_DOMCTL_get_vcpu_msrs, dom, xen_domctl_vcpu_msrs, { vcpu }).out;
  const size = xen_domctl_vcpu_msr.size(DOM0_ABI);
  return memory.withArguments((args) => {
    const list = args.put(new Uint8Array(size * msr_count));
    const { out } = privcmd.domctlWith(XEN_DOMCTL_get_vcpu_msrs, dom, xen_domctl_vcpu_msrs, { vcpu, msr_count, msrs: guestHandle(list) });
    return memory.read(list, out.msr_count * size);
  });
}

/** What each frame is used for: XEN_DOMCTL_PFINFO_*. */
function frameInfos(privcmd: Privcmd, dom: Domid, frames: readonly number[]): number[] {
  const { memory } = privcmd.xen;
  return memory.withArguments((args) => {
    const array = args.put(new Uint8Array(BigUint64Array.from(frames, BigInt).buffer));
    privcmd.domctlWith(XEN_DOMCTL_getpageframeinfo3, dom, xen_domctl_getpageframeinfo3, {
      num: frames.length,
      array: guestHandle(array),
    });
    return [...new BigUint64Array(memory.read(array, frames.length * 8).buffer)].map((n) => Number(n & 0xffff_ffffn));
  });
}

interface PageOptions {
  readonly levels: number;
  readonly toPfn: Translation;
  readonly subject: string;
}

function pageData(privcmd: Privcmd, dom: Domid, p2m: Uint32Array, pfns: readonly number[], o: PageOptions): Uint8Array {
  const infos = frameInfos(
    privcmd,
    dom,
    pfns.map((pfn) => p2m[pfn]!),
  );
  const head = new Uint8Array(8 + pfns.length * 8);
  const view = new DataView(head.buffer);
  view.setUint32(0, pfns.length, true);
  pfns.forEach((pfn, i) => {
    view.setUint32(8 + i * 8, pfn, true);
    // Bits 31:28 of what Xen says become bits 63:60.
    view.setUint32(8 + i * 8 + 4, infos[i]!, true);
  });
  const present = pfns.flatMap((pfn, i) => (infos[i] === XEN_DOMCTL_PFINFO_XTAB ? [] : [{ frame: p2m[pfn]!, info: infos[i]! }]));
  if (present.length === 0) return record(REC.PAGE_DATA, head);
  const mapping = privcmd.mapForeign(
    dom,
    present.map((p) => p.frame),
  );
  try {
    const pages = mapping.read(0, present.length * PAGE_SIZE);
    present.forEach(({ info }, i) => {
      const level = info === XEN_DOMCTL_PFINFO_NOTAB ? 0 : tableLevel(info);
      const page = pages.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE);
      if (level > 0) translateTable(page, level, o.levels, o.toPfn, { subject: o.subject, dropXen: true });
    });
    return record(REC.PAGE_DATA, head, pages);
  } finally {
    mapping.unmap();
  }
}
