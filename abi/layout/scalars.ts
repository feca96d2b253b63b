// The scalar codecs: fixed-width integers, the types whose width follows the ABI (unsigned long, pointers, guest handles) and the
// ones that Xen pins to 8 bytes in both (uint64_aligned_t, XEN_GUEST_HANDLE_64).
//
// A 64-bit integer is a bigint, except where a number is always enough and used in hot places: frame numbers, counts, addresses.
// Those read 8 bytes as one double. A hostile value past 2^53 is rounded, never wrapped, so it stays out of every valid range.
import type { Domid, EvtchnPort, Gfn, GrantHandle, GrantRef, GuestHandle, GuestVaddr, Mfn, Pfn } from './brands.ts';
import { type Abi, type Codec, hex, type PerAbi, type Shape } from './codec.ts';

type Read<T> = (view: DataView, at: number) => T;
type Write<T> = (view: DataView, at: number, value: T) => void;

const SCALAR: Shape = { kind: 'scalar' };
const show = (value: unknown): string => (typeof value === 'bigint' || typeof value === 'number' ? hex(value) : String(value));

function fixed<T>(ctype: string, size: number, align32: number, read: Read<T>, write: Write<T>): Codec<T> {
  return {
    ctype,
    shape: SCALAR,
    size: () => size,
    align: (abi) => (abi === 'x86_32' ? align32 : size),
    read: (view, at) => read(view, at),
    write: (view, at, _abi, value) => write(view, at, value),
    show,
  };
}

/** A value whose codec is another one in each ABI. Dumps show it as a whole. */
export function perAbi<T>(ctype: string, of: PerAbi<Codec<T>>): Codec<T> {
  return {
    ctype,
    shape: SCALAR,
    size: (abi) => of[abi].size(abi),
    align: (abi) => of[abi].align(abi),
    read: (view, at, abi) => of[abi].read(view, at, abi),
    write: (view, at, abi, value) => of[abi].write(view, at, abi, value),
    show,
  };
}

/** The same bytes under another C name and a branded type. */
export function branded<B extends T, T>(codec: Codec<T>, ctype: string): Codec<B> {
  return {
    ...codec,
    ctype,
    // SAFE: a brand exists for the type checker only.
    read: (view: DataView, at: number, abi: Abi) => codec.read(view, at, abi) as B,
  };
}

export const u8 = fixed<number>(
  'uint8_t',
  1,
  1,
  (v, at) => v.getUint8(at),
  (v, at, x) => v.setUint8(at, x),
);
export const s8 = fixed<number>(
  'int8_t',
  1,
  1,
  (v, at) => v.getInt8(at),
  (v, at, x) => v.setInt8(at, x),
);
export const u16 = fixed<number>(
  'uint16_t',
  2,
  2,
  (v, at) => v.getUint16(at, true),
  (v, at, x) => v.setUint16(at, x, true),
);
export const s16 = fixed<number>(
  'int16_t',
  2,
  2,
  (v, at) => v.getInt16(at, true),
  (v, at, x) => v.setInt16(at, x, true),
);
export const u32 = fixed<number>(
  'uint32_t',
  4,
  4,
  (v, at) => v.getUint32(at, true),
  (v, at, x) => v.setUint32(at, x, true),
);
export const s32 = fixed<number>(
  'int32_t',
  4,
  4,
  (v, at) => v.getInt32(at, true),
  (v, at, x) => v.setInt32(at, x, true),
);

const readU64: Read<bigint> = (v, at) => v.getBigUint64(at, true);
const writeU64: Write<bigint> = (v, at, x) => v.setBigUint64(at, x, true);
/** Aligned to 4 in the i386 psABI: the reason why blkif has two layouts. */
export const u64 = fixed<bigint>('uint64_t', 8, 4, readU64, writeU64);
export const s64 = fixed<bigint>(
  'int64_t',
  8,
  4,
  (v, at) => v.getBigInt64(at, true),
  (v, at, x) => v.setBigInt64(at, x, true),
);
/** Aligned to 8 in both: what domctl, sysctl and other tools-only interfaces use so that a 32-bit dom0 needs no translation. */
export const u64_aligned = fixed<bigint>('uint64_aligned_t', 8, 8, readU64, writeU64);
export const s64_aligned = fixed<bigint>(
  'int64_aligned_t',
  8,
  8,
  (v, at) => v.getBigInt64(at, true),
  (v, at, x) => v.setBigInt64(at, x, true),
);

const TWO32 = 4294967296;
const readU64Number: Read<number> = (v, at) => v.getUint32(at, true) + v.getUint32(at + 4, true) * TWO32;
const readS64Number: Read<number> = (v, at) => v.getUint32(at, true) + v.getInt32(at + 4, true) * TWO32;
const writeNumber64: Write<number> = (v, at, x) => {
  // 2^64 is what all ones read as (INVALID_MFN and its like): it goes back as all ones.
  const ones = x >= TWO32 * TWO32;
  v.setUint32(at, ones ? 0xffffffff : x, true);
  v.setUint32(at + 4, ones ? 0xffffffff : Math.floor(x / TWO32), true);
};
/** uint64_t as a number: exact to 2^53 (104 days of nanoseconds, any frame number). */
export const u64_number = fixed<number>('uint64_t', 8, 4, readU64Number, writeNumber64);
export const u64_aligned_number = fixed<number>('uint64_aligned_t', 8, 8, readU64Number, writeNumber64);
const s64_number = fixed<number>('int64_t', 8, 4, readS64Number, writeNumber64);
const s64_aligned_number = fixed<number>('int64_aligned_t', 8, 8, readS64Number, writeNumber64);

const u32_as_bigint = fixed<bigint>(
  'uint32_t',
  4,
  4,
  (v, at) => BigInt(v.getUint32(at, true)),
  (v, at, x) => v.setUint32(at, Number(BigInt.asUintN(32, x)), true),
);
const s32_as_bigint = fixed<bigint>(
  'int32_t',
  4,
  4,
  (v, at) => BigInt(v.getInt32(at, true)),
  (v, at, x) => v.setInt32(at, Number(BigInt.asIntN(32, x)), true),
);
/** unsigned long with all its bits: registers, flags, bitmaps. */
export const ulong = perAbi<bigint>('unsigned long', { x86_64: u64, x86_32: u32_as_bigint });
export const slong = perAbi<bigint>('long', { x86_64: s64, x86_32: s32_as_bigint });
/** unsigned long as a number: counts, sizes, frame numbers. */
export const ulong_number = perAbi<number>('unsigned long', { x86_64: u64_number, x86_32: u32 });
export const slong_number = perAbi<number>('long', { x86_64: s64_number, x86_32: s32 });
/** xen_ulong_t is unsigned long on x86. */
export const xen_ulong_t = { ...ulong, ctype: 'xen_ulong_t' };
export const xen_ulong_number = { ...ulong_number, ctype: 'xen_ulong_t' };
export const xen_pfn_t = { ...ulong_number, ctype: 'xen_pfn_t' };

export const mfn_t = branded<Mfn, number>(ulong_number, 'xen_pfn_t');
export const gfn_t = branded<Gfn, number>(ulong_number, 'xen_pfn_t');
export const pfn_t = branded<Pfn, number>(ulong_number, 'xen_pfn_t');
export const domid_t = branded<Domid, number>(u16, 'domid_t');
export const grant_ref_t = branded<GrantRef, number>(u32, 'grant_ref_t');
export const grant_handle_t = branded<GrantHandle, number>(u32, 'grant_handle_t');
export const evtchn_port_t = branded<EvtchnPort, number>(u32, 'evtchn_port_t');
/** 8 bytes signed, or 4 unsigned: a linear address in an unsigned long. */
export const vaddr_t = branded<GuestVaddr, number>(perAbi('unsigned long', { x86_64: s64_number, x86_32: u32 }), 'unsigned long');
/** A linear or a machine address in a uint64_t: signed, so that canonical addresses of both halves are exact. */
export const address64 = { ...s64_number, ctype: 'uint64_t' };

/** A C pointer that Xen's headers wrap as XEN_GUEST_HANDLE(type). */
export function handle<T = unknown>(of = 'void'): Codec<GuestHandle<T>> {
  return branded<GuestHandle<T>, number>(perAbi('handle', { x86_64: s64_number, x86_32: u32 }), `XEN_GUEST_HANDLE(${of})`);
}
/** XEN_GUEST_HANDLE_64(type): 8 bytes, aligned to 8, in both ABIs. */
export function handle64<T = unknown>(of = 'void'): Codec<GuestHandle<T>> {
  return branded<GuestHandle<T>, number>(s64_aligned_number, `XEN_GUEST_HANDLE_64(${of})`);
}
