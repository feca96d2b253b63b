// nmi.h: nmi_op: the virtual NMI and its reasons.

import { ulong_number, vaddr_t } from '../layout/scalars.ts';
import { struct } from '../layout/struct.ts';

export const _XEN_NMIREASON_io_error = 0;
export const XEN_NMIREASON_io_error = 1 << _XEN_NMIREASON_io_error;
export const _XEN_NMIREASON_pci_serr = 1;
export const XEN_NMIREASON_pci_serr = 1 << _XEN_NMIREASON_pci_serr;
export const _XEN_NMIREASON_unknown = 2;
export const XEN_NMIREASON_unknown = 1 << _XEN_NMIREASON_unknown;

export const XENNMI_register_callback = 0;

export const xennmi_callback = struct('xennmi_callback', {
  handler_address: vaddr_t,
  pad: ulong_number,
});

export const XENNMI_unregister_callback = 1;
