// `ringworld screenshot` and `ringworld send-key`: the frame buffer and the keyboard of a domain (virsh's words: xl has none).
import { writeFileSync } from 'node:fs';
import { keyCode } from '../../fbback/index.ts';
import { UserError, XlError } from '../user-error.ts';
import { command } from './options.ts';

const NUMBER = { n: { text: 'its number, if there are several (0)', value: true, long: 'num' } } as const;

function numberOf(values: ReadonlyMap<string, string>): number {
  const text = values.get('n') ?? '0';
  if (!/^\d{1,4}$/.test(text)) throw new XlError(`${text} is no number`);
  return Number(text);
}

export const screenshot = command(
  {
    name: 'screenshot',
    synopsis: '[options] <Domain> [File]',
    about: 'Write what a domain shows on its frame buffer as a PNG file; to DOMAIN.png, or to standard output for -.',
    options: NUMBER,
    needs: 1,
    most: 2,
  },
  async (host, { rest, values }, env) => {
    const [domain, file = `${domain}.png`] = rest as [string, string?];
    const png = await host.call('screenshot', { domain, num: numberOf(values) });
    if (file === '-') process.stdout.write(png);
    else {
      try {
        writeFileSync(file, png);
      } catch (e) {
        throw new UserError(`${file}: cannot be written: ${(e as NodeJS.ErrnoException).code ?? e}`);
      }
      env.out(`${file}: ${png.length} bytes\n`);
    }
    return 0;
  },
);

export const sendKey = command(
  {
    name: 'send-key',
    synopsis: '[options] <Domain> <Key> [Key...]',
    about: "Press keys together on a domain's keyboard, and let them go: names as Linux has them (KEY_LEFTCTRL or LEFTCTRL), or numbers.",
    options: NUMBER,
    needs: 2,
  },
  async (host, { rest, values }) => {
    const [domain, ...names] = rest as [string, ...string[]];
    const codes = names.map((n) => keyCode(n) ?? unknown(n));
    await host.call('sendKeys', { domain, num: numberOf(values), codes });
    return 0;
  },
);

function unknown(name: string): never {
  throw new XlError(`send-key: there is no key ${name}`);
}
