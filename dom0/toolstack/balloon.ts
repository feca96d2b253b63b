// A domain's memory while it runs: the target that its balloon driver follows, and the limit that Xen holds it to (libxl_mem.c:
// libxl_set_memory_target, libxl_domain_setmaxmem).
import { type Domid, XEN_DOMCTL_max_mem, xen_domctl_max_mem } from '@ringworld/abi';
import type { Privcmd } from '../kernel/privcmd.ts';
import type { XsClient } from '../xenstored/index.ts';
import { ToolstackError } from './control.ts';

/** LIBXL_MAXMEM_CONSTANT, KiB. */
const MAXMEM_SLACK_KB = 1024;

const limit = (privcmd: Privcmd, dom: Domid, kb: number): void => {
  privcmd.domctlWith(XEN_DOMCTL_max_mem, dom, xen_domctl_max_mem, { max_memkb: kb + MAXMEM_SLACK_KB });
};

function stored(xs: XsClient, dom: Domid, key: string): number {
  const text = xs.read(`/local/domain/${dom}/memory/${key}`);
  if (text === null) throw new ToolstackError(`cannot get ${key} info from /local/domain/${dom}/memory/${key}`);
  return Number(text);
}

/** As `xl mem-set`: the target is enforced, so that the guest cannot grow beyond it. */
export function setMemoryTarget(privcmd: Privcmd, xs: XsClient, dom: Domid, kb: number): void {
  const max = stored(xs, dom, 'static-max');
  if (kb > max)
    throw new ToolstackError(`memory_dynamic_max must be less than or equal to memory_static_max: ${kb} KiB asked for, ${max} KiB at most`);
  limit(privcmd, dom, kb);
  xs.write(`/local/domain/${dom}/memory/target`, String(kb));
}

/** As `xl mem-max`. */
export function setMaxMemory(privcmd: Privcmd, xs: XsClient, dom: Domid, kb: number): void {
  const target = stored(xs, dom, 'target');
  if (kb < target)
    throw new ToolstackError(
      `memory_static_max must be greater than or equal to memory_dynamic_max: ${kb} KiB asked for, the target is ${target} KiB`,
    );
  limit(privcmd, dom, kb);
}
