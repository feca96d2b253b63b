// The scheme of flags.ts on plain numbers, for TypeScript slow paths: two words to EFLAGS and back.

const parityEven = (byte: number): number => {
  let p = byte ^ (byte >> 4);
  p ^= p >> 2;
  p ^= p >> 1;
  return ~p & 1;
};

/** The six arithmetic flags in EFLAGS layout, from res (lo, hi) and aux. */
export function flagsToEflags(resLo: number, resHi: number, aux: number): number {
  const cf = aux >>> 31;
  const of = cf ^ ((aux >>> 30) & 1);
  const af = (aux >> 3) & 1;
  const zf = (resLo | resHi) === 0 ? 1 : 0;
  const sf = ((resHi >>> 31) ^ aux) & 1;
  const pf = parityEven((resLo ^ (aux >> 8)) & 0xff);
  return cf | (pf << 2) | (af << 4) | (zf << 6) | (sf << 7) | (of << 11);
}

/** [low word of res (the high one is 0), aux] for arithmetic flags given in EFLAGS layout. */
export function flagsFromEflags(f: number): [resLo: number, aux: number] {
  const zf = (f >>> 6) & 1;
  const cf = f & 1;
  const aux = (cf << 31) | ((cf ^ ((f >>> 11) & 1)) << 30) | (((f >>> 4) & 1) << 3) | ((((f >>> 2) & 1) ^ zf) << 8) | ((f >>> 7) & 1);
  return [zf ^ 1, aux];
}
