// Operations of domctl on HVM domains: their saved context (xen/arch/x86/domctl.c of 4.17).

import {
  XEN_DOMCTL_gethvmcontext,
  XEN_DOMCTL_gethvmcontext_partial,
  XEN_DOMCTL_sethvmcontext,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSPC,
  xen_domctl_hvmcontext,
  xen_domctl_hvmcontext_partial,
} from '@ringworld/abi';
import { pauseDomain, unpauseDomain } from '../core/domain-shutdown.ts';
import { control } from './control-op.ts';
import type { DomctlOp } from './domctl-domain.ts';
import { hvmContextSize, loadHvmContext, saveHvmContext, saveHvmRecord } from './hvm-context.ts';

/** No toolstack's context is longer: a record is about 1 KiB, a domain has at most 128 vCPUs. */
const MAX_CONTEXT = 0x10_0000;

const setContext: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_hvmcontext, at, ({ size, buffer }) => {
    if (d === c.domain || !d.isHvm || size > MAX_CONTEXT) return -XEN_EINVAL;
    const bytes = c.guest.copyFrom(buffer, size);
    if (bytes === null) return -XEN_EFAULT;
    pauseDomain(c.hv, d);
    const rc = loadHvmContext(c.hv, d, bytes);
    unpauseDomain(c.hv, d);
    return rc;
  });

/** A null buffer asks for the size. */
const getContext: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_hvmcontext, at, ({ size, buffer }) => {
    if (d === c.domain || !d.isHvm) return -XEN_EINVAL;
    if (buffer === 0) return { size: hvmContextSize(d), buffer };
    if (size < hvmContextSize(d)) return -XEN_ENOSPC;
    pauseDomain(c.hv, d);
    const bytes = saveHvmContext(c.hv, d);
    unpauseDomain(c.hv, d);
    return c.guest.copyTo(buffer, bytes) ? { size: bytes.length, buffer } : -XEN_EFAULT;
  });

const getPartial: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_hvmcontext_partial, at, (arg) => {
    if (d === c.domain || !d.isHvm) return -XEN_EINVAL;
    const bytes = saveHvmRecord(c.hv, d, arg.type, arg.instance);
    if (typeof bytes === 'number') return bytes;
    if (arg.buffer === 0) return { ...arg, bufsz: BigInt(bytes.length) };
    if (arg.bufsz < bytes.length) return -XEN_ENOSPC;
    return c.guest.copyTo(arg.buffer, bytes) ? { ...arg, bufsz: BigInt(bytes.length) } : -XEN_EFAULT;
  });

export const HVM_OPS: Record<number, DomctlOp | undefined> = {
  [XEN_DOMCTL_sethvmcontext]: setContext,
  [XEN_DOMCTL_gethvmcontext]: getContext,
  [XEN_DOMCTL_gethvmcontext_partial]: getPartial,
};
