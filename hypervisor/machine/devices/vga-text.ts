// The text on a VGA screen as a string, for tests, logs and terminals.

import { displayMode, rowAddresses, startAddress, type VgaState } from './vga-state.ts';

/** Code page 437, the character set of the VGA's ROM font, from 0x00 and from 0x7F on. */
const LOW = ' ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼';
const HIGH =
  '⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ';
export const cp437 = (code: number): string =>
  (code < 0x20 ? LOW[code] : code < 0x7f ? String.fromCharCode(code) : HIGH[code - 0x7f]) ?? ' ';

/** The lines of a text mode, without blanks at their ends; undefined in a graphics mode. */
export function screenText(s: VgaState, video: Uint8Array): string[] | undefined {
  const mode = displayMode(s);
  if (mode.kind !== 'text') return undefined;
  return Array.from({ length: mode.rows }, (_, row) => {
    let line = '';
    for (let column = 0; column < mode.columns; column++)
      line += cp437(video[((startAddress(s) + row * rowAddresses(s) + column) & 0xffff) * 4]!);
    return line.trimEnd();
  });
}
