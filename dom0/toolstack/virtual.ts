// Virtual addresses as the toolstack counts them: signed numbers, because a canonical x86-64 address is then exact in a double
// (0xffffffff80000000 is -2147483648). Ordering must nevertheless be that of the hardware, unsigned.

export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12;

/** a < b as unsigned 64-bit numbers: the upper (negative) half lies above the lower. */
export const unsignedLess = (a: number, b: number): boolean => (a < 0 === b < 0 ? a < b : b < 0);

/** Low 48 bits: what four levels of page tables translate. */
export const low48 = (va: number): number => (va < 0 ? va + 2 ** 48 : va);

export const roundUp = (n: number, unit: number): number => Math.ceil(n / unit) * unit;
