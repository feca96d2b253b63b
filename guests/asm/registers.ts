// The registers, as typed values: the width is part of a register's type, so that `a.mov(eax, rbx)` does not compile.
//
// Beside the architectural widths there is 'word': the width of the code around it (16, 32 or 64 bits). It lets one source serve 32-
// and 64-bit kernels: `w.ax` is EAX in 32-bit code and RAX in 64-bit code.

export type Mode = 16 | 32 | 64;
export type Width = 8 | 16 | 32 | 64 | 'word';

/** A general register. N is its number where the type checker should know it (AL, CL, DX and their like). */
export interface Reg<W extends Width = Width, N extends number = number> {
  readonly kind: 'reg';
  readonly width: W;
  readonly nr: N;
  /** SPL, BPL, SIL, DIL: only there with a REX prefix. */
  readonly needsRex: boolean;
  /** AH, CH, DH, BH: only there without one. */
  readonly high: boolean;
}

export interface SegReg<N extends number = number> {
  readonly kind: 'seg';
  readonly nr: N;
}
export interface ControlReg {
  readonly kind: 'cr';
  readonly nr: number;
}
export interface DebugReg {
  readonly kind: 'dr';
  readonly nr: number;
}
export interface Xmm {
  readonly kind: 'xmm';
  readonly nr: number;
}
export interface StReg {
  readonly kind: 'st';
  readonly nr: number;
}

const gpr = <W extends Width, N extends number>(width: W, nr: N): Reg<W, N> => ({
  kind: 'reg',
  width,
  nr,
  needsRex: width === 8 && nr >= 4 && nr < 8,
  high: false,
});
const highByte = <N extends number>(nr: N): Reg<8, N> => ({ kind: 'reg', width: 8, nr, needsRex: false, high: true });
const seg = <N extends number>(nr: N): SegReg<N> => ({ kind: 'seg', nr });
const cr = (nr: number): ControlReg => ({ kind: 'cr', nr });
const dr = (nr: number): DebugReg => ({ kind: 'dr', nr });
const xmm = (nr: number): Xmm => ({ kind: 'xmm', nr });
const st = (nr: number): StReg => ({ kind: 'st', nr });

export const [al, cl, dl, bl] = [gpr(8, 0), gpr(8, 1), gpr(8, 2), gpr(8, 3)];
export const [ah, ch, dh, bh] = [highByte(4), highByte(5), highByte(6), highByte(7)];
export const [spl, bpl, sil, dil] = [gpr(8, 4), gpr(8, 5), gpr(8, 6), gpr(8, 7)];
export const [r8b, r9b, r10b, r11b] = [gpr(8, 8), gpr(8, 9), gpr(8, 10), gpr(8, 11)];
export const [r12b, r13b, r14b, r15b] = [gpr(8, 12), gpr(8, 13), gpr(8, 14), gpr(8, 15)];

export const [ax, cx, dx, bx, sp, bp, si, di] = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => gpr(16, n)) as unknown as Eight<16>;
export const [r8w, r9w, r10w, r11w] = [gpr(16, 8), gpr(16, 9), gpr(16, 10), gpr(16, 11)];
export const [r12w, r13w, r14w, r15w] = [gpr(16, 12), gpr(16, 13), gpr(16, 14), gpr(16, 15)];

export const [eax, ecx, edx, ebx, esp, ebp, esi, edi] = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => gpr(32, n)) as unknown as Eight<32>;
export const [r8d, r9d, r10d, r11d] = [gpr(32, 8), gpr(32, 9), gpr(32, 10), gpr(32, 11)];
export const [r12d, r13d, r14d, r15d] = [gpr(32, 12), gpr(32, 13), gpr(32, 14), gpr(32, 15)];

export const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi] = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => gpr(64, n)) as unknown as Eight<64>;
export const [r8, r9, r10, r11] = [gpr(64, 8), gpr(64, 9), gpr(64, 10), gpr(64, 11)];
export const [r12, r13, r14, r15] = [gpr(64, 12), gpr(64, 13), gpr(64, 14), gpr(64, 15)];

/** The eight registers that all modes have, at the width of the code they stand in. */
export const w = {
  ax: gpr('word', 0),
  cx: gpr('word', 1),
  dx: gpr('word', 2),
  bx: gpr('word', 3),
  sp: gpr('word', 4),
  bp: gpr('word', 5),
  si: gpr('word', 6),
  di: gpr('word', 7),
} as const;

export const [es, cs, ss, ds, fs, gs] = [seg(0), seg(1), seg(2), seg(3), seg(4), seg(5)];
export const [cr0, cr2, cr3, cr4, cr8] = [cr(0), cr(2), cr(3), cr(4), cr(8)];
export const [dr0, dr1, dr2, dr3, dr6, dr7] = [dr(0), dr(1), dr(2), dr(3), dr(6), dr(7)];
export const [xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7] = [xmm(0), xmm(1), xmm(2), xmm(3), xmm(4), xmm(5), xmm(6), xmm(7)];
export const [xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15] = [8, 9, 10, 11, 12, 13, 14, 15].map(xmm) as unknown as EightXmm;
export const [st0, st1, st2, st3, st4, st5, st6, st7] = [st(0), st(1), st(2), st(3), st(4), st(5), st(6), st(7)];

type Eight<W extends Width> = [Reg<W, 0>, Reg<W, 1>, Reg<W, 2>, Reg<W, 3>, Reg<W, 4>, Reg<W, 5>, Reg<W, 6>, Reg<W, 7>];
type EightXmm = [Xmm, Xmm, Xmm, Xmm, Xmm, Xmm, Xmm, Xmm];

/** A general register by number, for tests and tables. */
export const generalRegister = gpr;
export const highByteRegister = highByte;
export const controlRegister = cr;
export const debugRegister = dr;
export const xmmRegister = xmm;
