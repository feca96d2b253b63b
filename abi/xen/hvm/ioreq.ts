// hvm/ioreq.h: the pages through which Xen asks a device model to carry out an access.
// A member whose name begins with $ is a run of bit-fields, which C gives no offset.
import { bits } from '../../layout/bits.ts';
import { u8, u16, u32, u64 } from '../../layout/scalars.ts';
import { struct } from '../../layout/struct.ts';

export const IOREQ_READ = 1;
export const IOREQ_WRITE = 0;

export const STATE_IOREQ_NONE = 0;
export const STATE_IOREQ_READY = 1;
export const STATE_IOREQ_INPROCESS = 2;
export const STATE_IORESP_READY = 3;

export const IOREQ_TYPE_PIO = 0;
export const IOREQ_TYPE_COPY = 1;
export const IOREQ_TYPE_PCI_CONFIG = 2;
export const IOREQ_TYPE_TIMEOFFSET = 7;
export const IOREQ_TYPE_INVALIDATE = 8;

/** The byte of struct ioreq that holds its bit-fields. */
export const ioreq_bits = bits(u8, { state: [0, 4], data_is_ptr: 4, dir: 5, df: 6 });

/** A slot of the synchronous page, one per vCPU. `data` is a guest-physical address when data_is_ptr says so; `count` is of REP. */
export const ioreq = struct('ioreq', {
  addr: u64,
  data: u64,
  count: u32,
  size: u32,
  vp_eport: u32,
  _pad0: u16,
  $bits: ioreq_bits,
  type: u8,
});

/** A slot of the buffered page: type, direction, log2 of the size, and 20 bits of address in one word. */
export const buf_ioreq = struct('buf_ioreq', { $head: bits(u32, { type: [0, 8], dir: 9, size: [10, 2], addr: [12, 20] }), data: u32 });

export const IOREQ_BUFFER_SLOT_NUM = 511;
/** struct buffered_iopage, whose pointers only Xen's own view of the header has: two 32-bit words, then the slots. */
export const BUFFERED_IOPAGE = { readPointer: 0, writePointer: 4, slots: 8 } as const;

export const ACPI_PM1A_EVT_BLK_ADDRESS_V0 = 0x1f40;
export const ACPI_PM1A_CNT_BLK_ADDRESS_V0 = 0x1f44;
export const ACPI_PM_TMR_BLK_ADDRESS_V0 = 0x1f48;
export const ACPI_GPE0_BLK_ADDRESS_V0 = 0x1f68;
export const ACPI_GPE0_BLK_LEN_V0 = 0x08;

export const ACPI_PM1A_EVT_BLK_ADDRESS_V1 = 0xb000;
export const ACPI_PM1A_CNT_BLK_ADDRESS_V1 = 0xb004;
export const ACPI_PM_TMR_BLK_ADDRESS_V1 = 0xb008;
export const ACPI_GPE0_BLK_ADDRESS_V1 = 0xafe0;
export const ACPI_GPE0_BLK_LEN_V1 = 0x04;
