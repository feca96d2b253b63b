// serial="pty": COM1's other end as a console of consoled's, with its viewers, scrollback and log. Between the two lies a console ring in dom0's
// own memory, so that consoled needs to know nothing of UARTs.
import { type PageView, ringDistance, xencons_interface } from '@ringworld/abi';
import type { ConsoleChannel } from '../consoled/domain-console.ts';
import type { Timers } from '../kernel/timers.ts';
import { plainPage } from './plain-page.ts';

const at = (field: Parameters<typeof xencons_interface.offset>[0]): number => xencons_interface.offset(field, 'x86_64');
const OUT_SIZE = at('in_cons') - at('out');
const IN_SIZE = at('out') - at('in');
/** Output is shown at the end of a line, after so many bytes, or after so long: not byte by byte. */
const BATCH = 256;
const LINGER_NS = 1_000_000;

export interface SerialConsoleOptions {
  readonly timers: Pick<Timers, 'after'>;
  /** Types at COM1; returns how many bytes it took. */
  readonly type: (bytes: Uint8Array) => number;
}

export class SerialConsole implements ConsoleChannel {
  readonly page: PageView = plainPage(new Uint8Array(4096));
  /** consoled is to look at the output. */
  serve: () => void = () => {};
  private readonly options: SerialConsoleOptions;
  private stopLingering: (() => void) | null = null;
  private isShowing = false;

  constructor(options: SerialConsoleOptions) {
    this.options = options;
  }

  /** From COM1. A UART cannot wait: while whoever shows the output has no room, what does not fit the ring is lost, as on a real line. */
  readonly output = (byte: number): void => {
    const { page } = this;
    const prod = page.u32(at('out_prod'));
    const used = ringDistance(prod, page.u32(at('out_cons')));
    if (used >= OUT_SIZE) return;
    page.setU8(at('out') + (prod & (OUT_SIZE - 1)), byte);
    page.setU32(at('out_prod'), (prod + 1) >>> 0);
    if (byte === 0x0a || used + 1 >= BATCH) this.show();
    else
      this.stopLingering ??= this.options.timers.after(LINGER_NS, () => {
        this.stopLingering = null;
        this.show();
      });
  };

  private show(): void {
    this.stopLingering?.();
    this.stopLingering = null;
    if (this.isShowing) return;
    this.isShowing = true;
    this.serve();
    this.isShowing = false;
  }

  /** consoled's event: there is input, or room. */
  notify(): void {
    this.feed();
  }
  /** The wire has room again. */
  feed(): void {
    const { page } = this;
    const cons = page.u32(at('in_cons'));
    const waiting = Math.min(ringDistance(page.u32(at('in_prod')), cons), IN_SIZE);
    if (waiting === 0) return;
    const bytes = Uint8Array.from({ length: waiting }, (_, i) => page.u8(at('in') + ((cons + i) & (IN_SIZE - 1))));
    const taken = this.options.type(bytes);
    page.setU32(at('in_cons'), (cons + taken) >>> 0);
    // The rest of what was typed may wait for room in the ring.
    if (taken > 0 && !this.isShowing) this.show();
  }

  close(): void {
    this.stopLingering?.();
    this.stopLingering = null;
  }
}
