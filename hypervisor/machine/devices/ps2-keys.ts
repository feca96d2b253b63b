// The keys of a 102-key keyboard: names (those of QEMU's sendkey), and the codes of scan code sets 1, 2 and 3.
//
// A code above 0xff has the prefix 0xe0. Source: IBM PS/2 Technical Reference, Keyboards (scan code sets), and the translation table in
// the 8042's own ROM, by which sets 1 and 2 must agree (ps2.spec.ts checks that they do).

export interface KeyCodes {
  readonly set1: number;
  readonly set2: number;
  readonly set3: number;
}

/** name, set 1, set 2, set 3 */
const ROWS = `
esc 01 76 08|f1 3b 05 07|f2 3c 06 0f|f3 3d 04 17|f4 3e 0c 1f|f5 3f 03 27|f6 40 0b 2f|f7 41 83 37|f8 42 0a 3f|f9 43 01 47|f10 44 09 4f
f11 57 78 56|f12 58 07 5e|scroll_lock 46 7e 5f
grave_accent 29 0e 0e|1 02 16 16|2 03 1e 1e|3 04 26 26|4 05 25 25|5 06 2e 2e|6 07 36 36|7 08 3d 3d|8 09 3e 3e|9 0a 46 46|0 0b 45 45
minus 0c 4e 4e|equal 0d 55 55|backspace 0e 66 66
tab 0f 0d 0d|q 10 15 15|w 11 1d 1d|e 12 24 24|r 13 2d 2d|t 14 2c 2c|y 15 35 35|u 16 3c 3c|i 17 43 43|o 18 44 44|p 19 4d 4d
bracket_left 1a 54 54|bracket_right 1b 5b 5b|backslash 2b 5d 5c
caps_lock 3a 58 14|a 1e 1c 1c|s 1f 1b 1b|d 20 23 23|f 21 2b 2b|g 22 34 34|h 23 33 33|j 24 3b 3b|k 25 42 42|l 26 4b 4b
semicolon 27 4c 4c|apostrophe 28 52 52|ret 1c 5a 5a
shift 2a 12 12|less 56 61 13|z 2c 1a 1a|x 2d 22 22|c 2e 21 21|v 2f 2a 2a|b 30 32 32|n 31 31 31|m 32 3a 3a|comma 33 41 41|dot 34 49 49
slash 35 4a 4a|shift_r 36 59 59
ctrl 1d 14 11|meta_l e05b e01f 8b|alt 38 11 19|spc 39 29 29|alt_r e038 e011 39|meta_r e05c e027 8c|menu e05d e02f 8d|ctrl_r e01d e014 58
insert e052 e070 67|home e047 e06c 6e|pgup e049 e07d 6f|delete e053 e071 64|end e04f e069 65|pgdn e051 e07a 6d
up e048 e075 63|left e04b e06b 61|down e050 e072 60|right e04d e074 6a
num_lock 45 77 76|kp_divide e035 e04a 77|kp_multiply 37 7c 7e|kp_subtract 4a 7b 84|kp_add 4e 79 7c|kp_enter e01c e05a 79|kp_decimal 53 71 71
kp_0 52 70 70|kp_1 4f 69 69|kp_2 50 72 72|kp_3 51 7a 7a|kp_4 4b 6b 6b|kp_5 4c 73 73|kp_6 4d 74 74|kp_7 47 6c 6c|kp_8 48 75 75|kp_9 49 7d 7d`;

export const KEYS: ReadonlyMap<string, KeyCodes> = new Map(
  ROWS.trim()
    .split(/[|\n]/)
    .map((row) => {
      const [name, ...codes] = row.split(' ');
      const [set1, set2, set3] = codes.map((c) => Number.parseInt(c, 16));
      return [name!, { set1: set1!, set2: set2!, set3: set3! }];
    }),
);

/** Print Screen and Pause have sequences of their own in sets 1 and 2; Pause makes and breaks at once. */
const PRINT = {
  1: { make: [0xe0, 0x2a, 0xe0, 0x37], break: [0xe0, 0xb7, 0xe0, 0xaa] },
  2: { make: [0xe0, 0x12, 0xe0, 0x7c], break: [0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12] },
  3: { make: [0x57], break: [0xf0, 0x57] },
} as const;
const PAUSE = {
  1: { make: [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], break: [] },
  2: { make: [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77], break: [] },
  3: { make: [0x62], break: [0xf0, 0x62] },
} as const;

export type ScanSet = 1 | 2 | 3;

/** The bytes that a key sends, or undefined for a name that is no key's. */
export function keyBytes(name: string, down: boolean, set: ScanSet): readonly number[] | undefined {
  if (name === 'print') return PRINT[set][down ? 'make' : 'break'];
  if (name === 'pause') return PAUSE[set][down ? 'make' : 'break'];
  const key = KEYS.get(name);
  if (!key) return undefined;
  const code = set === 1 ? key.set1 : set === 2 ? key.set2 : key.set3;
  const prefix = code > 0xff ? [0xe0] : [];
  if (set === 1) return [...prefix, (code & 0xff) | (down ? 0 : 0x80)];
  return [...prefix, ...(down ? [] : [0xf0]), code & 0xff];
}

/** What the 8042 makes of a byte of set 2 while it translates; 0xf0 is not in here, it sets bit 7 of the next. */
const TRANSLATION = `
ff 43 41 3f 3d 3b 3c 58 64 44 42 40 3e 0f 29 59 65 38 2a 70 1d 10 02 5a 66 71 2c 1f 1e 11 03 5b
67 2e 2d 20 12 05 04 5c 68 39 2f 21 14 13 06 5d 69 31 30 23 22 15 07 5e 6a 72 32 24 16 08 09 5f
6b 33 25 17 18 0b 0a 60 6c 34 35 26 27 19 0c 61 6d 73 28 74 1a 0d 62 6e 3a 36 1c 1b 75 2b 63 76
55 56 77 78 79 7a 0e 7b 7c 4f 7d 4b 47 7e 7f 6f 52 53 50 4c 4d 48 01 45 57 4e 51 4a 37 49 46 54
80 81 82 41 54`;
const translation = TRANSLATION.trim()
  .split(/\s+/)
  .map((b) => Number.parseInt(b, 16));
export const translateToSet1 = (byte: number): number => translation[byte] ?? byte;

const PLAIN: Record<string, string> = {
  '\n': 'ret',
  '\r': 'ret',
  '\t': 'tab',
  '\b': 'backspace',
  '\x1b': 'esc',
  ' ': 'spc',
  '-': 'minus',
  '=': 'equal',
  '[': 'bracket_left',
  ']': 'bracket_right',
  '\\': 'backslash',
  ';': 'semicolon',
  "'": 'apostrophe',
  '`': 'grave_accent',
  ',': 'comma',
  '.': 'dot',
  '/': 'slash',
};
const SHIFTED = new Map([...'~!@#$%^&*()_+{}|:"<>?'].map((c, i) => [c, [..."`1234567890-=[]\\;',./"][i]!]));

/** The keys that type a character on a US keyboard, in the order of pressing; undefined if it has none. */
export function keysOfCharacter(c: string): readonly string[] | undefined {
  if (/^[a-z0-9]$/.test(c)) return [c];
  if (/^[A-Z]$/.test(c)) return ['shift', c.toLowerCase()];
  const base = SHIFTED.get(c);
  if (base !== undefined) return ['shift', PLAIN[base] ?? base];
  const name = PLAIN[c];
  return name === undefined ? undefined : [name];
}
