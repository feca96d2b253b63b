// Moves, exchanges, the stack, strings and port I/O.

const pair = <A extends string, B extends string>(byte: A, wide: B) => ({ byte, wide });
const string = <N extends string>(name: N, opcode: { byte: string; wide: string }) =>
  ({
    [`${name}b`]: { '': opcode.byte },
    [`${name}w`]: { '': `${opcode.wide} o16` },
    [`${name}d`]: { '': `${opcode.wide} o32` },
  }) as Record<`${N}${'b' | 'w' | 'd'}`, { readonly '': string }>;
const stringq = <N extends string>(name: N, wide: string) =>
  ({ [`${name}q`]: { '': `${wide} o64` } }) as Record<`${N}q`, { readonly '': string }>;

export const DATA = {
  mov: {
    'Eb,Gb': '88 /r',
    'Ev,Gv': '89 /r',
    'Gb,Eb': '8A /r',
    'Gv,Ev': '8B /r',
    'Zb,Ib': 'B0+r',
    'Zw,Iz': 'B8+r o16',
    'Zd,Iz': 'B8+r o32',
    'Eb,Ib': 'C6 /0',
    // Seven bytes for a 64-bit register where the number allows it; the address of a label may be anywhere, so it gets all 64 bits.
    'Ev,NIz': 'C7 /0',
    'Zv,Iv': 'B8+r',
    'Ev,Iz': 'C7 /0',
    'Rv,Sw': '8C /r',
    'Mw,Sw': '8C /r',
    'Sw,Rv': '8E /r',
    'Sw,Mw': '8E /r',
    'Rn,C': '0F 20 /r',
    'C,Rn': '0F 22 /r',
    'Rn,D': '0F 21 /r',
    'D,Rn': '0F 23 /r',
  },
  movzx: { 'Gv,Eb': '0F B6 /r', 'Gv,Ew': '0F B7 /r' },
  movsx: { 'Gv,Eb': '0F BE /r', 'Gv,Ew': '0F BF /r' },
  movsxd: { 'Gq,Ed': '63 /r o64' },
  movbe: { 'Gv,Mv': '0F 38 F0 /r', 'Mv,Gv': '0F 38 F1 /r' },
  movnti: { 'My,Gy': '0F C3 /r' },
  lea: { 'Gv,M': '8D /r' },
  les: { 'Gv,M': 'C4 /r not64' },
  lds: { 'Gv,M': 'C5 /r not64' },
  lss: { 'Gv,M': '0F B2 /r' },
  lfs: { 'Gv,M': '0F B4 /r' },
  lgs: { 'Gv,M': '0F B5 /r' },
  xchg: { 'Eb,Gb': '86 /r', 'Ev,Gv': '87 /r' },
  bswap: { Zv: '0F C8+r no16' },
  xlatb: { '': 'D7' },

  push: {
    Zs: '50+r',
    sIb: '6A',
    Iz: '68',
    Es: 'FF /6',
    ES: '06 not64',
    CS: '0E not64',
    SS: '16 not64',
    DS: '1E not64',
    FS: '0F A0',
    GS: '0F A8',
  },
  pop: { Zs: '58+r', Es: '8F /0', ES: '07 not64', SS: '17 not64', DS: '1F not64', FS: '0F A1', GS: '0F A9' },
  /** At the mode's own width, as the four after them. */
  pushf: { '': '9C' },
  popf: { '': '9D' },
  pusha: { '': '60 not64' },
  popa: { '': '61 not64' },
  enter: { 'Iw,Ib': 'C8' },
  leave: { '': 'C9' },
  lahf: { '': '9F' },
  sahf: { '': '9E' },

  ...string('movs', pair('A4', 'A5')),
  ...stringq('movs', 'A5'),
  ...string('cmps', pair('A6', 'A7')),
  ...stringq('cmps', 'A7'),
  ...string('stos', pair('AA', 'AB')),
  ...stringq('stos', 'AB'),
  ...string('lods', pair('AC', 'AD')),
  ...stringq('lods', 'AD'),
  ...string('scas', pair('AE', 'AF')),
  ...stringq('scas', 'AF'),
  ...string('ins', pair('6C', '6D')),
  ...string('outs', pair('6E', '6F')),
  cld: { '': 'FC' },
  std: { '': 'FD' },

  in: { 'AL,Ib': 'E4', 'AX,Ib': 'E5 o16', 'eAX,Ib': 'E5 o32', 'AL,DX': 'EC', 'AX,DX': 'ED o16', 'eAX,DX': 'ED o32' },
  out: { 'Ib,AL': 'E6', 'Ib,AX': 'E7 o16', 'Ib,eAX': 'E7 o32', 'DX,AL': 'EE', 'DX,AX': 'EF o16', 'DX,eAX': 'EF o32' },
} as const;
