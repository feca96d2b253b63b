// How an HVM guest hears of event channels (xen/arch/x86/hvm/irq.c): by the callback via of HVM_PARAM_CALLBACK_IRQ (a GSI or an INTx wire of
// vCPU 0, or a vector of any vCPU), or by a vector of each vCPU through its vlapic (HVMOP_set_evtchn_upcall_vector).
//
// evtchn_upcall_pending is a byte of the guest's memory, which the guest clears without telling anybody: a line that was raised for it is
// looked at again at each VM exit (deassertIfTaken), and the callback vector stands while the byte does. evtchn_upcall_mask means nothing here.

import type { Domain } from '../../core/domain.ts';
import type { CallbackVia } from '../../core/hvm-domain.ts';
import type { Hypervisor } from '../../core/hypervisor.ts';
import { isUpcallPending } from '../../core/shared-info.ts';
import type { Vcpu } from '../../core/vcpu.ts';
import type { Lapic } from '../../machine/devices/lapic.ts';
import { type InterruptLines, NR_GSIS } from './lines.ts';

/** Plain data. */
export interface UpcallState {
  via: CallbackVia;
  /** evtchn_upcall_pending of vCPU 0, as the via's line shows it. */
  isAsserted: boolean;
}

export class Upcalls {
  state: UpcallState = { via: { type: 'none' }, isAsserted: false };
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
  setVia(via: CallbackVia): void {
    if (via.type !== 'vector' && !this.hasLines) return;
    const s = this.state;
    if (s.isAsserted) this.drive(false);
    s.via = via.type === 'gsi' && via.gsi >= NR_GSIS ? { type: 'none' } : via;
    if (s.isAsserted) this.drive(true);
    for (const v of this.domain.vcpus) if (!v.isDown && isUpcallPending(v)) this.pendingChanged(v);
  }

  /** evtchn_upcall_pending of a vCPU was set, or its upcall vector (hvm_assert_evtchn_irq). */
  pendingChanged(vcpu: Vcpu): void {
    const vector = vcpu.hvm?.upcallVector ?? 0;
    // A kernel sets its vector before it has enabled its vlapic, and may have an event pending by then.
    if (vector !== 0) this.vlapics[vcpu.id]!.hold(vector);
    else if (this.state.via.type === 'vector') this.hv.kick(vcpu);
    else if (vcpu.id === 0) this.follow(vcpu);
  }
  /** hvm_maybe_deassert_evtchn_irq: to be called at each VM exit of any vCPU. */
  deassertIfTaken(): void {
    if (!this.state.isAsserted) return;
    const v = this.domain.vcpus[0]!;
    if (!isUpcallPending(v)) this.follow(v);
  }

  /** The callback vector while it stands for a vCPU; -1 for none. */
  standing(vcpu: Vcpu): number {
    const { via } = this.state;
    return via.type === 'vector' && isUpcallPending(vcpu) ? via.vector : -1;
  }

  /** hvm_set_callback_irq_level */
  private follow(vcpu: Vcpu): void {
    const pending = isUpcallPending(vcpu);
    if (pending === this.state.isAsserted) return;
    this.state.isAsserted = pending;
    this.drive(pending);
  }
  private drive(level: boolean): void {
    const { lines } = this;
    const { via } = this.state;
    if (via.type === 'gsi') lines.hold(via.gsi, via.gsi, level);
    else if (via.type === 'pci_intx') lines.setPciIntx(via.device, via.pin, level);
  }
}
