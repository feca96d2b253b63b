// What keyboard and mouse have in common on their wire: bytes wait in them until the controller takes them, replies before events.

export interface Ps2Queues {
  replies: number[];
  events: number[];
  /** The last byte sent, for the resend command; -1 if none. */
  last: number;
  /** The command whose parameter is awaited, or -1. */
  awaiting: number;
}

export const createQueues = (): Ps2Queues => ({ replies: [], events: [], last: -1, awaiting: -1 });

export const ACK = 0xfa;
export const RESEND = 0xfe;
export const SELF_TEST_PASSED = 0xaa;

/** The next byte, or undefined. */
export function takeByte(q: Ps2Queues): number | undefined {
  const byte = q.replies.shift() ?? q.events.shift();
  if (byte !== undefined) q.last = byte;
  return byte;
}
export const hasByte = (q: Ps2Queues): boolean => q.replies.length > 0 || q.events.length > 0;

/** One end of a PS/2 wire. */
export interface Ps2Device {
  readonly hasByte: boolean;
  take(): number | undefined;
  /** A byte from the host. */
  receive(byte: number): void;
}
