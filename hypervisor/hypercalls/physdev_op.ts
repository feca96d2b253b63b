// physdev_op: interrupts and I/O privilege. A domain without devices may set its IOPL and I/O bitmap; the rest answers as Xen answers an
// unprivileged PV domain (xen/arch/x86/physdev.c).

import {
  MAP_PIRQ_TYPE_GSI,
  PHYSDEVOP_alloc_irq_vector,
  PHYSDEVOP_apic_read,
  PHYSDEVOP_apic_write,
  PHYSDEVOP_dbgp_op,
  PHYSDEVOP_eoi,
  PHYSDEVOP_get_free_pirq,
  PHYSDEVOP_IRQ_UNMASK_NOTIFY,
  PHYSDEVOP_irq_status_query,
  PHYSDEVOP_manage_pci_add,
  PHYSDEVOP_manage_pci_add_ext,
  PHYSDEVOP_manage_pci_remove,
  PHYSDEVOP_map_pirq,
  PHYSDEVOP_pci_device_add,
  PHYSDEVOP_pci_device_remove,
  PHYSDEVOP_pci_mmcfg_reserved,
  PHYSDEVOP_pirq_eoi_gmfn_v1,
  PHYSDEVOP_pirq_eoi_gmfn_v2,
  PHYSDEVOP_prepare_msix,
  PHYSDEVOP_release_msix,
  PHYSDEVOP_restore_msi,
  PHYSDEVOP_restore_msi_ext,
  PHYSDEVOP_set_iobitmap,
  PHYSDEVOP_set_iopl,
  PHYSDEVOP_setup_gsi,
  PHYSDEVOP_unmap_pirq,
  physdev_apic,
  physdev_eoi,
  physdev_irq,
  physdev_irq_status_query,
  physdev_map_pirq,
  physdev_pirq_eoi_gmfn,
  physdev_set_iobitmap,
  physdev_set_iopl,
  physdev_setup_gsi,
  physdev_unmap_pirq,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XENIRQSTAT_needs_eoi,
} from '@ringworld/abi';
import { NR_PIRQS } from '../core/event-channels.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';

const MAX_PORTS = 65536;
const MAX_IOPL = 3;

function setIopl(c: HypercallContext, arg: number): number {
  const a = c.guest.readStruct(physdev_set_iopl, arg);
  if (a === null) return -XEN_EFAULT;
  if (c.domain.isTranslated || a.iopl > MAX_IOPL) return -XEN_EINVAL;
  c.vcpu.pv.iopl = a.iopl;
  return 0;
}

function setIobitmap(c: HypercallContext, arg: number): number {
  const a = c.guest.readStruct(physdev_set_iobitmap, arg);
  if (a === null) return -XEN_EFAULT;
  if (c.domain.isTranslated || a.nr_ports > MAX_PORTS) return -XEN_EINVAL;
  c.vcpu.pv.iobmp = a.bitmap;
  c.vcpu.pv.iobmpLimit = a.nr_ports;
  return 0;
}

function irqStatusQuery(c: HypercallContext, arg: number): number {
  const a = c.guest.readStruct(physdev_irq_status_query, arg);
  if (a === null) return -XEN_EFAULT;
  if (a.irq >= NR_PIRQS) return -XEN_EINVAL;
  return c.guest.writeStruct(physdev_irq_status_query, arg, { irq: a.irq, flags: XENIRQSTAT_needs_eoi }) ? 0 : -XEN_EFAULT;
}

function pirqEoiGmfn(c: HypercallContext, arg: number): number {
  const a = c.guest.readStruct(physdev_pirq_eoi_gmfn, arg);
  return a === null ? -XEN_EFAULT : c.domain.evtchn.mapPirqEoi(a.gmfn);
}

/** Refuses what nobody here may do, after the copy-in that Xen does first. */
const refuse =
  (codec: { size(abi: 'x86_64' | 'x86_32'): number }, errno: number) =>
  (c: HypercallContext, arg: number): number =>
    c.guest.copyFrom(arg, codec.size(c.abi)) === null ? -XEN_EFAULT : -errno;

const denied = (): number => -XEN_EPERM;

const OPS: Record<number, (c: HypercallContext, arg: number) => number> = {
  [PHYSDEVOP_set_iopl]: setIopl,
  [PHYSDEVOP_set_iobitmap]: setIobitmap,
  [PHYSDEVOP_irq_status_query]: irqStatusQuery,
  [PHYSDEVOP_eoi]: refuse(physdev_eoi, XEN_EINVAL),
  [PHYSDEVOP_IRQ_UNMASK_NOTIFY]: () => 0,
  [PHYSDEVOP_pirq_eoi_gmfn_v1]: pirqEoiGmfn,
  [PHYSDEVOP_pirq_eoi_gmfn_v2]: pirqEoiGmfn,
  [PHYSDEVOP_apic_read]: refuse(physdev_apic, XEN_EPERM),
  [PHYSDEVOP_apic_write]: refuse(physdev_apic, XEN_EPERM),
  [PHYSDEVOP_alloc_irq_vector]: refuse(physdev_irq, XEN_EPERM),
  [PHYSDEVOP_map_pirq]: (c, arg) => {
    const a = c.guest.readStruct(physdev_map_pirq, arg);
    if (a === null) return -XEN_EFAULT;
    return a.type === MAP_PIRQ_TYPE_GSI ? -XEN_EINVAL : -XEN_EPERM;
  },
  [PHYSDEVOP_unmap_pirq]: refuse(physdev_unmap_pirq, XEN_EINVAL),
  [PHYSDEVOP_setup_gsi]: refuse(physdev_setup_gsi, XEN_EPERM),
  [PHYSDEVOP_get_free_pirq]: () => -XEN_EINVAL,
  [PHYSDEVOP_manage_pci_add]: denied,
  [PHYSDEVOP_manage_pci_add_ext]: denied,
  [PHYSDEVOP_manage_pci_remove]: denied,
  [PHYSDEVOP_pci_device_add]: denied,
  [PHYSDEVOP_pci_device_remove]: denied,
  [PHYSDEVOP_pci_mmcfg_reserved]: denied,
  [PHYSDEVOP_prepare_msix]: denied,
  [PHYSDEVOP_release_msix]: denied,
  [PHYSDEVOP_restore_msi]: denied,
  [PHYSDEVOP_restore_msi_ext]: denied,
  [PHYSDEVOP_dbgp_op]: denied,
};

export const physdevOp = (c: HypercallContext, cmd: number, arg: number): number => OPS[cmd]?.(c, arg) ?? -XEN_ENOSYS;

/** hvm_physdev_op(): for HVM guests with PIRQs, which none has here. */
export const physdev_op: HypercallHandler = (c) => (c.domain.isHvm ? -XEN_ENOSYS : physdevOp(c, c.argU32(0), c.arg(1)));
