// Branches, calls, interrupts and the ways in and out of a kernel. A plain label is reached by a near branch with the mode's full
// displacement; short('label') asks for the two-byte form.

/** SDM Vol 1, appendix B: condition codes with all their names. */
const CONDITIONS = {
  o: 0,
  no: 1,
  b: 2,
  c: 2,
  nae: 2,
  ae: 3,
  nb: 3,
  nc: 3,
  e: 4,
  z: 4,
  ne: 5,
  nz: 5,
  be: 6,
  na: 6,
  a: 7,
  nbe: 7,
  s: 8,
  ns: 9,
  p: 10,
  pe: 10,
  np: 11,
  po: 11,
  l: 12,
  nge: 12,
  ge: 13,
  nl: 13,
  le: 14,
  ng: 14,
  g: 15,
  nle: 15,
} as const;
type Condition = keyof typeof CONDITIONS;

const digit = (n: number): string => n.toString(16).toUpperCase();
function each<P extends string, F>(prefix: P, forms: (hex: string) => F): Record<`${P}${Condition}`, F> {
  return Object.fromEntries(Object.entries(CONDITIONS).map(([name, n]) => [prefix + name, forms(digit(n))])) as Record<
    `${P}${Condition}`,
    F
  >;
}

export const FLOW = {
  ...each('j', (n) => ({ Jb: `7${n}`, J: `0F 8${n}` })),
  ...each('set', (n) => ({ Eb: `0F 9${n} /0` })),
  ...each('cmov', (n) => ({ 'Gv,Ev': `0F 4${n} /r` })),
  jmp: { Jb: 'EB', J: 'E9', Ef: 'FF /4' },
  call: { J: 'E8', Ef: 'FF /2' },
  ret: { '': 'C3', Iw: 'C2' },
  ljmp: { A: 'EA not64', M: 'FF /5' },
  lcall: { A: '9A not64', M: 'FF /3' },
  /** Through memory that holds a 64-bit offset. */
  ljmpq: { M: 'FF /5 o64' },
  lcallq: { M: 'FF /3 o64' },
  retf: { '': 'CB', Iw: 'CA' },
  retfq: { '': 'CB o64', Iw: 'CA o64' },
  loop: { Jb: 'E2' },
  loope: { Jb: 'E1' },
  loopne: { Jb: 'E0' },
  jcxz: { Jb: 'E3 not64 a16' },
  jecxz: { Jb: 'E3 a32' },
  jrcxz: { Jb: 'E3 only64' },
  int: { Ib: 'CD' },
  int3: { '': 'CC' },
  int1: { '': 'F1' },
  into: { '': 'CE not64' },
  bound: { 'Gv,M': '62 /r not64' },
  ud2: { '': '0F 0B' },
  iretw: { '': 'CF o16' },
  iretd: { '': 'CF o32' },
  iretq: { '': 'CF o64' },
  syscall: { '': '0F 05' },
  sysret: { '': '0F 07' },
  sysretq: { '': '0F 07 o64' },
  sysenter: { '': '0F 34' },
  sysexit: { '': '0F 35' },
  sysexitq: { '': '0F 35 o64' },
} as const;
