// A PS/2 mouse with wheel and five buttons: the IBM PS/2 Technical Reference's protocol, and Microsoft's knocks that turn it into an
// IntelliMouse (sample rates 200, 100, 80: identifier 3) or an IntelliMouse Explorer (200, 200, 80: identifier 4).

import { ACK, createQueues, hasByte, type Ps2Device, type Ps2Queues, RESEND, SELF_TEST_PASSED, takeByte } from './ps2-device.ts';

const COMMAND = {
  SCALING_1: 0xe6,
  SCALING_2: 0xe7,
  RESOLUTION: 0xe8,
  STATUS: 0xe9,
  STREAM: 0xea,
  READ: 0xeb,
  UNWRAP: 0xec,
  WRAP: 0xee,
  REMOTE: 0xf0,
  IDENTIFY: 0xf2,
  RATE: 0xf3,
  ENABLE: 0xf4,
  DISABLE: 0xf5,
  DEFAULTS: 0xf6,
  RESEND: 0xfe,
  RESET: 0xff,
} as const;

export const BUTTON = { LEFT: 1, RIGHT: 2, MIDDLE: 4, SIDE: 8, EXTRA: 16 } as const;
const BUFFER_SIZE = 16;
const KNOCKS: { rates: readonly number[]; id: 3 | 4 }[] = [
  { rates: [200, 100, 80], id: 3 },
  { rates: [200, 200, 80], id: 4 },
];

export interface Ps2MouseState extends Ps2Queues {
  id: 0 | 3 | 4;
  reporting: boolean;
  remote: boolean;
  wrap: boolean;
  scaling2: boolean;
  resolution: number;
  rate: number;
  /** The last three sample rates that were set. */
  knocks: number[];
  buttons: number;
  /** Movement not reported yet; y grows upwards, z towards the user. */
  dx: number;
  dy: number;
  dz: number;
  reportedButtons: number;
}

const initial = (): Ps2MouseState => ({
  ...createQueues(),
  id: 0,
  reporting: false,
  remote: false,
  wrap: false,
  scaling2: false,
  resolution: 2,
  rate: 100,
  knocks: [],
  buttons: 0,
  dx: 0,
  dy: 0,
  dz: 0,
  reportedButtons: 0,
});

const clamp = (v: number, low: number, high: number): number => Math.max(low, Math.min(high, v));
/** 2:1 scaling (stream mode only): 0, 1, 1, 3, 6, 9, then twice the count. */
function scale2(v: number): number {
  const n = Math.abs(v);
  return Math.sign(v) * (n < 6 ? [0, 1, 1, 3, 6, 9][n]! : 2 * n);
}

export class Ps2Mouse implements Ps2Device {
  state: Ps2MouseState = initial();
  readonly #ready: () => void;

  /** `ready` is called when there is something to take. */
  constructor(ready: () => void) {
    this.#ready = ready;
  }

  /** Moves, turns the wheel, and sets the buttons (BUTTON bits). */
  move(dx: number, dy: number, dz = 0, buttons = this.state.buttons): void {
    const s = this.state;
    s.dx += dx;
    s.dy += dy;
    s.dz += dz;
    s.buttons = buttons;
    this.#report();
  }

  get hasByte(): boolean {
    return hasByte(this.state);
  }
  take(): number | undefined {
    const byte = takeByte(this.state);
    this.#report();
    return byte;
  }

  receive(byte: number): void {
    const s = this.state;
    const command = s.awaiting;
    s.awaiting = -1;
    if (s.wrap && byte !== COMMAND.UNWRAP && byte !== COMMAND.RESET) s.replies.push(byte);
    else if (command === COMMAND.RATE) this.#setRate(byte);
    else if (command === COMMAND.RESOLUTION) this.#setResolution(byte);
    else this.#command(byte);
    if (this.hasByte) this.#ready();
  }

  #setRate(rate: number): void {
    const s = this.state;
    s.rate = rate;
    s.knocks = [...s.knocks.slice(-2), rate];
    const knock = KNOCKS.find((k) => k.rates.every((r, i) => r === s.knocks[i]));
    if (knock) s.id = knock.id;
    s.replies.push(ACK);
  }
  #setResolution(value: number): void {
    if (value <= 3) this.state.resolution = value;
    this.state.replies.push(value <= 3 ? ACK : RESEND);
  }

  #command(byte: number): void {
    const s = this.state;
    switch (byte) {
      case COMMAND.SCALING_1:
      case COMMAND.SCALING_2:
        s.scaling2 = byte === COMMAND.SCALING_2;
        break;
      case COMMAND.RESOLUTION:
      case COMMAND.RATE:
        s.awaiting = byte;
        break;
      case COMMAND.STATUS:
        s.replies.push(ACK, this.#status(), s.resolution, s.rate);
        return;
      case COMMAND.STREAM:
      case COMMAND.REMOTE:
        s.remote = byte === COMMAND.REMOTE;
        s.events = [];
        break;
      case COMMAND.READ:
        s.replies.push(ACK, ...this.#packet());
        return;
      case COMMAND.WRAP:
      case COMMAND.UNWRAP:
        s.wrap = byte === COMMAND.WRAP;
        break;
      case COMMAND.IDENTIFY:
        s.replies.push(ACK, s.id);
        return;
      case COMMAND.ENABLE:
      case COMMAND.DISABLE:
        s.reporting = byte === COMMAND.ENABLE;
        s.events = [];
        s.dx = s.dy = s.dz = 0;
        break;
      case COMMAND.DEFAULTS:
        Object.assign(s, { reporting: false, remote: false, scaling2: false, resolution: 2, rate: 100, events: [] });
        break;
      case COMMAND.RESEND:
        if (s.last >= 0) s.replies.push(s.last);
        return;
      case COMMAND.RESET:
        Object.assign(s, { ...initial(), buttons: s.buttons });
        s.replies.push(ACK, SELF_TEST_PASSED, 0);
        return;
      default:
        s.replies.push(RESEND);
        return;
    }
    s.replies.push(ACK);
  }

  #status(): number {
    const { remote, reporting, scaling2, buttons } = this.state;
    const shown = (buttons & BUTTON.LEFT ? 4 : 0) | (buttons & BUTTON.MIDDLE ? 2 : 0) | (buttons & BUTTON.RIGHT ? 1 : 0);
    return (remote ? 0x40 : 0) | (reporting ? 0x20 : 0) | (scaling2 ? 0x10 : 0) | shown;
  }

  /** Puts movement into the buffer while it has room for a packet. */
  #report(): void {
    const s = this.state;
    while (
      s.reporting &&
      !s.remote &&
      !s.wrap &&
      s.events.length + 4 <= BUFFER_SIZE &&
      (s.dx !== 0 || s.dy !== 0 || (s.dz !== 0 && s.id > 0) || s.buttons !== s.reportedButtons)
    )
      s.events.push(...this.#packet());
    if (this.hasByte) this.#ready();
  }

  /** The next packet; movement beyond nine bits stays for the one after. */
  #packet(): number[] {
    const s = this.state;
    const [dx, dy, dz] = [clamp(s.dx, -256, 255), clamp(s.dy, -256, 255), clamp(s.dz, -8, 7)];
    s.dx -= dx;
    s.dy -= dy;
    s.dz -= dz;
    s.reportedButtons = s.buttons;
    const [x, y] = s.scaling2 && !s.remote ? [clamp(scale2(dx), -256, 255), clamp(scale2(dy), -256, 255)] : [dx, dy];
    const first = 0x08 | (s.buttons & 7) | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0);
    const packet = [first, x & 0xff, y & 0xff];
    if (s.id === 3) packet.push(dz & 0xff);
    if (s.id === 4) packet.push((dz & 0x0f) | ((s.buttons & (BUTTON.SIDE | BUTTON.EXTRA)) << 1));
    return packet;
  }
}
