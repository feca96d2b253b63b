// The 8042 keyboard controller at ports 0x60 and 0x64, with a keyboard (IRQ 1) and a mouse (IRQ 12) behind it.
//
// The controller's own answers are in the output buffer at once; a byte from a device takes its time on the wire, so that each is an interrupt
// of its own. Sources: IBM PS/2 Technical Reference, "Keyboard and auxiliary device controller"; Intel UPI-42 manual for the pins.

import type { Bus, IrqLine, Timeline, Timer } from './bus.ts';
import { type ByteDevice, bytePorts } from './byte-ports.ts';
import type { Ps2Device } from './ps2-device.ts';
import { Ps2Keyboard } from './ps2-keyboard.ts';
import { translateToSet1 } from './ps2-keys.ts';
import { Ps2Mouse } from './ps2-mouse.ts';

const DATA = 0x60;
const STATUS = 0x64;

const STR = { OBF: 0x01, SYS: 0x04, CMD: 0x08, UNLOCKED: 0x10, AUX: 0x20 } as const;
const CTR = { KBDINT: 0x01, AUXINT: 0x02, SYS: 0x04, KBDDIS: 0x10, AUXDIS: 0x20, XLATE: 0x40 } as const;
/** Output port: bit 0 holds the CPU out of reset, bit 1 opens A20, bits 4 and 5 are the interrupts. */
const OUTPUT = { NO_RESET: 0x01, A20: 0x02, IRQ1: 0x10, IRQ12: 0x20, IDLE: 0xcc } as const;

const COMMAND = {
  READ_RAM: 0x20,
  WRITE_RAM: 0x60,
  PASSWORD_TEST: 0xa4,
  AUX_DISABLE: 0xa7,
  AUX_ENABLE: 0xa8,
  AUX_TEST: 0xa9,
  SELF_TEST: 0xaa,
  KBD_TEST: 0xab,
  KBD_DISABLE: 0xad,
  KBD_ENABLE: 0xae,
  READ_INPUT: 0xc0,
  READ_OUTPUT: 0xd0,
  WRITE_OUTPUT: 0xd1,
  WRITE_KBD_BUFFER: 0xd2,
  WRITE_AUX_BUFFER: 0xd3,
  WRITE_AUX: 0xd4,
  A20_CLOSE: 0xdd,
  A20_OPEN: 0xdf,
  READ_TEST: 0xe0,
  PULSE: 0xf0,
} as const;

/** Time of a byte on the wire. The real one takes a millisecond; nobody gains from waiting for it. */
const BYTE_NS = 100_000;

type Source = 'controller' | 'keyboard' | 'mouse';

export interface Ps2State {
  /** RAM of the controller; byte 0 is the command byte (CTR). */
  ram: number[];
  selfTested: boolean;
  /** The last write went to port 0x64. */
  command: boolean;
  /** The command whose parameter is awaited at port 0x60, or -1. */
  awaiting: number;
  full: boolean;
  data: number;
  aux: boolean;
  /** Answers of the controller that wait for the buffer; bit 8 says that they show as the mouse's. */
  answers: number[];
  /** A byte of set 2 with 0xf0 before it is under translation. */
  breaking: boolean;
  a20: boolean;
  /** When the byte on a wire is in, or -1. */
  arrivesAt: number;
}

export interface Ps2Options {
  timeline: Timeline;
  irq1: IrqLine;
  irq12: IrqLine;
  /** The CPU's reset pin. */
  reset: () => void;
  a20: (open: boolean) => void;
  leds?: (leds: number) => void;
}

export class Ps2Controller implements ByteDevice {
  state: Ps2State;
  readonly keyboard: Ps2Keyboard;
  readonly mouse: Ps2Mouse;
  readonly #options: Ps2Options;
  #timer: Timer | undefined;

  constructor(options: Ps2Options) {
    this.#options = options;
    this.state = this.#powerOn();
    const ready = () => this.#listen();
    this.keyboard = new Ps2Keyboard({ timeline: options.timeline, ready, ...(options.leds ? { leds: options.leds } : {}) });
    this.mouse = new Ps2Mouse(ready);
  }

  #powerOn(): Ps2State {
    const ram = new Array<number>(32).fill(0);
    ram[0] = CTR.KBDINT | CTR.AUXINT;
    return {
      ram,
      selfTested: false,
      command: true,
      awaiting: -1,
      full: false,
      data: 0,
      aux: false,
      answers: [],
      breaking: false,
      a20: true,
      arrivesAt: -1,
    };
  }

  attach(bus: Bus): void {
    const ports = bytePorts(this);
    bus.attachPorts(DATA, 1, ports);
    bus.attachPorts(STATUS, 1, ports);
  }

  /** Timers and lines from `state` (and those of keyboard and mouse), after it was replaced. */
  resume(): void {
    this.keyboard.resume();
    this.#lines();
    this.#schedule();
  }

  /** The board's reset. */
  reset(): void {
    this.state = this.#powerOn();
    this.keyboard.state.replies = [];
    this.keyboard.state.events = [];
    this.#lines();
    this.#schedule();
  }

  /** The state in which a BIOS leaves it, for kernels that are booted without one: translation on, keyboard live, mouse off. */
  leaveAsFirmwareDoes(): void {
    this.state.selfTested = true;
    this.state.ram[0] = CTR.XLATE | CTR.AUXDIS | CTR.SYS | CTR.KBDINT;
    this.#lines();
  }

  readByte(port: number): number {
    const s = this.state;
    if (port === STATUS) {
      const system = s.selfTested || this.#ctr(CTR.SYS);
      return (s.full ? STR.OBF : 0) | (system ? STR.SYS : 0) | (s.command ? STR.CMD : 0) | STR.UNLOCKED | (s.full && s.aux ? STR.AUX : 0);
    }
    const { data } = s;
    s.full = false;
    this.#lines();
    this.#listen();
    return data;
  }

  writeByte(port: number, value: number): void {
    const s = this.state;
    s.command = port === STATUS;
    if (s.command) {
      s.awaiting = -1;
      this.#command(value);
    } else if (s.awaiting >= 0) {
      const { awaiting } = s;
      s.awaiting = -1;
      this.#parameter(awaiting, value);
    } else {
      // Talking to a device clocks its wire again.
      s.ram[0]! &= ~CTR.KBDDIS;
      this.keyboard.receive(value);
    }
    this.#lines();
    this.#listen();
  }

  #ctr(bit: number): boolean {
    return (this.state.ram[0]! & bit) !== 0;
  }

  #command(value: number): void {
    const s = this.state;
    if (value >= COMMAND.READ_RAM && value < COMMAND.READ_RAM + 32) this.#answer(s.ram[value & 31]!);
    else if (value >= COMMAND.WRITE_RAM && value < COMMAND.WRITE_RAM + 32) s.awaiting = value;
    else if (value >= COMMAND.PULSE) {
      // Pulses the output bits that are zero in the command; only the reset pin hangs on one of them.
      if (!(value & OUTPUT.NO_RESET)) this.#options.reset();
    } else this.#ordinary(value);
  }

  #ordinary(value: number): void {
    const s = this.state;
    switch (value) {
      case COMMAND.AUX_DISABLE:
        s.ram[0]! |= CTR.AUXDIS;
        break;
      case COMMAND.AUX_ENABLE:
        s.ram[0]! &= ~CTR.AUXDIS;
        break;
      case COMMAND.KBD_DISABLE:
        s.ram[0]! |= CTR.KBDDIS;
        break;
      case COMMAND.KBD_ENABLE:
        s.ram[0]! &= ~CTR.KBDDIS;
        break;
      case COMMAND.PASSWORD_TEST:
        // 0xf1: none is installed.
        this.#answer(0xf1);
        break;
      case COMMAND.SELF_TEST:
        s.selfTested = true;
        this.#answer(0x55);
        break;
      case COMMAND.AUX_TEST:
      case COMMAND.KBD_TEST:
      case COMMAND.READ_TEST:
        this.#answer(0x00);
        break;
      case COMMAND.READ_INPUT:
        // Keyboard not locked.
        this.#answer(0x80);
        break;
      case COMMAND.READ_OUTPUT:
        this.#answer(this.#outputPort());
        break;
      case COMMAND.WRITE_OUTPUT:
      case COMMAND.WRITE_KBD_BUFFER:
      case COMMAND.WRITE_AUX_BUFFER:
      case COMMAND.WRITE_AUX:
        s.awaiting = value;
        break;
      case COMMAND.A20_CLOSE:
      case COMMAND.A20_OPEN:
        this.#setA20(value === COMMAND.A20_OPEN);
        break;
    }
  }

  #parameter(command: number, value: number): void {
    const s = this.state;
    switch (command) {
      case COMMAND.WRITE_OUTPUT:
        this.#setA20((value & OUTPUT.A20) !== 0);
        if (!(value & OUTPUT.NO_RESET)) this.#options.reset();
        break;
      case COMMAND.WRITE_KBD_BUFFER:
        this.#answer(value);
        break;
      case COMMAND.WRITE_AUX_BUFFER:
        this.#answer(value, true);
        break;
      case COMMAND.WRITE_AUX:
        s.ram[0]! &= ~CTR.AUXDIS;
        this.mouse.receive(value);
        break;
      default:
        s.ram[command & 31] = value;
    }
  }

  #setA20(open: boolean): void {
    this.state.a20 = open;
    this.#options.a20(open);
  }

  #outputPort(): number {
    const { full, aux, a20 } = this.state;
    const interrupt = full ? (aux ? OUTPUT.IRQ12 : OUTPUT.IRQ1) : 0;
    return OUTPUT.IDLE | OUTPUT.NO_RESET | (a20 ? OUTPUT.A20 : 0) | interrupt;
  }

  #answer(byte: number, aux = false): void {
    this.state.answers.push(byte | (aux ? 0x100 : 0));
    this.#listen();
  }

  /** With the buffer empty: an answer goes in at once, a device's byte begins its way. */
  #listen(): void {
    const s = this.state;
    if (s.full) return;
    const answer = s.answers.shift();
    if (answer !== undefined) this.#fill(answer & 0xff, (answer & 0x100) !== 0);
    else if (s.arrivesAt < 0 && this.#talker() !== 'controller') {
      s.arrivesAt = this.#options.timeline.now + BYTE_NS;
      this.#schedule();
    }
  }

  /** Whose byte comes next; a disabled wire is held still. */
  #talker(): Source {
    if (this.keyboard.hasByte && !this.#ctr(CTR.KBDDIS)) return 'keyboard';
    if (this.mouse.hasByte && !this.#ctr(CTR.AUXDIS)) return 'mouse';
    return 'controller';
  }

  #schedule(): void {
    this.#timer?.cancel();
    const { arrivesAt } = this.state;
    this.#timer = arrivesAt < 0 ? undefined : this.#options.timeline.schedule(arrivesAt, () => this.#arrive());
  }

  #arrive(): void {
    const s = this.state;
    const source = this.#talker();
    const device: Ps2Device = source === 'keyboard' ? this.keyboard : this.mouse;
    const byte = s.full || source === 'controller' ? undefined : device.take();
    // Not before the byte was taken: until then the wire is busy, and the device's call to #listen is none.
    s.arrivesAt = -1;
    if (byte === undefined) return;
    if (source === 'keyboard' && this.#ctr(CTR.XLATE)) this.#translate(byte);
    else this.#fill(byte, source === 'mouse');
  }

  #translate(byte: number): void {
    const s = this.state;
    if (byte === 0xf0) {
      s.breaking = true;
      this.#listen();
      return;
    }
    const code = translateToSet1(byte) | (s.breaking ? 0x80 : 0);
    s.breaking = false;
    this.#fill(code, false);
  }

  #fill(byte: number, aux: boolean): void {
    const s = this.state;
    s.data = byte;
    s.aux = aux;
    s.full = true;
    this.#lines();
  }

  #lines(): void {
    const { full, aux } = this.state;
    this.#options.irq1(full && !aux && this.#ctr(CTR.KBDINT));
    this.#options.irq12(full && aux && this.#ctr(CTR.AUXINT));
  }
}
