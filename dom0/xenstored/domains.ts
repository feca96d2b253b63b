// What xenstored keeps about each domain that owns nodes, is named in permissions or has a ring: when it was first heard of, and what it
// has taken of each quota (xenstored_domain.c).
import type { Quotas } from './quotas.ts';

/** Plain data. */
export interface DomainRecord {
  readonly domid: number;
  /** When the domain was first heard of, in the store's generations: permissions of older nodes mean an earlier domain with this id. */
  readonly generation: number;
  /** It has a ring. */
  introduced: boolean;
  /** Its shutdown has been announced. */
  shutdown: boolean;
  nodes: number;
  /** Bytes of its nodes, watches, transactions and waiting messages. */
  memory: number;
  watches: number;
  /** Requests whose reply, or an event that they caused, has not been taken. */
  outstanding: number;
  softQuotaReported: boolean;
  hardQuotaReported: boolean;
}

export class Domains {
  readonly records = new Map<number, DomainRecord>();
  /** Called when a domain that could not be served because of a quota can be again. */
  relieved: (domid: number) => void = () => {};
  warn: (line: string) => void = () => {};
  private readonly quotas: Quotas;
  private readonly exists: (domid: number) => boolean;

  /** `exists`: asks Xen. */
  constructor(quotas: Quotas, exists: (domid: number) => boolean) {
    this.quotas = quotas;
    this.exists = exists;
    this.add(0, 0);
  }

  add(domid: number, generation: number): DomainRecord {
    const record: DomainRecord = {
      domid,
      generation,
      introduced: domid === 0,
      shutdown: false,
      nodes: 0,
      memory: 0,
      watches: 0,
      outstanding: 0,
      softQuotaReported: false,
      hardQuotaReported: false,
    };
    this.records.set(domid, record);
    return record;
  }

  /** A record for the domain, if there is such a domain. */
  know(domid: number, store: { generation: number }): DomainRecord | null {
    return this.records.get(domid) ?? (this.exists(domid) ? this.add(domid, ++store.generation) : null);
  }

  /** Whether the domain had been heard of when something of this generation was written. */
  isOlder(domid: number, generation: number): boolean {
    const record = this.records.get(domid);
    return record !== undefined && record.generation <= generation;
  }

  /** The record that something existing is accounted to. */
  of(domid: number): DomainRecord {
    const record = this.records.get(domid);
    if (record === undefined) throw new Error(`xenstored: something belongs to domain ${domid}, which is not known`);
    return record;
  }

  /** False, and nothing done, when `check` is given and the domain would have too much. */
  addMemory(domid: number, bytes: number, check: boolean): boolean {
    const record = this.records.get(domid);
    if (record === undefined) return true;
    const { memory } = this.quotas;
    const after = record.memory + bytes;
    const tooMuch = domid !== 0 && after >= memory;
    this.report(record, after);
    if (tooMuch && check) return false;
    const wasStalled = domid !== 0 && record.memory >= memory;
    record.memory = after;
    if (wasStalled && !tooMuch) this.relieved(domid);
    return true;
  }

  addOutstanding(domid: number, by: 1 | -1): void {
    const record = this.records.get(domid);
    if (record === undefined) return;
    const wasStalled = record.outstanding >= this.quotas.outstanding;
    record.outstanding += by;
    if (wasStalled && record.outstanding < this.quotas.outstanding) this.relieved(domid);
  }

  /** Whether its next request may be read (domain_can_read()). */
  mayAsk(domid: number): boolean {
    if (domid === 0) return true;
    const record = this.records.get(domid);
    return record === undefined || (record.outstanding < this.quotas.outstanding && record.memory < this.quotas.memory);
  }

  /** Once for each time: a guest on the edge of its quota must not fill the log. */
  private report(record: DomainRecord, memory: number): void {
    if (record.domid === 0) return;
    if (memory < this.quotas.memorySoft) {
      record.softQuotaReported = false;
      record.hardQuotaReported = false;
    } else if (memory >= this.quotas.memory && !record.hardQuotaReported) {
      record.hardQuotaReported = true;
      this.warn(`Domain ${record.domid} exceeds hard memory quota, Xenstore interface to domain stalled`);
    } else if (!record.softQuotaReported) {
      record.softQuotaReported = true;
      this.warn(`Domain ${record.domid} exceeds soft memory quota`);
    }
  }
}
