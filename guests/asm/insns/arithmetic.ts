// Arithmetic, logic, shifts, bits, multiplication and division (SDM Vol 2; opcode numbers from Vol 2D, appendix A).

/** ADD and its seven siblings: `block` is the first opcode of eight, `digit` their place in the immediate group. */
const alu = <D extends string, B extends string>(block: B, digit: D) =>
  ({
    'Eb,Gb': `${block}0 /r`,
    'Ev,Gv': `${block}1 /r`,
    'Gb,Eb': `${block}2 /r`,
    'Gv,Ev': `${block}3 /r`,
    'Ev,sIb': `83 /${digit}`,
    'AL,Ib': `${block}4`,
    'rAX,Iz': `${block}5`,
    'Eb,Ib': `80 /${digit}`,
    'Ev,Iz': `81 /${digit}`,
  }) as const;

/** The upper half of an opcode row: 08 to 0D instead of 00 to 05. */
const aluHigh = <D extends string, R extends string>(row: R, digit: D) =>
  ({
    'Eb,Gb': `${row}8 /r`,
    'Ev,Gv': `${row}9 /r`,
    'Gb,Eb': `${row}A /r`,
    'Gv,Ev': `${row}B /r`,
    'Ev,sIb': `83 /${digit}`,
    'AL,Ib': `${row}C`,
    'rAX,Iz': `${row}D`,
    'Eb,Ib': `80 /${digit}`,
    'Ev,Iz': `81 /${digit}`,
  }) as const;

const shift = <D extends string>(digit: D) =>
  ({
    'Eb,One': `D0 /${digit}`,
    'Ev,One': `D1 /${digit}`,
    'Eb,CL': `D2 /${digit}`,
    'Ev,CL': `D3 /${digit}`,
    'Eb,Ib': `C0 /${digit}`,
    'Ev,Ib': `C1 /${digit}`,
  }) as const;

const bitTest = <O extends string, D extends string>(opcode: O, digit: D) =>
  ({ 'Ev,Gv': `0F ${opcode} /r`, 'Ev,Ib': `0F BA /${digit}` }) as const;

const one = <D extends string>(digit: D) => ({ Eb: `F6 /${digit}`, Ev: `F7 /${digit}` }) as const;

export const ARITHMETIC = {
  add: alu('0', '0'),
  or: aluHigh('0', '1'),
  adc: alu('1', '2'),
  sbb: aluHigh('1', '3'),
  and: alu('2', '4'),
  sub: aluHigh('2', '5'),
  xor: alu('3', '6'),
  cmp: aluHigh('3', '7'),
  test: { 'Eb,Gb': '84 /r', 'Ev,Gv': '85 /r', 'AL,Ib': 'A8', 'rAX,Iz': 'A9', 'Eb,Ib': 'F6 /0', 'Ev,Iz': 'F7 /0' },
  inc: { Zv: '40+r not64', Eb: 'FE /0', Ev: 'FF /0' },
  dec: { Zv: '48+r not64', Eb: 'FE /1', Ev: 'FF /1' },
  not: one('2'),
  neg: one('3'),
  mul: one('4'),
  imul: { ...one('5'), 'Gv,Ev': '0F AF /r', 'Gv,Ev,sIb': '6B /r', 'Gv,Ev,Iz': '69 /r' },
  div: one('6'),
  idiv: one('7'),

  rol: shift('0'),
  ror: shift('1'),
  rcl: shift('2'),
  rcr: shift('3'),
  shl: shift('4'),
  shr: shift('5'),
  sar: shift('7'),
  shld: { 'Ev,Gv,Ib': '0F A4 /r', 'Ev,Gv,CL': '0F A5 /r' },
  shrd: { 'Ev,Gv,Ib': '0F AC /r', 'Ev,Gv,CL': '0F AD /r' },

  bt: bitTest('A3', '4'),
  bts: bitTest('AB', '5'),
  btr: bitTest('B3', '6'),
  btc: bitTest('BB', '7'),
  bsf: { 'Gv,Ev': '0F BC /r' },
  bsr: { 'Gv,Ev': '0F BD /r' },
  popcnt: { 'Gv,Ev': 'F3 0F B8 /r' },
  tzcnt: { 'Gv,Ev': 'F3 0F BC /r' },
  lzcnt: { 'Gv,Ev': 'F3 0F BD /r' },

  xadd: { 'Eb,Gb': '0F C0 /r', 'Ev,Gv': '0F C1 /r' },
  cmpxchg: { 'Eb,Gb': '0F B0 /r', 'Ev,Gv': '0F B1 /r' },
  cmpxchg8b: { Mq: '0F C7 /1' },
  cmpxchg16b: { Mo: '0F C7 /1 o64' },

  cbw: { '': '98 o16' },
  cwde: { '': '98 o32' },
  cdqe: { '': '98 o64' },
  cwd: { '': '99 o16' },
  cdq: { '': '99 o32' },
  cqo: { '': '99 o64' },
  daa: { '': '27 not64' },
  das: { '': '2F not64' },
  aaa: { '': '37 not64' },
  aas: { '': '3F not64' },
  aam: { Ib: 'D4 not64' },
  aad: { Ib: 'D5 not64' },
  clc: { '': 'F8' },
  stc: { '': 'F9' },
  cmc: { '': 'F5' },
} as const;
