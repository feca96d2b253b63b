// Wakes whoever waits: input from outside rings, and a ring that nobody waited for is not lost.

export class Bell {
  private hasRung = false;
  private wake: (() => void) | null = null;

  ring(): void {
    if (this.wake === null) this.hasRung = true;
    else this.wake();
  }

  /** Resolves at the next ring, at the latest after `ms`. One may wait at a time. */
  wait(ms: number): Promise<void> {
    if (this.hasRung) {
      this.hasRung = false;
      return Promise.resolve();
    }
    return new Promise((done) => {
      const end = () => {
        clearTimeout(timer);
        this.wake = null;
        done();
      };
      const timer = setTimeout(end, ms);
      this.wake = end;
    });
  }
}
