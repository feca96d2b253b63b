// domctl: making and ruling domains. For the privileged domain alone; the operations are in domctl-*.ts (xen/common/domctl.c).

import {
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_EACCES,
  XEN_EFAULT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  xen_domctl,
} from '@ringworld/abi';
import type { HypercallHandler } from './context.ts';
import { createDomainOp, getDomainInfoOp } from './domctl-create.ts';
import { DOMAIN_OPS } from './domctl-domain.ts';
import { HVM_OPS } from './domctl-hvm.ts';
import { SAVE_OPS } from './domctl-save.ts';
import { VCPU_OPS } from './domctl-vcpu.ts';

const U = xen_domctl.offset('u', 'x86_64');
const DOMAIN = xen_domctl.offset('domain', 'x86_64');
const VERSION = xen_domctl.offset('interface_version', 'x86_64');

export const domctl: HypercallHandler = (c) => {
  const op = c.arg(0);
  const head = c.guest.copyFrom(op, xen_domctl.size(c.abi));
  if (head === null) return -XEN_EFAULT;
  const view = new DataView(head.buffer);
  if (view.getUint32(VERSION, true) !== XEN_DOMCTL_INTERFACE_VERSION) return -XEN_EACCES;
  const cmd = view.getUint32(0, true);
  const domid = view.getUint16(DOMAIN, true);
  const at = op + U;
  if (cmd === XEN_DOMCTL_createdomain) return c.domain.isPrivileged ? createDomainOp(c, op + DOMAIN, domid, at) : -XEN_EPERM;
  if (cmd === XEN_DOMCTL_getdomaininfo) return getDomainInfoOp(c, op + DOMAIN, domid, at);
  const d = c.hv.domain(domid);
  if (d === undefined) return -XEN_ESRCH;
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  const handler = DOMAIN_OPS[cmd] ?? VCPU_OPS[cmd] ?? SAVE_OPS[cmd] ?? HVM_OPS[cmd];
  return handler === undefined ? -XEN_ENOSYS : handler(c, d, at);
};
