// An MF2 keyboard: scan code sets 1, 2 and 3, typematic repeat, and the commands of the IBM PS/2 Technical Reference (Keyboards, "commands from
// the system").

import type { Timeline, Timer } from './bus.ts';
import { ACK, createQueues, hasByte, type Ps2Device, type Ps2Queues, RESEND, SELF_TEST_PASSED, takeByte } from './ps2-device.ts';
import { keyBytes, keysOfCharacter, type ScanSet } from './ps2-keys.ts';

const COMMAND = {
  SET_LEDS: 0xed,
  ECHO: 0xee,
  SCAN_SET: 0xf0,
  IDENTIFY: 0xf2,
  RATE: 0xf3,
  ENABLE: 0xf4,
  DISABLE: 0xf5,
  DEFAULTS: 0xf6,
  ALL_KEYS_FIRST: 0xf7,
  ALL_KEYS_LAST: 0xfa,
  ONE_KEY_FIRST: 0xfb,
  ONE_KEY_LAST: 0xfd,
  RESEND: 0xfe,
  RESET: 0xff,
} as const;
const FIRST_COMMAND = 0xed;
const ID = [0xab, 0x83] as const;

/** The keyboard's buffer; a key needs eight bytes at most (Pause in set 2). */
const BUFFER_SIZE = 16;
/** 10.9 characters a second after 500 ms. */
const DEFAULT_RATE = 0x2b;
const MS = 1e6;

export interface KeyEvent {
  name: string;
  down: boolean;
}

export interface Ps2KeyboardState extends Ps2Queues {
  scanSet: ScanSet;
  scanning: boolean;
  leds: number;
  rate: number;
  /** Fingers ahead of the buffer. */
  pending: KeyEvent[];
  /** The key that repeats, and when it does next; -1 if none. */
  held: string;
  repeatAt: number;
}

export interface Ps2KeyboardOptions {
  timeline: Timeline;
  /** There is something to take. */
  ready: () => void;
  /** Scroll lock, num lock and caps lock: bits 0 to 2. */
  leds?: (leds: number) => void;
}

export class Ps2Keyboard implements Ps2Device {
  state: Ps2KeyboardState = {
    ...createQueues(),
    scanSet: 2,
    scanning: true,
    leds: 0,
    rate: DEFAULT_RATE,
    pending: [],
    held: '',
    repeatAt: -1,
  };
  readonly #options: Ps2KeyboardOptions;
  #timer: Timer | undefined;

  constructor(options: Ps2KeyboardOptions) {
    this.#options = options;
  }

  resume(): void {
    this.#schedule();
  }

  /** Presses or releases a key; false for a name that is no key's. Waits its turn while the buffer is full. */
  key(name: string, down: boolean): boolean {
    if (!keyBytes(name, down, 2)) return false;
    this.state.pending.push({ name, down });
    this.#refill();
    return true;
  }
  /** Keys pressed together, in this order, and released in the other: ['ctrl', 'alt', 'delete']. */
  chord(names: readonly string[]): boolean {
    return names.every((n) => this.key(n, true)) && [...names].reverse().every((n) => this.key(n, false));
  }
  /** Types text on a US keyboard; returns the characters that it has no keys for. */
  type(text: string): string {
    let left = '';
    for (const c of text) {
      const keys = keysOfCharacter(c);
      if (keys) this.chord(keys);
      else left += c;
    }
    return left;
  }

  get hasByte(): boolean {
    return hasByte(this.state);
  }
  take(): number | undefined {
    const byte = takeByte(this.state);
    this.#refill();
    return byte;
  }

  receive(byte: number): void {
    const s = this.state;
    const command = s.awaiting;
    s.awaiting = -1;
    // A command in place of a parameter takes its place.
    if (command >= 0 && byte < FIRST_COMMAND) this.#parameter(command, byte);
    else this.#command(byte);
    this.#options.ready();
  }

  #reply(...bytes: number[]): void {
    this.state.replies.push(...bytes);
  }

  #command(byte: number): void {
    const s = this.state;
    switch (byte) {
      case COMMAND.ECHO:
        this.#reply(COMMAND.ECHO);
        return;
      case COMMAND.RESEND:
        if (s.last >= 0) this.#reply(s.last);
        return;
      case COMMAND.SET_LEDS:
      case COMMAND.SCAN_SET:
      case COMMAND.RATE:
        s.awaiting = byte;
        break;
      case COMMAND.IDENTIFY:
        this.#reply(ACK, ...ID);
        return;
      case COMMAND.ENABLE:
        s.events = [];
        s.scanning = true;
        break;
      case COMMAND.DISABLE:
        this.#defaults();
        s.scanning = false;
        break;
      case COMMAND.DEFAULTS:
        this.#defaults();
        break;
      case COMMAND.RESET:
        this.#defaults();
        s.scanning = true;
        s.replies = [];
        this.#setLeds(0);
        this.#reply(ACK, SELF_TEST_PASSED);
        return;
      default:
        // Key types of set 3 (make only, typematic): taken note of by nobody.
        if (byte >= COMMAND.ONE_KEY_FIRST && byte <= COMMAND.ONE_KEY_LAST) s.awaiting = byte;
        else if (byte < COMMAND.ALL_KEYS_FIRST || byte > COMMAND.ALL_KEYS_LAST) {
          this.#reply(RESEND);
          return;
        }
    }
    this.#reply(ACK);
  }

  #parameter(command: number, byte: number): void {
    const s = this.state;
    switch (command) {
      case COMMAND.SET_LEDS:
        this.#setLeds(byte & 7);
        break;
      case COMMAND.RATE:
        s.rate = byte & 0x7f;
        break;
      case COMMAND.SCAN_SET:
        if (byte > 3) {
          this.#reply(RESEND);
          return;
        }
        if (byte === 0) {
          this.#reply(ACK, s.scanSet);
          return;
        }
        s.scanSet = byte as ScanSet;
        s.events = [];
        break;
    }
    this.#reply(ACK);
  }

  #setLeds(leds: number): void {
    this.state.leds = leds;
    this.#options.leds?.(leds);
  }

  #defaults(): void {
    const s = this.state;
    s.events = [];
    s.rate = DEFAULT_RATE;
    s.scanSet = 2;
    this.#hold('');
  }

  /** Moves fingers' work into the buffer as far as it has room. A keyboard that does not scan loses it. */
  #refill(): void {
    const s = this.state;
    while (s.pending.length > 0) {
      const { name, down } = s.pending[0]!;
      const bytes = keyBytes(name, down, s.scanSet) ?? [];
      if (s.scanning && s.events.length + bytes.length > BUFFER_SIZE) break;
      s.pending.shift();
      if (!s.scanning) continue;
      s.events.push(...bytes);
      if (down) this.#hold(name === 'pause' ? '' : name);
      else if (name === s.held) this.#hold('');
    }
    if (this.hasByte) this.#options.ready();
  }

  #hold(name: string): void {
    const s = this.state;
    s.held = name;
    s.repeatAt = name === '' ? -1 : this.#options.timeline.now + (((s.rate >> 5) & 3) + 1) * 250 * MS;
    this.#schedule();
  }

  #schedule(): void {
    this.#timer?.cancel();
    const { repeatAt } = this.state;
    this.#timer = repeatAt < 0 ? undefined : this.#options.timeline.schedule(repeatAt, () => this.#repeat());
  }

  /** Typematic: the last key pressed goes on making. */
  #repeat(): void {
    const s = this.state;
    const bytes = keyBytes(s.held, true, s.scanSet) ?? [];
    if (s.scanning && s.events.length + bytes.length <= BUFFER_SIZE) s.events.push(...bytes);
    // Period: (8 + A) * 2^B * 4.17 ms.
    s.repeatAt = this.#options.timeline.now + (8 + (s.rate & 7)) * 2 ** ((s.rate >> 3) & 3) * 4.17 * MS;
    this.#schedule();
    this.#options.ready();
  }
}
