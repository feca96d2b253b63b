// Values of XenStore as the tools show and take them: what does not print is written as an escape (tools/xenstore/xs_lib.c,
// sanitise_value() and unsanitise_value()). All strings here are byte strings: one character per byte.

const SHORT: Readonly<Record<string, string>> = { '\t': 't', '\n': 'n', '\r': 'r', '\\': '\\' };
const LONG: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', '\\': '\\' };

/** The bytes of a text in UTF-8. */
export const bytesOf = (text: string): string => Array.from(new TextEncoder().encode(text), (b) => String.fromCharCode(b)).join('');

/** Octal below 010, hexadecimal above. */
export const sanitise = (value: string): string =>
  value.replace(/[^ -[\]-~]/g, (c) => {
    const code = c.charCodeAt(0);
    return `\\${SHORT[c] ?? (code < 8 ? code.toString(8).padStart(3, '0') : `x${code.toString(16).padStart(2, '0')}`)}`;
  });

/** A backslash before anything else stands for that. */
export const unsanitise = (text: string): string =>
  text.replace(/\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|([\s\S]?))/g, (_, hex: string | undefined, octal: string | undefined, other = '') => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8) & 0xff);
    // At the end of the text it stands for a NUL.
    return LONG[other] ?? (other === '' ? '\0' : other);
  });
