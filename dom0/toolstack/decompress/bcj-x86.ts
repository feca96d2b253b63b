// The x86 branch filter of .xz (filter 0x04): before compression the operands of CALL and JMP rel32 (e8, e9) were turned from
// relative into absolute, so that repeated calls look alike. This turns them back, in place. Kernel images use it.
//
// Which byte sequences the encoder treated as a branch is defined only by its code (liblzma simple/x86.c, 7-Zip Bra86.c); the
// rule in words: an operand counts when its top byte is 00 or ff, unless an opcode byte lies so shortly before that the two
// would overlap in a byte that is itself 00 or ff. `recent` remembers those opcodes, one bit for each of the last three bytes.

const isSign = (byte: number): boolean => byte === 0x00 || byte === 0xff;

/** Histories of the last three bytes after which an operand may still be converted: at most one overlapping opcode. */
const MAY_CONVERT = [true, true, true, false, true, false, false, false];
/** How many operand bytes the newest overlap shifts the test by. */
const OVERLAP = [0, 1, 2, 2, 3, 3, 3, 3];

export function bcjX86Decode(bytes: Uint8Array, startOffset: number): void {
  const last = bytes.length - 5;
  let previous = -1;
  let recent = 0;
  for (let i = 0; i <= last; i++) {
    if ((bytes[i]! & 0xfe) !== 0xe8) continue;
    const distance = i - previous;
    previous = i;
    if (distance > 3) recent = 0;
    else {
      recent = (recent << (distance - 1)) & 7;
      if (recent !== 0 && (!MAY_CONVERT[recent] || isSign(bytes[i + 4 - OVERLAP[recent]!]!))) {
        recent = ((recent << 1) | 1) & 7;
        continue;
      }
    }
    if (!isSign(bytes[i + 4]!)) {
      recent = ((recent << 1) | 1) & 7;
      continue;
    }
    let operand = bytes[i + 1]! | (bytes[i + 2]! << 8) | (bytes[i + 3]! << 16) | (bytes[i + 4]! << 24);
    const next = startOffset + i + 5;
    for (;;) {
      const relative = (operand - next) | 0;
      if (recent === 0) {
        operand = relative;
        break;
      }
      const shift = 32 - OVERLAP[recent]! * 8;
      if (!isSign((relative >>> (shift - 8)) & 0xff)) {
        operand = relative;
        break;
      }
      operand = relative ^ ((1 << shift) - 1);
    }
    bytes[i + 1] = operand;
    bytes[i + 2] = operand >>> 8;
    bytes[i + 3] = operand >>> 16;
    // Only 25 bits are kept: the top byte is the sign of bit 24.
    bytes[i + 4] = (operand & 0x1000000) !== 0 ? 0xff : 0x00;
    i += 4;
  }
}
