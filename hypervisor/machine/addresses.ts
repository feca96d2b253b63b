// Address types in Xen's words, and every conversion between them. An address is never a bare number.
//
// A linear address is kept as a *signed* JavaScript number: canonical x86-64 addresses run from -2^47 to 2^47-1, which a double holds
// exactly, so no BigInt is needed on hot paths. A 64-bit value that is not canonical falls outside that range however it is rounded.

type Brand<T, B extends string> = T & { readonly __brand: B };

/** Machine (host physical) address in bytes; below 4 GiB here, since machine memory is one wasm memory. */
export type Maddr = Brand<number, 'maddr'>;
/** Machine frame number: Maddr >> 12. */
export type Mfn = Brand<number, 'mfn'>;
/** Linear address: signed, canonical when -2^47 <= lin < 2^47. */
export type Lin = Brand<number, 'lin'>;

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;

export const maddrToMfn = (a: Maddr): Mfn => (a >>> PAGE_SHIFT) as Mfn;
export const mfnToMaddr = (f: Mfn): Maddr => (f * PAGE_SIZE) as Maddr;
/** The linear address whose 64-bit pattern is hi:lo. */
export const linFromHalves = (lo: number, hi: number): Lin => ((hi | 0) * 0x1_0000_0000 + (lo >>> 0)) as Lin;
/** Low and high 32 bits of a linear address. (`%` on doubles is a call of fmod: this costs a tenth of it.) */
export const linHi = (a: number): number => Math.floor(a * (1 / 0x1_0000_0000)) | 0;
export const linLo = (a: number): number => (a - Math.floor(a * (1 / 0x1_0000_0000)) * 0x1_0000_0000) | 0;
export const isCanonical = (a: Lin): boolean => a >= -0x8000_0000_0000 && a < 0x8000_0000_0000;
