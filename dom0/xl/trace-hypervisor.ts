// What only the hypervisor can see of a guest, put into a trace: hypercalls, events sent, runstates. Hypercalls are reported when they
// return. While nothing is attached the hooks are null, and that is all it costs.
import { __HYPERVISOR_event_channel_op, EVTCHNOP_send, findHypercall, hypercallName, subOpName } from '@ringworld/abi';
import type { Hypervisor, TraceHook, Vcpu } from '@ringworld/hypervisor';
import type { RunstateName, TraceClass, TraceTarget } from '../observe/index.ts';

/** By number of vcpu.h. */
const RUNSTATES: readonly RunstateName[] = ['running', 'runnable', 'blocked', 'offline'];

export function attachHypervisor(hv: Hypervisor, target: TraceTarget, classes: ReadonlySet<TraceClass>): () => void {
  const wantsCalls = classes.has('hypercall');
  const wantsSends = classes.has('event');
  if (wantsCalls || wantsSends)
    hv.trace = (vcpu, number, c, result) => {
      if (number === __HYPERVISOR_event_channel_op && c.argU32(0) === EVTCHNOP_send) {
        if (wantsSends && result === 0) recordSend(target, vcpu, c);
        if (result === 0) return;
      }
      if (!wantsCalls) return;
      const domid = vcpu.domain.id;
      target.record({
        kind: 'hypercall',
        domid,
        vcpu: vcpu.id,
        name: hypercallName(number),
        op: operation(number, c),
        result: typeof result === 'number' ? result : null,
      });
    };
  if (classes.has('run')) {
    hv.traceRunstate = (vcpu, state, now) => target.recordAt(now, runstate(vcpu, state));
    for (const d of hv.domains.values()) for (const v of d.vcpus) if (!v.isHosted) target.record(runstate(v, v.runstate));
  }
  return () => {
    hv.trace = null;
    hv.traceRunstate = null;
  };
}

const runstate = (v: Vcpu, state: number) =>
  ({ kind: 'runstate', domid: v.domain.id, vcpu: v.id, state: RUNSTATES[state] ?? 'offline' }) as const;

type Arguments = Parameters<TraceHook>[2];

/** The sub-operation by name; of a list, that of its first element. */
function operation(number: number, c: Arguments): string | null {
  const call = findHypercall(number)?.call;
  if (call?.selector === undefined) return null;
  const at = Object.keys(call.args).indexOf(call.selector.arg);
  if (!call.selector.pointed) return subOpName(number, (c.argU32(at) & (call.selector.mask ?? 0xffff_ffff)) >>> 0);
  const cmd = c.guest.read32(c.arg(at));
  return cmd === -1 ? null : subOpName(number, cmd);
}

/** The port is read again: the guest could have changed it meanwhile, and would then deceive the trace only. */
function recordSend(target: TraceTarget, vcpu: Vcpu, c: Arguments): void {
  const port = c.guest.read32(c.arg(1));
  const chn = vcpu.domain.evtchn.channels[port];
  if (chn?.remoteDom == null) return;
  const to = chn.remoteDom;
  const toVcpu = to.evtchn.channels[chn.remotePort]?.notifyVcpuId ?? 0;
  target.record({ kind: 'send', domid: vcpu.domain.id, vcpu: vcpu.id, port, toDomid: to.id, toVcpu, toPort: chn.remotePort });
}
