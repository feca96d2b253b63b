// The list of all instruction families. A family is a file whose exports are instruction records, or lists of them.

import * as aes from './aes.ts';
import * as alu from './alu.ts';
import * as bits from './bits.ts';
import * as bmi from './bmi.ts';
import * as decimal from './decimal.ts';
import * as flow from './flow.ts';
import type { AnyInsn } from './insn.ts';
import * as mmx from './mmx.ts';
import * as mov from './mov.ts';
import * as muldiv from './muldiv.ts';
import * as pclmul from './pclmul.ts';
import * as sha from './sha.ts';
import * as shift from './shift.ts';
import * as sseFloat from './sse-float.ts';
import * as sseInteger from './sse-integer.ts';
import * as sseMove from './sse-move.ts';
import * as sse3 from './sse3.ts';
import * as sse3Float from './sse3-float.ts';
import * as sse41Float from './sse41-float.ts';
import * as sse41Integer from './sse41-integer.ts';
import * as sse41Select from './sse41-select.ts';
import * as sse42 from './sse42.ts';
import * as sse42String from './sse42-string.ts';
import * as ssse3 from './ssse3.ts';
import * as stack from './stack.ts';
import * as string from './string.ts';
import * as svm from './svm.ts';
import * as system from './system.ts';
import * as vmx from './vmx.ts';
import * as x87 from './x87.ts';

const isInsn = (v: unknown): v is AnyInsn => typeof v === 'object' && v !== null && 'mnemonic' in v && 'forms' in v;
const membersOf = (exported: object): AnyInsn[] => [...new Set(Object.values(exported).flat(1).filter(isInsn))];

export const FAMILIES = {
  alu: membersOf(alu),
  mov: membersOf(mov),
  muldiv: membersOf(muldiv),
  shift: membersOf(shift),
  bits: [...membersOf(bits), ...membersOf(bmi)],
  decimal: membersOf(decimal),
  flow: membersOf(flow),
  stack: membersOf(stack),
  string: membersOf(string),
  sseMove: membersOf(sseMove),
  sseInteger: membersOf(sseInteger),
  sseFloat: membersOf(sseFloat),
  mmx: membersOf(mmx),
  sse3: [...membersOf(sse3), ...membersOf(sse3Float)],
  ssse3: membersOf(ssse3),
  sse41: [...membersOf(sse41Integer), ...membersOf(sse41Select), ...membersOf(sse41Float)],
  sse42: [...membersOf(sse42), ...membersOf(sse42String)],
  aes: [...membersOf(aes), ...membersOf(pclmul)],
  sha: membersOf(sha),
  system: membersOf(system),
  x87: membersOf(x87),
  vmx: membersOf(vmx),
  svm: membersOf(svm),
} as const satisfies Readonly<Record<string, readonly AnyInsn[]>>;

export const INSTRUCTIONS: readonly AnyInsn[] = Object.values(FAMILIES).flat(1);
