// Arithmetic on values that are known when code is compiled.

import { OP } from '../exec/wasm.ts';

const u64 = (v: bigint): bigint => BigInt.asUintN(64, v);
const s64 = (v: bigint): bigint => BigInt.asIntN(64, v);

/** a and b unsigned; undefined for an operation that is left to the machine. */
export function foldBinary(op: number, a: bigint, b: bigint): bigint | undefined {
  switch (op) {
    case OP.i64_add:
      return u64(a + b);
    case OP.i64_sub:
      return u64(a - b);
    case OP.i64_mul:
      return u64(a * b);
    case OP.i64_and:
    case OP.i32_and:
      return a & b;
    case OP.i64_or:
    case OP.i32_or:
      return a | b;
    case OP.i64_xor:
    case OP.i32_xor:
      return a ^ b;
    case OP.i64_shl:
      return u64(a << (b & 63n));
    case OP.i64_shr_u:
      return a >> (b & 63n);
    case OP.i64_shr_s:
      return u64(s64(a) >> (b & 63n));
    default:
      return undefined;
  }
}

export function foldCompare(op: number, a: bigint, b: bigint): bigint | undefined {
  const answer = (c: boolean): bigint => (c ? 1n : 0n);
  switch (op) {
    case OP.i64_eq:
      return answer(a === b);
    case OP.i64_ne:
      return answer(a !== b);
    case OP.i64_lt_u:
      return answer(a < b);
    case OP.i64_le_u:
      return answer(a <= b);
    case OP.i64_lt_s:
      return answer(s64(a) < s64(b));
    case OP.i64_le_s:
      return answer(s64(a) <= s64(b));
    default:
      return undefined;
  }
}

export function foldUnary(op: number, a: bigint): bigint | undefined {
  switch (op) {
    case OP.i64_extend8_s:
      return u64(BigInt.asIntN(8, a));
    case OP.i64_extend16_s:
      return u64(BigInt.asIntN(16, a));
    case OP.i64_extend32_s:
      return u64(BigInt.asIntN(32, a));
    default:
      return undefined;
  }
}
