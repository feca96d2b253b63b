// The words of an xl.cfg file (tools/libs/util/libxlu_cfg_l.l): names, numbers, quoted strings, punctuation, ends of lines.

/** A malformed configuration. The message is `file:line: cause` and can be shown as it stands. */
export class XlcfgError extends Error {
  override readonly name = 'XlcfgError';

  constructor(file: string, line: number | null, reason: string) {
    super(line === null ? `${file}: ${reason}` : `${file}:${line}: ${reason}`);
  }
}

export type TokenKind = 'name' | 'number' | 'string' | '=' | '+=' | ',' | '[' | ']' | ';' | 'newline' | 'end';

export interface Token {
  readonly kind: TokenKind;
  readonly line: number;
  /** As written, for messages; `newline` and `end` have words instead. */
  readonly text: string;
  /** What a string says after its escapes; of a name or number, the text. */
  readonly value: string;
}

const NAME = /[a-z][_0-9a-z]*/y;
const NUMBER = /[0-9][0-9a-fx]*/y;
const STRING = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/y;
const BLANK = /[ \t\r]+/y;
const COMMENT = /#[^\n]*/y;
const JUNK = /[^ \t\r\n]+/y;

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

export function lexXlcfg(file: string, text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let line = 1;
  const match = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? null;
    if (found !== null) at += found.length;
    return found;
  };
  const push = (kind: TokenKind, written: string, value = written): void => {
    tokens.push({ kind, line, text: written, value });
  };
  while (at < text.length) {
    if (match(BLANK) !== null || match(COMMENT) !== null) continue;
    const c = text[at]!;
    if (c === '\n') {
      push('newline', 'end of line');
      at++;
      line++;
    } else if (c === ',' || c === '[' || c === ']' || c === '=' || c === ';') {
      push(c, c);
      at++;
    } else if (text.startsWith('+=', at)) {
      push('+=', '+=');
      at += 2;
    } else {
      const start = at;
      const name = match(NAME);
      const number = name === null ? match(NUMBER) : null;
      const string = name === null && number === null ? match(STRING) : null;
      if (name !== null) push('name', name);
      else if (number !== null) push('number', number);
      else if (string !== null) {
        push('string', string, resolveEscapes(file, line, string.slice(1, -1)));
      } else throw new XlcfgError(file, line, badWord(text, start));
    }
  }
  push('end', 'end of file');
  return tokens;
}

function badWord(text: string, at: number): string {
  const c = text[at]!;
  if (c === '"' || c === "'") return `near \`${text.slice(at).split('\n', 1)[0]}': the string has no closing ${c}`;
  JUNK.lastIndex = at;
  const word = JUNK.exec(text)?.[0] ?? c;
  if (/[A-Z_]/.test(c))
    return `near \`${word}': names are of lower case letters, digits and _ and begin with a letter; strings need quotes`;
  // xl says much the same: old xend configurations were Python programs.
  if ('+-.():'.includes(c)) return `near \`${word}': lexical error (strings need quotes; a configuration is no Python program)`;
  return `near \`${word}': lexical error (strings need quotes)`;
}

/** xlu__cfgl_dequote: C's escapes; numeric ones have one or two hexadecimal, or one to three octal digits. */
function resolveEscapes(file: string, line: number, body: string): string {
  return body.replace(/\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|([\s\S]))/g, (whole, hex?: string, octal?: string, letter?: string) => {
    const code = hex !== undefined ? Number.parseInt(hex, 16) : octal !== undefined ? Number.parseInt(octal, 8) : null;
    if (code !== null) {
      if (code === 0 || code > 255) throw new XlcfgError(file, line, `near \`${whole}': a character must have a number from 1 to 255`);
      return String.fromCharCode(code);
    }
    if (letter === '"' || letter === "'" || letter === '\\') return letter;
    const replacement = letter === undefined ? undefined : ESCAPES[letter];
    if (replacement === undefined) throw new XlcfgError(file, line, `near \`${whole}': not an escape`);
    return replacement;
  });
}
