// A trace as text: one line for each record, for terminals and grep.
import type { DeviceName, RingName } from '../kernel/observe.ts';
import type { TraceEncoder, TraceEvent, TraceRecord } from './trace-event.ts';

/** XenbusState* of xenbus.h, by number. */
export const XENBUS_STATES = [
  ...['Unknown', 'Initialising', 'InitWait', 'Initialised', 'Connected', 'Closing', 'Closed', 'Reconfiguring', 'Reconfigured'],
] as const;

export const stateName = (state: number): string => XENBUS_STATES[state] ?? `state ${state}`;

/** 'vif/1/0 q0 tx'. */
export const queueName = (e: { readonly device: DeviceName; readonly queue: number; readonly ring?: RingName }): string =>
  `${e.device} q${e.queue}${e.ring === undefined ? '' : ` ${e.ring}`}`;

/** Who it is about, and what happened. */
export function describe(e: TraceEvent): readonly [who: string, what: string] {
  switch (e.kind) {
    case 'request':
      return [queueName(e), `request ${e.index}: ${e.op} id ${e.id}, ${e.bytes} bytes`];
    case 'response':
      return [queueName(e), `response ${e.index}: id ${e.id}, status ${e.status}`];
    case 'notify':
      return [queueName(e), e.sent ? 'notifies the frontend' : 'notification suppressed'];
    case 'kick':
      return [queueName(e), 'event from the frontend'];
    case 'grant':
      return [e.device, `grant ${e.op}: ${e.count}${e.bytes > 0 ? `, ${e.bytes} bytes` : ''}`];
    case 'state':
      return [e.device, `${e.end}end is ${stateName(e.state)}`];
    case 'deliver':
      return ['d0v0', `event at port ${e.port}`];
    case 'hypercall':
      return [`d${e.domid}v${e.vcpu}`, `${e.name}${e.op === null ? '' : ` ${e.op}`}${e.result === null ? '' : ` = ${e.result}`}`];
    case 'send':
      return [`d${e.domid}v${e.vcpu}`, `sends by port ${e.port} to d${e.toDomid}v${e.toVcpu} port ${e.toPort}`];
    case 'runstate':
      return [`d${e.domid}v${e.vcpu}`, e.state];
    case 'xenstore':
      return [`d${e.domid}`, `xenstore ${e.request} ${e.argument}${e.error === null ? '' : ` -> ${e.error}`}`];
    case 'watch':
      return [`d${e.domid}`, `xenstore watch event ${e.path} ${e.token}`];
  }
}

const WHO_WIDTH = 16;

/** '    1.234567890 d1v0             grant_table_op GNTTABOP_copy = 0'. */
export function textLine({ at, event }: TraceRecord): string {
  const [who, what] = describe(event);
  return `${(at / 1e9).toFixed(9).padStart(15)} ${who.padEnd(WHO_WIDTH)} ${what}`;
}

/** In place of what a reader missed. */
export const missedLine = (count: number): string => `${''.padStart(15)} ${'--'.padEnd(WHO_WIDTH)} ${count} records lost`;

export const textEncoder = (): TraceEncoder => ({
  begin: () => '',
  records: (records, missed) => (missed > 0 ? `${missedLine(missed)}\n` : '') + records.map((r) => `${textLine(r)}\n`).join(''),
  end: () => '',
});
