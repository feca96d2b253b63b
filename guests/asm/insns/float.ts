// SSE arithmetic on packed integers and floating point, and the x87 instructions that compute (SDM Vol 2; opcodes from Vol 2D, A.3 and
// appendix B.17). Of x87's register forms those that work on ST(1): stack code needs no others.

/** An operation of the four float families: packed and scalar, single and double. */
const floats = <N extends string, O extends string>(name: N, opcode: O) =>
  ({
    [`${name}ps`]: { 'V,W': `0F ${opcode} /r` },
    [`${name}pd`]: { 'V,W': `66 0F ${opcode} /r` },
    [`${name}ss`]: { 'V,W': `F3 0F ${opcode} /r` },
    [`${name}sd`]: { 'V,W': `F2 0F ${opcode} /r` },
  }) as Record<`${N}${'ps' | 'pd' | 'ss' | 'sd'}`, { readonly 'V,W': string }>;
const packed = <O extends string>(opcode: O) => ({ 'V,W': `66 0F ${opcode} /r` }) as const;

export const FLOAT = {
  ...floats('add', '58'),
  ...floats('mul', '59'),
  ...floats('sub', '5C'),
  ...floats('min', '5D'),
  ...floats('div', '5E'),
  ...floats('max', '5F'),
  ...floats('sqrt', '51'),
  cvtsi2sd: { 'V,Ey': 'F2 0F 2A /r' },
  cvtdq2ps: { 'V,W': '0F 5B /r' },
  comisd: packed('2F'),
  unpcklps: { 'V,W': '0F 14 /r' },
  shufps: { 'V,W,Ib': '0F C6 /r' },

  paddb: packed('FC'),
  paddw: packed('FD'),
  paddq: packed('D4'),
  psubd: packed('FA'),
  pand: packed('DB'),
  pandn: packed('DF'),
  por: packed('EB'),
  pmullw: packed('D5'),
  pmuludq: packed('F4'),
  pmaddwd: packed('F5'),
  pcmpgtd: packed('66'),
  pcmpeqb: packed('74'),
  pminub: packed('DA'),
  punpcklbw: packed('60'),
  punpckldq: packed('62'),
  pshufd: { 'V,W,Ib': '66 0F 70 /r' },

  fld: { Md: 'D9 /0', Mq: 'DD /0', Mt: 'DB /5' },
  fst: { Md: 'D9 /2', Mq: 'DD /2' },
  fstp: { Md: 'D9 /3', Mq: 'DD /3', Mt: 'DB /7' },
  fild: { Mw: 'DF /0', Md: 'DB /0', Mq: 'DF /5' },
  fistp: { Mw: 'DF /3', Md: 'DB /3', Mq: 'DF /7' },
  fadd: { Md: 'D8 /0', Mq: 'DC /0' },
  fmul: { Md: 'D8 /1', Mq: 'DC /1' },
  fsub: { Md: 'D8 /4', Mq: 'DC /4' },
  fdiv: { Md: 'D8 /6', Mq: 'DC /6' },
  faddp: { '': 'DE C1' },
  fmulp: { '': 'DE C9' },
  fsubp: { '': 'DE E9' },
  fdivp: { '': 'DE F9' },
  fxch: { '': 'D9 C9' },
  fchs: { '': 'D9 E0' },
  fabs: { '': 'D9 E1' },
  fsqrt: { '': 'D9 FA' },
} as const;
