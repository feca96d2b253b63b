// The components of XSAVE-managed state that the machine has, and where they lie in the area (SDM Vol 1, 13.1 and 13.4).

export const XCR0_X87 = 1;
export const XCR0_SSE = 2;
/** Reserved for AVX: component 2 at byte 576, 256 bytes. */
export const XCR0_AVX = 4;
export const XCR0_PKRU = 1 << 9;

/** Legacy region and header. */
export const XSAVE_LEGACY = 576;
/** Where Intel's processors have PKRU in the standard format; enumerated by CPUID leaf D, sub-leaf 9. */
export const XSAVE_PKRU_AT = 0xa80;
export const XSAVE_PKRU_SIZE = 8;

/** What XCR0 may hold on a processor with these features. */
export const xcr0Of = (features: ReadonlySet<string>): number => XCR0_X87 | XCR0_SSE | (features.has('pku') ? XCR0_PKRU : 0);

/** Bytes of an area in standard format. */
export const xsaveSizeOf = (xcr0: number): number => (xcr0 & XCR0_PKRU ? XSAVE_PKRU_AT + XSAVE_PKRU_SIZE : XSAVE_LEGACY);
