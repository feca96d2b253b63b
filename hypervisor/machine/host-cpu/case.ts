// One instruction to execute with everything it can see, and what came of it: the common terms of the host's CPU, the oracle and the
// interpreter when they are compared. Layouts are those of harness.c.

/** Code is executed at CODE_START. */
export const CODE_START = 0x2000_0800n;
/** Two writable pages, a read-only one, and one that is not there. */
export const PAGES = 0x1000_0000n;
export const READ_ONLY_PAGE = PAGES + 0x2000n;
export const ABSENT_PAGE = PAGES + 0x3000n;
export const WINDOW_SIZE = 512;
/** The window lies around the border of the two writable pages, where GS has its base. */
export const GS_BASE = PAGES + 0x1000n;
export const WINDOW = GS_BASE - BigInt(WINDOW_SIZE / 2);
/** FS: outside 64-bit code a segment of the LDT with a limit. */
export const FS_BASE = PAGES + 0x7f8n;
export const FS_LIMIT = 0x1fff;

/** 64-bit mode; or compatibility mode with flat segments, or with 16-bit ones: code at CODE_START - START_16, data at PAGES. */
export type Bits = 16 | 32 | 64;
const START_16 = 0x800n;
/** RIP of the first instruction. */
export const startOf = (bits: Bits): bigint => (bits === 16 ? START_16 : CODE_START);
export const codeBase = (bits: Bits): bigint => CODE_START - startOf(bits);
export const dataBase = (bits: Bits): bigint => (bits === 16 ? PAGES : 0n);
/** Highest offset in the data segments. */
export const dataLimit = (bits: Bits): number => (bits === 16 ? 0x3fff : 0xffffffff);
export const codeLimit = (bits: Bits): number => (bits === 16 ? 0xffff : 0xffffffff);
/** What segment registers hold: Linux's selectors for user code and data, in 16-bit code those of its LDT. GS is null. */
export const codeSelector = (bits: Bits): number => (bits === 64 ? 0x33 : bits === 32 ? 0x23 : 0x07);
export const dataSelector = (bits: Bits): number => (bits === 16 ? 0x0f : 0x2b);
export const fsSelector = (bits: Bits): number => (bits === 64 ? 0 : 0x17);
export const stackSize = (bits: Bits): 2 | 4 | 8 => (bits === 16 ? 2 : bits === 32 ? 4 : 8);

/** Longest code of a case. */
export const CODE_SIZE = 512;

export interface Case {
  readonly bits: Bits;
  /** One instruction; or, with `whole`, code that runs until it leaves for an INT3 (all around it are). */
  readonly code: Uint8Array;
  readonly whole?: boolean;
  readonly gpr: readonly bigint[];
  readonly rflags: bigint;
  /** FXSAVE image: x87, MXCSR, XMM. */
  readonly fxsave: Uint8Array;
  readonly window: Uint8Array;
}

export interface Outcome {
  /** -1 when the instruction ran through. */
  readonly vector: number;
  /** Of page faults; 0 otherwise. */
  readonly errorCode: number;
  /** Linear address of a page fault; 0n otherwise. */
  readonly address: bigint;
  readonly gpr: readonly bigint[];
  readonly rip: bigint;
  readonly rflags: bigint;
  readonly fxsave: Uint8Array;
  readonly window: Uint8Array;
}

/** What can carry out cases. `undefined`: this executor cannot do that case (no staged semantics, no such mode). */
export interface Executor {
  readonly name: string;
  run(cases: readonly Case[]): (Outcome | undefined)[];
}

/** An FXSAVE image as FNINIT and the reset value of MXCSR leave it. */
export function initialFxsave(): Uint8Array {
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  view.setUint16(0, 0x037f, true);
  view.setUint32(24, 0x1f80, true);
  return image;
}

const AFTER_CODE = 8 + CODE_SIZE;
export const CASE_SIZE = AFTER_CODE + 16 * 8 + 8 + 8 + 512 + WINDOW_SIZE;
export const RESULT_SIZE = 4 + 4 + 8 + 16 * 8 + 8 + 8 + 512 + WINDOW_SIZE;
const INT3 = 3;
const PAGE_FAULT = 14;

export function encodeCases(cases: readonly Case[]): Uint8Array {
  const bytes = new Uint8Array(cases.length * CASE_SIZE);
  const view = new DataView(bytes.buffer);
  cases.forEach((c, n) => {
    const at = n * CASE_SIZE;
    view.setUint32(at, c.bits, true);
    view.setUint32(at + 4, c.code.length, true);
    bytes.set(c.code, at + 8);
    c.gpr.forEach((v, i) => {
      view.setBigUint64(at + AFTER_CODE + i * 8, v, true);
    });
    view.setBigUint64(at + AFTER_CODE + 128, c.rflags, true);
    bytes.set(c.fxsave, at + AFTER_CODE + 144);
    bytes.set(c.window, at + AFTER_CODE + 656);
  });
  return bytes;
}

/** Results as the harness writes them. INT3 is the normal way out: its address is where the instruction went. */
export function decodeResults(bytes: Uint8Array, cases: readonly Case[]): Outcome[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / RESULT_SIZE }, (_, n) => {
    const at = n * RESULT_SIZE;
    const bits = cases[n]?.bits ?? 64;
    const vector = view.getUint32(at, true);
    const rip = view.getBigUint64(at + 144, true);
    const address = view.getBigUint64(at + 8, true);
    // Where nothing is mapped a jump ends in a fetch fault at its target: the instruction itself was done.
    const arrived = vector === INT3 || (vector === PAGE_FAULT && address === codeBase(bits) + rip && rip !== startOf(bits));
    return {
      vector: arrived ? -1 : vector,
      errorCode: !arrived && vector === PAGE_FAULT ? view.getUint32(at + 4, true) : 0,
      address: !arrived && vector === PAGE_FAULT ? address : 0n,
      // With a 16-bit stack segment the kernel leaves bits of its own above ESP (espfix64).
      gpr: Array.from({ length: 16 }, (__, i) => BigInt.asUintN(bits === 64 ? 64 : 32, view.getBigUint64(at + 16 + i * 8, true))),
      rip: vector === INT3 ? rip - 1n : rip,
      rflags: view.getBigUint64(at + 152, true),
      fxsave: bytes.slice(at + 160, at + 672),
      window: bytes.slice(at + 672, at + 672 + WINDOW_SIZE),
    };
  });
}
