// What the oracle works on: a register file, a memory, and the ways out of an instruction.

import { CONTEXT_SIZE, STATE } from '../state.ts';
import type { Operand, Size } from './builder.ts';

export const GP = 13;
export const STACK_FAULT = 12;

export class OracleFault extends Error {
  readonly vector: number;
  /** -1 where the exception pushes none. */
  readonly errorCode: number;
  /** Linear address of a page fault. */
  readonly address: bigint;
  constructor(vector: number, errorCode: number, address = 0n) {
    super(`exception ${vector}(${errorCode}) at ${address.toString(16)}`);
    this.vector = vector;
    this.errorCode = errorCode;
    this.address = address;
  }
}

/** Thrown by slow(): no system code runs behind the oracle. */
export class OracleSlow extends Error {}

/** Linear memory, little-endian. `write` tells the kind of access that is checked, also when reading for a later write. */
export interface OracleMemory {
  load(linear: bigint, size: number, write: boolean): bigint;
  store(linear: bigint, size: number, v: bigint): void;
}

/** The register file: a state block laid out as STATE says. */
export class OracleState {
  readonly view: DataView = new DataView(new ArrayBuffer(CONTEXT_SIZE));

  get(offset: number, size: Size): bigint {
    const v = this.view;
    if (size === 1) return BigInt(v.getUint8(offset));
    if (size === 2) return BigInt(v.getUint16(offset, true));
    return size === 4 ? BigInt(v.getUint32(offset, true)) : v.getBigUint64(offset, true);
  }
  set(offset: number, size: Size, value: bigint): void {
    for (let i = 0; i < size; i++) this.view.setUint8(offset + i, Number((value >> BigInt(8 * i)) & 0xffn));
  }
  reg(n: number): bigint {
    return this.get(STATE.gpr + n * 8, 8);
  }
  setReg(n: number, v: bigint): void {
    this.set(STATE.gpr + n * 8, 8, v);
  }
  get rip(): bigint {
    return this.get(STATE.rip, 8);
  }
  set rip(v: bigint) {
    this.set(STATE.rip, 8, v);
  }
}

export const isCanonical = (linear: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, linear)) === linear;

/** What the 128-bit part needs of the rest. */
export interface SimdHost {
  readonly mode: { readonly bits: 16 | 32 | 64 };
  state(offset: number, size: Size): bigint;
  setState(offset: number, size: Size, v: bigint): void;
  address(o: Operand): bigint;
  segment(o: Operand): number;
  load_(seg: number, offset: bigint, size: number, write: boolean): bigint;
  store_(seg: number, offset: bigint, size: number, v: bigint): void;
}
