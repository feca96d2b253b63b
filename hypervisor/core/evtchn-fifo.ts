// The FIFO event ABI: one 32-bit word per port in guest pages, linked into queues by priority whose heads lie in a control block per
// vCPU (xen/common/event_fifo.c; Xen's docs, "FIFO-based event channel ABI"). 131072 ports, 16 priorities.
//
// The guest unlinks events while we link others: the only words that may be trusted are those that were read once.

import {
  EVTCHN_FIFO_BUSY,
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHN_FIFO_PENDING,
  EVTCHN_FIFO_PRIORITY_DEFAULT,
  EVTCHN_FIFO_PRIORITY_MIN,
  evtchn_fifo_control_block,
  XEN_EINVAL,
  XEN_ENOSPC,
} from '@ringworld/abi';
import type { Ram } from '../machine/mmu/ram.ts';
import type { Domain } from './domain.ts';
import type { Evtchn, EvtchnPortOps } from './evtchn-port.ts';
import { INVALID_MFN, type Maddr, type Mfn, mfnToMaddr } from './ids.ts';
import type { Vcpu } from './vcpu.ts';

const WORDS_PER_PAGE = 4096 / 4;
const MAX_ARRAY_PAGES = EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE;
const PENDING = (1 << EVTCHN_FIFO_PENDING) >>> 0;
const MASKED = (1 << EVTCHN_FIFO_MASKED) >>> 0;
const LINKED = (1 << EVTCHN_FIFO_LINKED) >>> 0;
const BUSY = (1 << EVTCHN_FIFO_BUSY) >>> 0;
const CONTROL_BLOCK_SIZE = evtchn_fifo_control_block.size('x86_64');
const READY = evtchn_fifo_control_block.offset('ready', 'x86_64');
const HEAD = evtchn_fifo_control_block.offset('head', 'x86_64');

interface FifoVcpu {
  frame: Mfn;
  /** 0 when none is registered. */
  controlBlock: Maddr | 0;
  /** Tails by priority, the hypervisor's own. */
  readonly tail: number[];
}

/** What the ports need of the hypervisor around them. */
export interface FifoHost {
  readonly ram: Ram;
  getFrame(gfn: number): Mfn;
  putFrame(mfn: Mfn): void;
  markPending(vcpu: Vcpu): void;
  checkPollers(chn: Evtchn): void;
  /** The channels of the domain that are allocated, by port. */
  readonly channels: readonly Evtchn[];
}

export class FifoPorts implements EvtchnPortOps {
  readonly maxEvtchns = EVTCHN_FIFO_NR_CHANNELS;
  private readonly host: FifoHost;
  private readonly domain: Domain;
  private readonly pages: Mfn[] = [];
  private readonly vcpus: FifoVcpu[] = [];

  constructor(host: FifoHost, domain: Domain) {
    this.host = host;
    this.domain = domain;
  }

  /** EVTCHNOP_init_control for one vCPU, arguments checked except the frame: 0 or -XEN_Exxx. */
  mapControlBlock(vcpu: Vcpu, gfn: number, offset: number): number {
    if (offset > 4096 - CONTROL_BLOCK_SIZE || offset & 7) return -XEN_EINVAL;
    const v = this.vcpu(vcpu.id);
    if (v.controlBlock !== 0) return -XEN_EINVAL;
    const frame = this.host.getFrame(gfn);
    if (frame === INVALID_MFN) return -XEN_EINVAL;
    v.frame = frame;
    v.controlBlock = (mfnToMaddr(frame) + offset) as Maddr;
    return 0;
  }

  /** EVTCHNOP_expand_array: 0 or -XEN_Exxx. */
  addPage(gfn: number): number {
    if (this.pages.length >= MAX_ARRAY_PAGES) return -XEN_ENOSPC;
    const frame = this.host.getFrame(gfn);
    if (frame === INVALID_MFN) return -XEN_EINVAL;
    const first = this.pages.length * WORDS_PER_PAGE;
    this.pages.push(frame);
    // Events that were raised while there was no word for them.
    for (let port = first; port < first + WORDS_PER_PAGE; port++) {
      const chn = this.host.channels[port];
      if (chn === undefined) break;
      if (chn.pending) this.setPending(this.domain.vcpus[chn.notifyVcpuId]!, chn);
    }
    return 0;
  }

  /** Frames held as writable pages, for the frame-table audit. */
  heldFrames(): Mfn[] {
    return [...this.vcpus.flatMap((v) => (v === undefined || v.frame === INVALID_MFN ? [] : [v.frame])), ...this.pages];
  }

  destroy(): void {
    for (const v of this.vcpus) if (v !== undefined && v.frame !== INVALID_MFN) this.host.putFrame(v.frame);
    for (const mfn of this.pages) this.host.putFrame(mfn);
    this.vcpus.length = 0;
    this.pages.length = 0;
  }

  init(chn: Evtchn): void {
    chn.priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
  }

  setPending(vcpu: Vcpu, chn: Evtchn): void {
    const word = this.word(chn.port);
    if (word === 0) {
      chn.pending = true;
      return;
    }
    const { ram } = this.host;
    const old = ram.read32(word);
    ram.write32(word, old | PENDING);
    const wasPending = (old & PENDING) !== 0;
    const fifo = this.vcpu(vcpu.id);
    // Without a control block the event is dropped: the guest must not unmask one before it has registered the block.
    const newlyVisible = fifo.controlBlock !== 0 && !(old & (MASKED | LINKED)) && this.link(vcpu, fifo, chn, word);
    if (newlyVisible && this.testAndSetReady(fifo, chn.priority)) this.host.markPending(vcpu);
    if (!wasPending) this.host.checkPollers(chn);
  }

  /** Appends the port to its queue; true when the queue was empty, so that the guest must be told. */
  private link(vcpu: Vcpu, fifo: FifoVcpu, chn: Evtchn, word: Maddr): boolean {
    const { ram } = this.host;
    ram.write32(word, ram.read32(word) | LINKED);
    // If this event was the tail of its last queue, that queue is empty by now: a stale tail would corrupt the new queue.
    const old = this.vcpu(chn.lastVcpuId);
    if (old.tail[chn.lastPriority] === chn.port) old.tail[chn.lastPriority] = 0;
    chn.lastVcpuId = vcpu.id;
    chn.lastPriority = chn.priority;

    const tail = fifo.tail[chn.priority]!;
    const linked = tail !== 0 && this.setLink(tail, chn.port);
    // SAFE: the caller has checked that there is a control block.
    if (!linked) ram.write32((fifo.controlBlock + HEAD + chn.priority * 4) as Maddr, chn.port);
    fifo.tail[chn.priority] = chn.port;
    return !linked;
  }

  /** Links `port` behind `tail` unless the guest has unlinked the tail already. */
  private setLink(tail: number, port: number): boolean {
    const { ram } = this.host;
    const at = this.word(tail);
    if (at === 0) return false;
    const w = ram.read32(at);
    if (!(w & LINKED)) return false;
    ram.write32(at, (w & ~(BUSY | EVTCHN_FIFO_LINK_MASK)) | port);
    return true;
  }

  private testAndSetReady(fifo: FifoVcpu, priority: number): boolean {
    const { ram } = this.host;
    const at = (fifo.controlBlock + READY) as Maddr;
    const ready = ram.read32(at);
    ram.write32(at, ready | (1 << priority));
    return !(ready & (1 << priority));
  }

  clearPending(chn: Evtchn): void {
    // The guest unlinks it when it comes to it, and ignores it as not pending.
    this.update(chn, ~PENDING);
  }

  unmask(chn: Evtchn): void {
    const word = this.update(chn, ~MASKED);
    if (word & PENDING) this.setPending(this.domain.vcpus[chn.notifyVcpuId]!, chn);
  }

  isPending(chn: Evtchn): boolean {
    return (this.read(chn) & PENDING) !== 0;
  }
  isMasked(chn: Evtchn): boolean {
    return this.word(chn.port) === 0 || (this.read(chn) & MASKED) !== 0;
  }
  isBusy(chn: Evtchn): boolean {
    return (this.read(chn) & LINKED) !== 0;
  }

  setPriority(chn: Evtchn, priority: number): number {
    if (priority > EVTCHN_FIFO_PRIORITY_MIN) return -XEN_EINVAL;
    chn.priority = priority;
    return 0;
  }

  private read(chn: Evtchn): number {
    const word = this.word(chn.port);
    return word === 0 ? 0 : this.host.ram.read32(word);
  }
  /** ANDs the word; its new value, 0 when there is none. */
  private update(chn: Evtchn, and: number): number {
    const at = this.word(chn.port);
    if (at === 0) return 0;
    const value = this.host.ram.read32(at) & and;
    this.host.ram.write32(at, value);
    return value;
  }
  /** Address of a port's event word, 0 while the array does not reach that far. */
  private word(port: number): Maddr | 0 {
    const page = this.pages[Math.floor(port / WORDS_PER_PAGE)];
    return page === undefined ? 0 : ((mfnToMaddr(page) + (port % WORDS_PER_PAGE) * 4) as Maddr);
  }
  private vcpu(id: number): FifoVcpu {
    let v = this.vcpus[id];
    if (v === undefined) {
      v = { frame: INVALID_MFN, controlBlock: 0, tail: new Array<number>(EVTCHN_FIFO_PRIORITY_MIN + 1).fill(0) };
      this.vcpus[id] = v;
    }
    return v;
  }
}
