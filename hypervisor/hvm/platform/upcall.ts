// How an HVM guest hears of event channels (xen/arch/x86/hvm/irq.c): by the callback via of HVM_PARAM_CALLBACK_IRQ (a GSI or an INTx wire of
// vCPU 0, or a vector of any vCPU), or by a vector of each vCPU through its vlapic (HVMOP_set_evtchn_upcall_vector).
//
// evtchn_upcall_pending is a byte of the guest's memory, which the guest clears without telling anybody: a line that was raised for it is
// looked at again at each VM exit (deassertIfTaken), and the callback vector stands while the byte does. evtchn_upcall_mask means nothing here.

import { HVM_PARAM_CALLBACK_TYPE_GSI, HVM_PARAM_CALLBACK_TYPE_PCI_INTX, HVM_PARAM_CALLBACK_TYPE_VECTOR, XEN_EINVAL } from '@ringworld/abi';
import type { Domain } from '../../core/domain.ts';
import type { Hypervisor } from '../../core/hypervisor.ts';
import { isUpcallPending } from '../../core/shared-info.ts';
import type { Vcpu } from '../../core/vcpu.ts';
import { DELIVERY } from '../../machine/devices/apic-message.ts';
import type { Lapic } from '../../machine/devices/lapic.ts';
import { type InterruptLines, NR_GSIS } from './lines.ts';

/** What HVM_PARAM_CALLBACK_IRQ says. Plain data. */
export type CallbackVia =
  | { readonly type: 'none' }
  | { readonly type: 'gsi'; readonly gsi: number }
  | { readonly type: 'pciIntx'; readonly device: number; readonly intx: number }
  | { readonly type: 'vector'; readonly vector: number };

/** The parameter: its type in bits 63:56; a GSI or a vector in bits 7:0; INTx in bits 1:0 and its device in bits 15:11. */
export function decodeCallbackVia(value: bigint): CallbackVia {
  const low = Number(value & 0xffffn);
  switch (Number(BigInt.asUintN(64, value) >> 56n)) {
    case HVM_PARAM_CALLBACK_TYPE_GSI: {
      const gsi = low & 0xff;
      return gsi === 0 || gsi >= NR_GSIS ? { type: 'none' } : { type: 'gsi', gsi };
    }
    case HVM_PARAM_CALLBACK_TYPE_PCI_INTX:
      return { type: 'pciIntx', device: low >>> 11, intx: low & 3 };
    case HVM_PARAM_CALLBACK_TYPE_VECTOR:
      return { type: 'vector', vector: low & 0xff };
    default:
      return { type: 'none' };
  }
}

export class Upcalls {
  via: CallbackVia = { type: 'none' };
  /** By vCPU id; 0 or absent: by the callback via. */
  readonly vectors: number[] = [];
  /** evtchn_upcall_pending of vCPU 0 as the via's line shows it. */
  private asserted = false;
  private readonly hv: Hypervisor;
  private readonly domain: Domain;
  private readonly lines: InterruptLines;
  private readonly vlapics: readonly Lapic[];
  /** There are an I/O APIC and 8259s for lines to lead to. */
  private readonly hasLines: boolean;

  constructor(hv: Hypervisor, domain: Domain, lines: InterruptLines, vlapics: readonly Lapic[], hasLines: boolean) {
    this.hv = hv;
    this.domain = domain;
    this.lines = lines;
    this.vlapics = vlapics;
    this.hasLines = hasLines;
  }

  /** HVM_PARAM_CALLBACK_IRQ was set (hvm_set_callback_via). Without the controllers a line is ignored, as Xen does. */
  setVia(value: bigint): void {
    const via = decodeCallbackVia(value);
    if (via.type !== 'vector' && !this.hasLines) return;
    if (this.asserted) this.drive(false);
    this.via = via;
    if (this.asserted) this.drive(true);
    for (const v of this.domain.vcpus) if (!v.isDown) this.pendingChanged(v);
  }

  /** HVMOP_set_evtchn_upcall_vector. 0, or -XEN_EINVAL for a vector below 16 or a vCPU that there is not. */
  setVector(vcpuId: number, vector: number): number {
    const vcpu = this.domain.vcpus[vcpuId];
    if (vcpu === undefined || !(vector >= 0x10 && vector <= 0xff)) return -XEN_EINVAL;
    this.vectors[vcpuId] = vector;
    this.pendingChanged(vcpu);
    return 0;
  }

  /** evtchn_upcall_pending of a vCPU was set (hvm_assert_evtchn_irq). */
  pendingChanged(vcpu: Vcpu): void {
    const vector = this.vectors[vcpu.id] ?? 0;
    if (vector !== 0) this.vlapics[vcpu.id]!.accept({ destination: 0, logical: false, delivery: DELIVERY.fixed, vector, level: false });
    else if (this.via.type === 'vector') this.hv.kick(vcpu);
    else if (vcpu.id === 0) this.follow(vcpu);
  }
  /** hvm_maybe_deassert_evtchn_irq: to be called at each VM exit of any vCPU. */
  deassertIfTaken(): void {
    if (!this.asserted) return;
    const v = this.domain.vcpus[0]!;
    if (!isUpcallPending(v)) this.follow(v);
  }

  /** The callback vector while it stands for a vCPU; -1 for none. */
  standing(vcpu: Vcpu): number {
    const { via } = this;
    return via.type === 'vector' && isUpcallPending(vcpu) ? via.vector : -1;
  }

  /** hvm_set_callback_irq_level */
  private follow(vcpu: Vcpu): void {
    const pending = isUpcallPending(vcpu);
    if (pending === this.asserted) return;
    this.asserted = pending;
    this.drive(pending);
  }
  private drive(level: boolean): void {
    const { via, lines } = this;
    if (via.type === 'gsi') lines.hold(via.gsi, via.gsi, level);
    else if (via.type === 'pciIntx') lines.setPciIntx(via.device, via.intx, level);
  }
}
