// SSE3, but for the arithmetic of its float instructions, which is that of sse-float.ts; MONITOR and MWAIT are in system.ts, FISTTP in
// x87.ts.

import { insn } from './insn.ts';
import { needSse, packed, wholeMove } from './sse-common.ts';

export const LDDQU = wholeMove('LDDQU', 'F2 0F F0 /r Vx,Mx', false, 'sse3');

const EVEN = [0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11];
export const MOVSLDUP = packed('MOVSLDUP', 'F3 0F 12 /r Vx,Wx', (b, _d, s) => b.x.shuffle(s, s, EVEN), 'sse3');
export const MOVSHDUP = packed(
  'MOVSHDUP',
  'F3 0F 16 /r Vx,Wx',
  (b, _d, s) =>
    b.x.shuffle(
      s,
      s,
      EVEN.map((i) => i + 4),
    ),
  'sse3',
);
export const MOVDDUP = insn('MOVDDUP', {
  sdm: 'Vol 2B, MOVDDUP',
  forms: 'F2 0F 12 /r Vx,Wq',
  cpuid: 'sse3',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    const v = b.read(src);
    b.x.write(dst, b.x.make(v, v), false);
  },
});
