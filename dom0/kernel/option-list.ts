// Options of a backend in one line of text, as people write them on a command line.

type Value = boolean | number | string;

/**
 * "data=copy,notify=each,maxQueues=1" as options: flags as 0 or 1, numbers, and names out of `choices`; a key in any case. What there is, and
 * of which kind each is, `defaults` says; what is not named is not in the result. Throws an Error that says what is wrong.
 */
export function parseOptionList<T extends { readonly [K in keyof T]: Value }>(
  text: string,
  defaults: T,
  choices: { readonly [K in keyof T as T[K] extends string ? K : never]: readonly T[K][] },
): Partial<T> {
  const kinds: Readonly<Record<string, Value>> = defaults;
  const names: Readonly<Record<string, readonly Value[] | undefined>> = choices;
  const options: Record<string, Value> = {};
  for (const part of text.split(',').filter((p) => p !== '')) {
    const [key = '', value = ''] = part.split('=', 2);
    const known = Object.entries(kinds).find(([name]) => name.toLowerCase() === key.toLowerCase());
    if (known === undefined) throw new Error(`no option "${key}" (there are ${Object.keys(kinds).join(', ')})`);
    const [name, fallback] = known;
    const allowed = names[name] ?? (typeof fallback === 'boolean' ? ['0', '1'] : null);
    if (allowed === null ? !/^\d+$/.test(value) : !allowed.includes(value))
      throw new Error(`${key}=${value}: ${allowed === null ? 'not a number' : `there are ${allowed.join(', ')}`}`);
    options[name] = typeof fallback === 'boolean' ? value === '1' : typeof fallback === 'number' ? Number(value) : value;
  }
  // SAFE: every key is one of T's, and its value of that key's kind.
  return options as Partial<T>;
}
