// One counter of an 8254: the six modes, as Intel's data sheet (order number 231164) describes them, in closed form.
//
// A counter is plain data that is valid at one clock tick (`at`); advance() takes it to a later tick, whatever lies between, and nextEdge()
// says when its output next changes. Nothing here knows nanoseconds or ports.

/** How the CPU reads and writes the count: the RW field of the control word. */
export const ACCESS_LSB = 1;
export const ACCESS_MSB = 2;
export const ACCESS_WORD = 3;

export interface PitCounterState {
  /** The mode field as it was programmed; 6 and 7 behave as 2 and 3. */
  mode: number;
  bcd: boolean;
  access: number;
  /** CR: the count as written, raw; `low` is its first half while the second is awaited. */
  cr: number;
  low: number;
  awaitsHigh: boolean;
  /** A count was written since the control word. */
  written: boolean;
  /** What was written has not been loaded into CE yet. */
  nullCount: boolean;
  gate: boolean;
  out: boolean;
  /** CE, as a number in [0, modulus]: the modulus itself right after a load of zero. */
  ce: number;
  /** The count that the period at hand was loaded with (modes 2 and 3). */
  period: number;
  /** The tick that ce and out belong to. */
  at: number;
  /** CE is loaded from CR at this tick; -1 if none is pending. */
  loadAt: number;
  counting: boolean;
  /** Modes 0, 1, 4, 5: reaching zero will do something. */
  armed: boolean;
  /** Modes 4, 5: OUT is low for this one tick. */
  strobe: boolean;
}

export const createCounter = (gate: boolean): PitCounterState => ({
  mode: 0,
  bcd: false,
  access: ACCESS_WORD,
  cr: 0,
  low: 0,
  awaitsHigh: false,
  written: false,
  nullCount: true,
  gate,
  out: false,
  ce: 0,
  period: 0,
  at: 0,
  loadAt: -1,
  counting: false,
  armed: false,
  strobe: false,
});

const modulus = (c: PitCounterState): number => (c.bcd ? 10_000 : 0x1_0000);
const behaviour = (c: PitCounterState): number => (c.mode > 5 ? c.mode - 4 : c.mode);

const fromBcd = (v: number): number => (v >> 12) * 1000 + ((v >> 8) & 15) * 100 + ((v >> 4) & 15) * 10 + (v & 15);
const toBcd = (v: number): number =>
  (Math.floor(v / 1000) << 12) | (Math.floor((v % 1000) / 100) << 8) | (Math.floor((v % 100) / 10) << 4) | (v % 10);

/** The initial count in CR; zero stands for the modulus. */
function initialCount(c: PitCounterState): number {
  return (c.bcd ? fromBcd(c.cr) : c.cr) || modulus(c);
}

/** CE as the CPU reads it, 16 bits. */
export function counterValue(c: PitCounterState): number {
  const v = c.ce % modulus(c);
  return c.bcd ? toBcd(v) : v;
}

/** The status byte of the read-back command (OUT, null count, and the control word's low six bits). */
export function counterStatus(c: PitCounterState): number {
  return (c.out ? 0x80 : 0) | (c.nullCount ? 0x40 : 0) | (c.access << 4) | (c.mode << 1) | (c.bcd ? 1 : 0);
}

/** A control word for this counter, at a tick that the counter has been advanced to. */
export function writeControl(c: PitCounterState, access: number, mode: number, bcd: boolean): void {
  c.access = access;
  c.mode = mode;
  c.bcd = bcd;
  c.awaitsHigh = false;
  c.written = false;
  c.nullCount = true;
  c.loadAt = -1;
  c.counting = false;
  c.armed = false;
  c.strobe = false;
  c.out = behaviour(c) !== 0;
}

/** A byte of the count. */
export function writeCount(c: PitCounterState, byte: number): void {
  if (c.access === ACCESS_WORD && !c.awaitsHigh) {
    c.low = byte;
    c.awaitsHigh = true;
    // Mode 0: the first byte disables counting and sets OUT low at once.
    if (behaviour(c) === 0) {
      c.counting = false;
      c.loadAt = -1;
      c.out = false;
    }
    return;
  }
  c.awaitsHigh = false;
  c.cr = c.access === ACCESS_LSB ? byte : c.access === ACCESS_MSB ? byte << 8 : c.low | (byte << 8);
  const first = !c.written;
  c.written = true;
  c.nullCount = true;
  switch (behaviour(c)) {
    case 0:
      c.out = false;
      c.loadAt = c.at + 1;
      break;
    case 4:
      c.loadAt = c.at + 1;
      break;
    case 2:
    case 3:
      // A later count waits for the end of the period (mode 2) or half-period (mode 3).
      if (first) c.loadAt = c.at + 1;
      break;
    // Modes 1 and 5 wait for the trigger.
  }
}

export function setGate(c: PitCounterState, gate: boolean): void {
  if (gate === c.gate) return;
  c.gate = gate;
  const mode = behaviour(c);
  if (mode === 0 || mode === 4) return;
  if (gate) {
    // The trigger: loaded on the next clock.
    if (c.written) c.loadAt = c.at + 1;
  } else if (mode === 2 || mode === 3) {
    c.out = true;
    c.counting = false;
    c.loadAt = -1;
  }
}

function load(c: PitCounterState): void {
  const mode = behaviour(c);
  c.loadAt = -1;
  c.nullCount = false;
  c.counting = c.gate || (mode !== 2 && mode !== 3);
  c.strobe = false;
  c.period = initialCount(c);
  c.ce = mode === 3 ? c.period - (c.period & 1) : c.period;
  c.armed = mode !== 2 && mode !== 3;
  c.out = mode > 1;
}

/** Modes 2 and 3 take a count of at least two (data sheet, "minimum initial count"); with one, nothing ever happens here. */
const oscillates = (c: PitCounterState): boolean => c.counting && c.period > 1;

/** Mode 3: clocks until OUT toggles. With an odd count the high half is one clock longer. */
const halfLeft = (c: PitCounterState): number => c.ce / 2 + (c.period & 1 && c.out ? 1 : 0);

function reload(c: PitCounterState): void {
  c.period = initialCount(c);
  c.nullCount = false;
}

function countOneShot(c: PitCounterState, ticks: number): void {
  if (c.strobe && ticks > 0) {
    c.strobe = false;
    c.out = true;
  }
  const levelGated = behaviour(c) === 0 || behaviour(c) === 4;
  if (!c.counting || (levelGated && !c.gate)) return;
  const start = c.ce;
  const size = modulus(c);
  c.ce = (((start - ticks) % size) + size) % size;
  if (!c.armed || ticks < start) return;
  c.armed = false;
  if (behaviour(c) <= 1) c.out = true;
  else if (ticks === start) {
    c.strobe = true;
    c.out = false;
  }
}

function countRate(c: PitCounterState, ticks: number): void {
  if (!oscillates(c)) return;
  let left = ticks;
  if (left < c.ce) c.ce -= left;
  else {
    left -= c.ce;
    reload(c);
    c.ce = c.period - (c.period > 1 ? left % c.period : 0);
  }
  c.out = c.ce !== 1 || c.period === 1;
}

function countSquare(c: PitCounterState, ticks: number): void {
  if (!oscillates(c)) return;
  let left = ticks;
  let settled = false;
  while (oscillates(c) && left >= halfLeft(c)) {
    left -= halfLeft(c);
    reload(c);
    c.ce = c.period - (c.period & 1);
    c.out = !c.out;
    // From the second reload on the period stays what it is.
    if (settled) left %= c.period;
    settled = true;
  }
  if (oscillates(c)) c.ce -= 2 * left;
}

function count(c: PitCounterState, to: number): void {
  const ticks = to - c.at;
  if (ticks <= 0) return;
  c.at = to;
  switch (behaviour(c)) {
    case 2:
      countRate(c, ticks);
      break;
    case 3:
      countSquare(c, ticks);
      break;
    default:
      countOneShot(c, ticks);
  }
}

/** Takes the counter to `tick`. */
export function advance(c: PitCounterState, tick: number): void {
  if (c.loadAt >= 0 && tick >= c.loadAt) {
    count(c, c.loadAt);
    load(c);
  }
  count(c, tick);
}

/** The next change of OUT is a pulse: low for one clock (modes 2, 4 and 5). */
export function nextIsPulse(c: PitCounterState): boolean {
  const mode = behaviour(c);
  return c.out && c.loadAt < 0 && (mode === 2 || mode > 3);
}

/** The next tick at which OUT can change if nothing is written until then, or -1. Something may have to be loaded first. */
export function nextEdge(c: PitCounterState): number {
  if (c.loadAt >= 0) return c.loadAt;
  if (c.strobe) return c.at + 1;
  switch (behaviour(c)) {
    case 2:
      if (!oscillates(c)) return -1;
      return c.ce === 1 ? c.at + 1 : c.at + c.ce - 1;
    case 3:
      return oscillates(c) ? c.at + halfLeft(c) : -1;
    case 0:
    case 4:
      return c.armed && c.counting && c.gate ? c.at + c.ce : -1;
    default:
      return c.armed && c.counting ? c.at + c.ce : -1;
  }
}
