// physdev.h: physdev_op: interrupts, I/O privilege and PCI, as far as a domain may touch hardware.

import { domid_t, handle, s32, u8, u16, u32, u64, ulong_number, xen_pfn_t } from '../layout/scalars.ts';
import { inline, struct, union } from '../layout/struct.ts';

export const PHYSDEVOP_eoi = 12;

export const physdev_eoi = struct('physdev_eoi', {
  irq: u32,
});

export const PHYSDEVOP_pirq_eoi_gmfn_v1 = 17;
export const PHYSDEVOP_pirq_eoi_gmfn_v2 = 28;

export const physdev_pirq_eoi_gmfn = struct('physdev_pirq_eoi_gmfn', {
  gmfn: xen_pfn_t,
});

export const PHYSDEVOP_irq_status_query = 5;

export const physdev_irq_status_query = struct('physdev_irq_status_query', {
  irq: u32,
  flags: u32,
});

export const _XENIRQSTAT_needs_eoi = 0;
export const XENIRQSTAT_needs_eoi = 1 << _XENIRQSTAT_needs_eoi;
export const _XENIRQSTAT_shared = 1;
export const XENIRQSTAT_shared = 1 << _XENIRQSTAT_shared;

export const PHYSDEVOP_set_iopl = 6;

export const physdev_set_iopl = struct('physdev_set_iopl', {
  iopl: u32,
});

export const PHYSDEVOP_set_iobitmap = 7;

export const physdev_set_iobitmap = struct('physdev_set_iobitmap', {
  bitmap: handle('uint8'),
  nr_ports: u32,
});

export const PHYSDEVOP_apic_read = 8;
export const PHYSDEVOP_apic_write = 9;

export const physdev_apic = struct('physdev_apic', {
  apic_physbase: ulong_number,
  reg: u32,
  value: u32,
});

export const PHYSDEVOP_alloc_irq_vector = 10;
export const PHYSDEVOP_free_irq_vector = 11;

export const physdev_irq = struct('physdev_irq', {
  irq: u32,
  vector: u32,
});

export const MAP_PIRQ_TYPE_MSI = 0;
export const MAP_PIRQ_TYPE_GSI = 1;
export const MAP_PIRQ_TYPE_UNKNOWN = 2;
export const MAP_PIRQ_TYPE_MSI_SEG = 3;
export const MAP_PIRQ_TYPE_MULTI_MSI = 4;

export const PHYSDEVOP_map_pirq = 13;

export const physdev_map_pirq = struct('physdev_map_pirq', {
  domid: domid_t,
  type: s32,
  index: s32,
  pirq: s32,
  bus: s32,
  devfn: s32,
  entry_nr: s32,
  table_base: u64,
});

export const PHYSDEVOP_unmap_pirq = 14;

export const physdev_unmap_pirq = struct('physdev_unmap_pirq', {
  domid: domid_t,
  pirq: s32,
});

export const PHYSDEVOP_manage_pci_add = 15;
export const PHYSDEVOP_manage_pci_remove = 16;

export const physdev_manage_pci = struct('physdev_manage_pci', {
  bus: u8,
  devfn: u8,
});

export const PHYSDEVOP_restore_msi = 19;

export const physdev_restore_msi = struct('physdev_restore_msi', {
  bus: u8,
  devfn: u8,
});

export const PHYSDEVOP_manage_pci_add_ext = 20;

export const physdev_manage_pci_ext = struct('physdev_manage_pci_ext', {
  bus: u8,
  devfn: u8,
  is_extfn: u32,
  is_virtfn: u32,
  physfn: inline({
    bus: u8,
    devfn: u8,
  }),
});

export const physdev_op = struct('physdev_op', {
  cmd: u32,
  u: union('', {
    irq_status_query: physdev_irq_status_query,
    set_iopl: physdev_set_iopl,
    set_iobitmap: physdev_set_iobitmap,
    apic_op: physdev_apic,
    irq_op: physdev_irq,
  }),
});

export const PHYSDEVOP_setup_gsi = 21;

export const physdev_setup_gsi = struct('physdev_setup_gsi', {
  gsi: s32,
  triggering: u8,
  polarity: u8,
});

export const PHYSDEVOP_get_free_pirq = 23;

export const physdev_get_free_pirq = struct('physdev_get_free_pirq', {
  type: s32,
  pirq: u32,
});

export const XEN_PCI_MMCFG_RESERVED = 1;

export const PHYSDEVOP_pci_mmcfg_reserved = 24;

export const physdev_pci_mmcfg_reserved = struct('physdev_pci_mmcfg_reserved', {
  address: u64,
  segment: u16,
  start_bus: u8,
  end_bus: u8,
  flags: u32,
});

export const XEN_PCI_DEV_EXTFN = 1;
export const XEN_PCI_DEV_VIRTFN = 2;
export const XEN_PCI_DEV_PXM = 4;

export const PHYSDEVOP_pci_device_add = 25;

export const physdev_pci_device_add = struct('physdev_pci_device_add', {
  seg: u16,
  bus: u8,
  devfn: u8,
  flags: u32,
  physfn: inline({
    bus: u8,
    devfn: u8,
  }),
});

export const PHYSDEVOP_pci_device_remove = 26;
export const PHYSDEVOP_restore_msi_ext = 27;
export const PHYSDEVOP_prepare_msix = 30;
export const PHYSDEVOP_release_msix = 31;

export const physdev_pci_device = struct('physdev_pci_device', {
  seg: u16,
  bus: u8,
  devfn: u8,
});

export const PHYSDEVOP_DBGP_RESET_PREPARE = 1;
export const PHYSDEVOP_DBGP_RESET_DONE = 2;
export const PHYSDEVOP_DBGP_BUS_UNKNOWN = 0;
export const PHYSDEVOP_DBGP_BUS_PCI = 1;
export const PHYSDEVOP_dbgp_op = 29;

export const physdev_dbgp_op = struct('physdev_dbgp_op', {
  op: u8,
  bus: u8,
  u: union('', {
    pci: physdev_pci_device,
  }),
});

export const PHYSDEVOP_IRQ_UNMASK_NOTIFY = 4;
export const PHYSDEVOP_pirq_eoi_gmfn = PHYSDEVOP_pirq_eoi_gmfn_v2;
