// Numbers that keep the translations of vCPUs apart, VPIDs or ASIDs: 0 is the hypervisor's own.

export class Tags {
  private readonly free: number[] = [];
  private next = 1;
  private readonly last: number;

  /** `last`: the highest that the processor takes. */
  constructor(last: number) {
    this.last = last;
  }
  /** -1 when all are in use. */
  take(): number {
    return this.free.pop() ?? (this.next <= this.last ? this.next++ : -1);
  }
  give(tag: number): void {
    this.free.push(tag);
  }
}
