// Decoding of an instruction that runs from one page into the next, whose frames need not follow each other.

import type { CodeMode, Decoded, DecodeError } from '../isa/decoded.ts';
import { decode } from './decode.ts';

const PAGE = 4096;
/** As much as an instruction can have in either page. */
const MOST = 16;
const seam = new Uint8Array(2 * MOST);

/** The instruction at `first` in `bytes`, fewer than 16 bytes before the end of its page; `second` is where the page after it begins. */
export function decodeAcross(bytes: Uint8Array, first: number, second: number, mode: CodeMode): Decoded | DecodeError {
  const room = PAGE - (first & (PAGE - 1));
  seam.set(bytes.subarray(first, first + room));
  seam.set(bytes.subarray(second, second + MOST), room);
  return decode(seam, 0, room + MOST, mode);
}
