// Names of keys, as Linux numbers them (input-event-codes.h): KEY_ESC is 1, and so on in the order of this list.

const NAMES = `
  ESC 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL BACKSPACE TAB Q W E R T Y U I O P LEFTBRACE RIGHTBRACE ENTER LEFTCTRL A S D F G H J K L SEMICOLON
  APOSTROPHE GRAVE LEFTSHIFT BACKSLASH Z X C V B N M COMMA DOT SLASH RIGHTSHIFT KPASTERISK LEFTALT SPACE CAPSLOCK F1 F2 F3 F4 F5 F6 F7 F8
  F9 F10 NUMLOCK SCROLLLOCK KP7 KP8 KP9 KPMINUS KP4 KP5 KP6 KPPLUS KP1 KP2 KP3 KP0 KPDOT
`
  .trim()
  .split(/\s+/);

const LATER: Readonly<Record<string, number>> = {
  ...{ '102ND': 86, F11: 87, F12: 88, KPENTER: 96, RIGHTCTRL: 97, KPSLASH: 98, SYSRQ: 99, RIGHTALT: 100, HOME: 102, UP: 103, PAGEUP: 104 },
  ...{ LEFT: 105, RIGHT: 106, END: 107, DOWN: 108, PAGEDOWN: 109, INSERT: 110, DELETE: 111, PAUSE: 119, LEFTMETA: 125, RIGHTMETA: 126 },
};

/** The number of KEY_A, A, or 30; null for what is none. */
export function keyCode(name: string): number | null {
  const bare = name.toUpperCase().replace(/^KEY_/, '');
  const at = NAMES.indexOf(bare);
  // A digit alone is the key of that digit; other numbers are taken as they are.
  if (at >= 0) return at + 1;
  const code = LATER[bare] ?? (/^\d+$/.test(bare) ? Number(bare) : Number.NaN);
  return code > 0 && code < 0x300 ? code : null;
}
