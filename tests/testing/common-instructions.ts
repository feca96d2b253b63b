// `npm run common-instructions -- create -F guest.cfg`: runs that command and writes hypervisor/machine/exec/common-instructions.ts, the
// instructions that asked for a handler of their own, in the order in which they came.

import { writeFileSync } from 'node:fs';
import { Handlers } from '../../hypervisor/machine/exec/handlers.ts';
import type { ExecMode } from '../../hypervisor/machine/exec/mode.ts';
import { Translator } from '../../hypervisor/machine/exec/translator.ts';
import type { Decoded } from '../../hypervisor/machine/isa/decoded.ts';

const FILE = new URL('../../hypervisor/machine/exec/common-instructions.ts', import.meta.url);
const PER_LINE = 16;

interface Page {
  readonly frame: number;
  readonly mode: ExecMode;
}
type Lower = (this: Translator, d: Decoded, at: number, page: Page, offset: number, far: boolean) => boolean;
interface Inside {
  lower: Lower;
  ram: { readonly base: number; readonly u8: Uint8Array };
}

const found = new Map<string, string[]>();
// The list must not feed on itself.
Translator.prototype.warm = () => {};
const inside = Translator.prototype as unknown as Inside;
const lower = inside.lower;
let made = 0;
const index = Handlers.prototype.index;
Handlers.prototype.index = function (this: Handlers, ...args) {
  const room = this.room;
  const answer = index.apply(this, args);
  if (this.room !== room) made++;
  return answer;
};
inside.lower = function (d, at, page, offset, far) {
  const before = made;
  const ends = lower.call(this, d, at, page, offset, far);
  if (made !== before && offset + d.length <= 4096) {
    const { ram } = this as unknown as Inside;
    const from = ram.base + page.frame * 4096 + offset;
    const key = `${page.mode.bits}${page.mode.flat ? ' flat' : ''}`;
    const list = found.get(key) ?? [];
    found.set(key, list);
    list.push(Buffer.from(ram.u8.subarray(from, from + d.length)).toString('hex'));
  }
  return ends;
};

process.on('exit', () => {
  const text = [...found]
    .map(([key, list]) => {
      const lines: string[] = [];
      for (let i = 0; i < list.length; i += PER_LINE) lines.push(list.slice(i, i + PER_LINE).join(' '));
      return `  '${key}': \`\n    ${lines.join('\n    ')}\`,\n`;
    })
    .join('');
  writeFileSync(
    FILE,
    `// Instructions that a Linux kernel and its busybox use, one for each handler that they need: made known at once when a guest turns out to
// be more than a few instructions (translator.ts). Written by \`npm run common-instructions\`.

/** Hexadecimal bytes, by size of the code segment and whether all segments are flat. */
export const COMMON_INSTRUCTIONS: Readonly<Record<string, string>> = {
${text}};
`,
  );
});

const { main } = await import('../../dom0/xl/main.ts');
await main(process.argv.slice(2));
