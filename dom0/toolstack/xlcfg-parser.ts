// The grammar of xl.cfg files (tools/libs/util/libxlu_cfg_y.y): settings `name = value` and `name += value`, ended by a line's end
// or `;`. A value is an atom or a list of values, in which lines may end anywhere. The last setting of a name wins.
import { lexXlcfg, type Token, type TokenKind, XlcfgError } from './xlcfg-lexer.ts';

/** Numbers stay text: which settings are numbers is known only where they are used, and xl takes quoted ones too. */
export type XlcfgValue = string | readonly XlcfgValue[];

export interface XlcfgSetting {
  readonly name: string;
  readonly value: XlcfgValue;
  readonly file: string;
  /** Null for an argument of the command line. */
  readonly line: number | null;
}

export type XlcfgSettings = Map<string, XlcfgSetting>;

/** Parses one file and adds its settings to `into`. Throws XlcfgError. */
export function parseXlcfg(file: string, text: string, into: XlcfgSettings = new Map()): XlcfgSettings {
  const parser = new Parser(file, lexXlcfg(file, text));
  parser.statements(into);
  return into;
}

/**
 * An override of the command line, `key=value`: the same grammar, as xl has it. Beyond xl, text that does not begin like a value is
 * taken as a string, since shells remove the quotes that one writes.
 */
export function parseOverride(argument: string, into: XlcfgSettings): void {
  const file = `argument '${argument}'`;
  const [, name, op, rest] = /^\s*([a-z][_0-9a-z]*)\s*(\+?=)\s*([\s\S]*)$/.exec(argument) ?? [];
  if (name === undefined || op === undefined || rest === undefined)
    throw new XlcfgError(file, null, 'settings on the command line have the form key=value');
  if (/^['"0-9[]/.test(rest)) {
    const parser = new Parser(file, lexXlcfg(file, argument), false);
    parser.statements(into);
  } else store(into, { name, value: rest, file, line: null }, op);
}

class Parser {
  private readonly file: string;
  private readonly tokens: readonly Token[];
  private readonly withLines: boolean;
  private at = 0;

  constructor(file: string, tokens: readonly Token[], withLines = true) {
    this.file = file;
    this.tokens = tokens;
    this.withLines = withLines;
  }

  statements(into: XlcfgSettings): void {
    while (!this.accept('end')) {
      if (this.accept('newline') || this.accept(';')) continue;
      this.assignment(into);
      if (!this.accept('newline') && !this.accept(';') && this.peek.kind !== 'end') this.fail("a line's end or `;'");
    }
  }

  private assignment(into: XlcfgSettings): void {
    const { value: name, line } = this.expect('name', 'the name of a setting');
    const op = this.accept('+=') ? '+=' : this.expect('=', "`=' or `+='").kind;
    const value = this.value();
    const setting = { name, value, file: this.file, line: this.withLines ? line : null };
    if (store(into, setting, op)) return;
    throw new XlcfgError(this.file, setting.line, `${name}: cannot add a list to a string, or a string to a list`);
  }

  private value(): XlcfgValue {
    const { kind, value } = this.peek;
    if (kind === 'string' || kind === 'number') {
      this.at++;
      return value;
    }
    if (!this.accept('[')) this.fail("a string in quotes, a number or `['");
    const list: XlcfgValue[] = [];
    for (;;) {
      this.skipLines();
      if (this.accept(']')) return list;
      list.push(this.value());
      this.skipLines();
      if (this.accept(']')) return list;
      if (!this.accept(',')) this.fail("`,' or `]'");
    }
  }

  private skipLines(): void {
    while (this.accept('newline'));
  }

  private get peek(): Token {
    return this.tokens[this.at]!;
  }

  private accept(kind: TokenKind): boolean {
    if (this.peek.kind !== kind) return false;
    this.at++;
    return true;
  }

  private expect(kind: TokenKind, what: string): Token {
    const token = this.peek;
    if (token.kind !== kind) this.fail(what);
    this.at++;
    return token;
  }

  private fail(expected: string): never {
    const { line, text } = this.peek;
    throw new XlcfgError(this.file, this.withLines ? line : null, `near \`${text}': expected ${expected}`);
  }
}

/** False when `+=` meets values of different kinds. */
function store(into: XlcfgSettings, setting: XlcfgSetting, op: string): boolean {
  const before = op === '+=' ? into.get(setting.name)?.value : undefined;
  if (before === undefined) into.set(setting.name, setting);
  else if (typeof before === 'string' && typeof setting.value === 'string')
    into.set(setting.name, { ...setting, value: before + setting.value });
  else if (typeof before !== 'string' && typeof setting.value !== 'string')
    into.set(setting.name, { ...setting, value: [...before, ...setting.value] });
  else return false;
  return true;
}
