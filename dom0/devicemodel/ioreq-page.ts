// Requests as they lie in the shared pages (public/hvm/ioreq.h), taken out as private copies. Sixty-four-bit fields are read as two halves: a
// request costs no BigInt.
import { BUFFERED_IOPAGE, buf_ioreq, IOREQ_BUFFER_SLOT_NUM, ioreq, ioreq_bits, type PageView } from '@ringworld/abi';
import { DOM0_ABI } from '../kernel/hypercall.ts';

const none = { state: 0, data_is_ptr: false, dir: false, df: false } as const;
/** Offsets in struct ioreq, and the bits of its flags byte. */
const AT = {
  addr: ioreq.offset('addr', DOM0_ABI),
  data: ioreq.offset('data', DOM0_ABI),
  count: ioreq.offset('count', DOM0_ABI),
  size: ioreq.offset('size', DOM0_ABI),
  vpEport: ioreq.offset('vp_eport', DOM0_ABI),
  flags: ioreq.offset('$bits', DOM0_ABI),
  type: ioreq.offset('type', DOM0_ABI),
} as const;
const FLAG = {
  state: ioreq_bits.pack({ ...none, state: 15 }),
  dataIsPtr: ioreq_bits.pack({ ...none, data_is_ptr: true }),
  dir: ioreq_bits.pack({ ...none, dir: true }),
  df: ioreq_bits.pack({ ...none, df: true }),
} as const;
export const IOREQ_SIZE = ioreq.size(DOM0_ABI);

/** The word of struct buf_ioreq in which all but the data lies. */
const HEAD = { type: 0xff, dir: 1 << 9, sizeShift: 10, addrShift: 12 } as const;
const BUF_IOREQ_SIZE = buf_ioreq.size(DOM0_ABI);
const bufferedSlot = (index: number): number => BUFFERED_IOPAGE.slots + (index % IOREQ_BUFFER_SLOT_NUM) * BUF_IOREQ_SIZE;

/** One request: a private copy, used again for the next one. */
export class Ioreq {
  /** IOREQ_TYPE_*. */
  type = 0;
  /** IOREQ_READ or IOREQ_WRITE. */
  isRead = false;
  /** Addresses go down from item to item (EFLAGS.DF of a string instruction). */
  isDown = false;
  /** `data` is the guest-physical address of the data. */
  isPointer = false;
  /** Guest-physical address, port, or for a configuration access the low half: the register. */
  addr = 0;
  /** The upper half of addr: segment, bus, device and function of a configuration access. */
  addrHigh = 0;
  /** As one number (addresses are less than 2^53), and its halves, unsigned. */
  data = 0;
  dataHigh = 0;
  /** Items, and bytes of each. */
  count = 0;
  size = 0;

  /** The data as an address. */
  get pointer(): number {
    return this.data + this.dataHigh * 0x1_0000_0000;
  }
  /** The address of item `i`, counted from `base`. */
  item(base: number, i: number): number {
    return this.isDown ? base - i * this.size : base + i * this.size;
  }

  /** From the slot of a vCPU in the synchronous page. */
  load(page: PageView, vcpu: number): void {
    const at = vcpu * IOREQ_SIZE;
    const flags = page.u8(at + AT.flags);
    this.type = page.u8(at + AT.type);
    this.isPointer = (flags & FLAG.dataIsPtr) !== 0;
    this.isRead = (flags & FLAG.dir) !== 0;
    this.isDown = (flags & FLAG.df) !== 0;
    this.addrHigh = page.u32(at + AT.addr + 4);
    this.addr = page.u32(at + AT.addr);
    this.data = page.u32(at + AT.data);
    this.dataHigh = page.u32(at + AT.data + 4);
    this.count = page.u32(at + AT.count);
    this.size = page.u32(at + AT.size);
  }

  /** From the slot of index `index` of the buffered ring, and the one after it for eight bytes. True when it took both. */
  loadBuffered(page: PageView, index: number): boolean {
    const at = bufferedSlot(index);
    const head = page.u32(at);
    const size = (head >>> HEAD.sizeShift) & 3;
    this.type = head & HEAD.type;
    this.isPointer = false;
    this.isRead = (head & HEAD.dir) !== 0;
    this.isDown = false;
    this.addrHigh = 0;
    this.addr = head >>> HEAD.addrShift;
    this.data = page.u32(at + 4);
    this.dataHigh = 0;
    this.count = 1;
    this.size = 1 << size;
    if (size < 3) return false;
    this.dataHigh = page.u32(bufferedSlot(index + 1) + 4);
    return true;
  }
}

/** STATE_* of a vCPU's slot. */
export const stateOf = (page: PageView, vcpu: number): number => page.u8(vcpu * IOREQ_SIZE + AT.flags) & FLAG.state;
export function setState(page: PageView, vcpu: number, state: number): void {
  const at = vcpu * IOREQ_SIZE + AT.flags;
  page.setU8(at, (page.u8(at) & ~FLAG.state) | state);
}
/** The answer to a read that was no pointer. */
export function putData(page: PageView, vcpu: number, low: number, high: number): void {
  const at = vcpu * IOREQ_SIZE + AT.data;
  page.setU32(at, low);
  page.setU32(at + 4, high);
}
/** The port that a vCPU's requests are announced on: dom0 binds to it. */
export const eventPortOf = (page: PageView, vcpu: number): number => page.u32(vcpu * IOREQ_SIZE + AT.vpEport);
