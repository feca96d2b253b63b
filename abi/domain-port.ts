// All that a domain can see of its world: its own memory, hypercalls, and the upcall by which Xen says that events wait. A domain
// whose kernel is TypeScript (dom0, a backend) gets one of these and nothing else. No JavaScript object crosses it: arguments of
// hypercalls lie in the domain's own pages and are passed as addresses, as real guests do.
import type { Domid, Gfn } from './layout/brands.ts';

/** One page of the domain, seen through its physmap at the moment of each access. All values are little-endian. */
export interface PageView {
  u8(offset: number): number;
  u16(offset: number): number;
  u32(offset: number): number;
  u64(offset: number): bigint;
  setU8(offset: number, value: number): void;
  setU16(offset: number, value: number): void;
  setU32(offset: number, value: number): void;
  setU64(offset: number, value: bigint): void;
  /** A private copy. */
  bytes(offset: number, length: number): Uint8Array;
  /** Fills `into` from the page: bytes() without a new array. */
  readInto(offset: number, into: Uint8Array): void;
  writeBytes(offset: number, source: Uint8Array): void;
}

export interface DomainPort {
  /** The domain's own id, which a real one would learn from CPUID or XenStore. */
  readonly domid: Domid;
  /**
   * Makes hypercall `nr` and returns rax as a signed number: 0 or more, or -errno. Addresses among the arguments are
   * guest-physical (gfn * 4096 + offset): a DomainPort belongs to an auto-translated domain.
   */
  hypercall(nr: number, ...args: (number | bigint)[]): number;
  /**
   * A view of page `gfn`. Getting one never fails; reading or writing throws once nothing is mapped there (unmapped grant, removed
   * foreign page, ballooned out), and so does writing a page that is mapped read-only.
   */
  page(gfn: Gfn): PageView;
  /** System time in ns since boot, as a real domain computes it from RDTSC and vcpu_time_info. */
  systemTime(): number;
  /**
   * Stops virtual time, and so every guest, until the returned function is called: for host I/O that by its model is over and on the
   * host is not. From upcalls only. Holds may overlap.
   */
  hold(): () => void;
  /** Called when evtchn_upcall_pending of a vCPU becomes set while its mask is clear. Runs after the current activation, never inside hypercall(). */
  setUpcall(upcall: (vcpu: number) => void): void;
}
