// XENMEM_exchange: a domain gives frames and gets as many others, contiguous or below an address (memory_exchange, xen/common/memory.c).
// Stock kernels make DMA-able regions with it. Works chunk by chunk: a chunk is the larger of an input and an output extent.

import { XEN_EFAULT, XEN_EINVAL, XEN_ENOMEM, XEN_EPERM, XEN_ESRCH, XENMEM_exchange, xen_memory_exchange } from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { INVALID_MFN, type Mfn } from '../core/ids.ts';
import { addPage } from '../core/p2m-physmap.ts';
import type { HypercallContext, HypercallResult } from './context.ts';
import { domainByAnyId, mayTarget } from './foreign-domain.ts';
import { frameLimit, maxOrder, readFrame, writeFrame } from './memory-reservation.ts';

export function exchange(c: HypercallContext, arg: number): HypercallResult {
  const x = c.guest.readStruct(xen_memory_exchange, arg);
  if (x === null) return -XEN_EFAULT;
  const start = x.nr_exchanged;
  const inOrder = x.in.extent_order;
  const outOrder = x.out.extent_order;
  if (Math.max(inOrder, outOrder) > maxOrder(c.domain)) return -XEN_EPERM;
  if (
    start > x.in.nr_extents ||
    x.in.domid !== x.out.domid ||
    x.in.nr_extents * 2 ** inOrder > Number.MAX_SAFE_INTEGER ||
    x.in.nr_extents * 2 ** inOrder !== x.out.nr_extents * 2 ** outOrder
  ) {
    return -XEN_EINVAL;
  }
  const d = domainByAnyId(c, x.in.domid);
  if (d === undefined) return -XEN_ESRCH;
  if (!mayTarget(c, d.id)) return -XEN_EPERM;
  const below = frameLimit(c, x.out.mem_flags);
  if (below === null) return -XEN_EINVAL;

  const inChunk = 2 ** Math.max(outOrder - inOrder, 0);
  const outChunk = 2 ** Math.max(inOrder - outOrder, 0);
  let i = Math.floor(start / inChunk);
  let rc = 0;
  const chunks = Math.floor(x.in.nr_extents / inChunk);
  const end = Math.min(chunks, i + c.workLeft);
  c.work += Math.max(end - i, 0);
  for (; i < end; i++) {
    rc = exchangeChunk(c, d, { inList: x.in.extent_start, outList: x.out.extent_start, inOrder, outOrder, inChunk, outChunk, below }, i);
    if (rc !== 0) break;
  }
  if (rc === 0 && i < chunks) {
    if (!c.guest.writeStruct(xen_memory_exchange, arg, { ...x, nr_exchanged: i * inChunk })) return -XEN_EFAULT;
    return c.continueWith(XENMEM_exchange, arg);
  }
  const done = { ...x, nr_exchanged: rc === 0 ? x.in.nr_extents : i * inChunk };
  return c.guest.writeStruct(xen_memory_exchange, arg, done) ? rc : -XEN_EFAULT;
}

interface Chunk {
  inList: number;
  outList: number;
  inOrder: number;
  outOrder: number;
  inChunk: number;
  outChunk: number;
  below: number;
}

function exchangeChunk(c: HypercallContext, d: Domain, k: Chunk, i: number): number {
  const { frames } = c.hv;
  const taken: Mfn[] = [];
  const got: Mfn[] = [];
  const fail = (rc: number): number => {
    for (const f of taken) frames.assign(d, f, 0, true);
    for (const f of got) for (let p = 0; p < 2 ** k.outOrder; p++) frames.giveBack((f + p) as Mfn);
    return rc;
  };
  for (let j = 0; j < k.inChunk; j++) {
    const gmfn = readFrame(c, k.inList, i * k.inChunk + j);
    if (gmfn === -1) return fail(-XEN_EFAULT);
    for (let p = 0; p < 2 ** k.inOrder; p++) {
      const mfn = (gmfn + p) as Mfn;
      const rc = frames.steal(d, mfn, true);
      if (rc !== 0) return fail(rc);
      taken.push(mfn);
    }
  }
  for (let j = 0; j < k.outChunk; j++) {
    const mfn = frames.alloc(k.outOrder, k.below);
    if (mfn === INVALID_MFN) return fail(-XEN_ENOMEM);
    got.push(mfn);
  }
  // From here on the chunk cannot fail: the domain gets all of its new frames, even if it cannot be told of some.
  for (const f of taken) frames.giveBack(f);
  let rc = 0;
  got.forEach((mfn, j) => {
    frames.assign(d, mfn, k.outOrder, true);
    const gpfn = readFrame(c, k.outList, i * k.outChunk + j);
    if (gpfn === -1) {
      rc = -XEN_EFAULT;
      return;
    }
    for (let p = 0; p < 2 ** k.outOrder; p++) addPage(c.hv, d, gpfn + p, (mfn + p) as Mfn);
    if (!d.isTranslated && !writeFrame(c, k.outList, i * k.outChunk + j, mfn)) rc = -XEN_EFAULT;
  });
  return rc;
}
