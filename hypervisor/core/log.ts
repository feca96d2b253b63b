// The hypervisor's console: what `xl dmesg` shows. Lines are kept in a ring of bounded size and offered to a listener as they come.

export type LogListener = (line: string) => void;

/** Characters kept, as Xen's conring_size default for a debug-less build (16 KiB) times four, so that two guests' output fits. */
const CONRING_SIZE = 65536;

export class HypervisorLog {
  onLine: LogListener = () => {};
  private lines: string[] = [];
  private size = 0;
  /** Characters dropped from the front: `xl dmesg` counts from boot. */
  private dropped = 0;
  /** Partial lines of guests that wrote without a newline, by domain id. */
  private readonly partial = new Map<number, string>();

  /** A line of the hypervisor itself: "(XEN) text". */
  xen(text: string): void {
    this.push(`(XEN) ${text}`);
  }

  /** Characters that a guest wrote with console_io; whole lines appear as "(dN) text" (xen/drivers/char/console.c, guest_printk). */
  guest(domid: number, text: string): void {
    const parts = ((this.partial.get(domid) ?? '') + text).split('\n');
    const rest = parts.pop() ?? '';
    for (const line of parts) this.push(`(d${domid}) ${line}`);
    this.partial.set(domid, rest);
  }

  /** All that is kept, one string, lines ended by a newline. */
  text(): string {
    return this.lines.map((l) => `${l}\n`).join('');
  }

  /** Up to `count` characters from position `index` (counted since boot) on, and the position after them. */
  read(index: number, count: number): { text: string; next: number } {
    const from = Math.max(index, this.dropped);
    const text = this.text().slice(from - this.dropped, from - this.dropped + count);
    return { text, next: from + text.length };
  }

  clear(): void {
    this.dropped += this.size;
    this.lines = [];
    this.size = 0;
  }

  private push(line: string): void {
    this.lines.push(line);
    this.size += line.length + 1;
    while (this.size > CONRING_SIZE) {
      const gone = (this.lines.shift()?.length ?? 0) + 1;
      this.size -= gone;
      this.dropped += gone;
    }
    this.onLine(line);
  }
}
