// The world of a domain whose kernel is TypeScript: its memory through its p2m, hypercalls through the same dispatch and the same copy-in
// as everybody's, and upcalls between two windows of the run loop. No object of the hypervisor's is reachable from here.

import type { DomainPort, PageView } from '@ringworld/abi';
import { HypercallContext } from '../hypercalls/context.ts';
import type { Ram } from '../machine/mmu/ram.ts';
import type { Domain } from './domain.ts';
import type { HostTasks } from './host-tasks.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Domid, type Gfn, INVALID_MFN, type Maddr } from './ids.ts';
import type { P2m } from './p2m.ts';
import { isUpcallMasked, isUpcallPending } from './shared-info.ts';

/** Attaches a TypeScript kernel to a translated domain whose vCPUs were created hosted; its upcalls run as a host task. */
export function openDomainPort(hv: Hypervisor, domain: Domain): DomainPort {
  const port = new HostedDomain(hv, domain);
  hv.hostTasks.push(port);
  return port;
}

class HostedDomain implements DomainPort, HostTasks {
  readonly domid: Domid;
  private readonly hv: Hypervisor;
  private readonly domain: Domain;
  private readonly context: HypercallContext;
  private upcall: (vcpu: number) => void = () => {};
  private holds = 0;

  constructor(hv: Hypervisor, domain: Domain) {
    this.hv = hv;
    this.domain = domain;
    this.domid = domain.id;
    this.context = new HypercallContext(hv);
  }

  hypercall(nr: number, ...args: (number | bigint)[]): number {
    const c = this.context;
    c.vcpu = this.domain.vcpus[0]!;
    for (let i = 0; i < 6; i++) {
      const a = args[i] ?? 0;
      if (typeof a === 'number') c.setArg(i, (a % 0x1_0000_0000) | 0, Math.floor(a / 0x1_0000_0000) | 0);
      else c.setArg(i, Number(BigInt.asIntN(32, a)), Number(BigInt.asIntN(32, a >> 32n)));
    }
    const result = this.hv.dispatch(c, nr);
    return typeof result === 'number' ? result : 0;
  }

  page(gfn: Gfn): PageView {
    return new MappedPage(this.hv.ram, this.domain.p2m, gfn);
  }

  systemTime(): number {
    return this.hv.now();
  }

  hold(): () => void {
    let isOver = false;
    this.holds++;
    return () => {
      if (isOver) return;
      isOver = true;
      this.holds--;
    };
  }

  setUpcall(upcall: (vcpu: number) => void): void {
    this.upcall = upcall;
  }

  run(): boolean {
    let any = false;
    for (const v of this.domain.vcpus) {
      if (!v.isKicked) continue;
      v.isKicked = false;
      if (!isUpcallPending(v) || isUpcallMasked(v)) continue;
      any = true;
      this.upcall(v.id);
    }
    return any;
  }

  get isHeld(): boolean {
    return this.holds > 0;
  }
}

class MappedPage implements PageView {
  private readonly ram: Ram;
  private readonly p2m: P2m;
  private readonly gfn: Gfn;

  constructor(ram: Ram, p2m: P2m, gfn: Gfn) {
    this.ram = ram;
    this.p2m = p2m;
    this.gfn = gfn;
  }

  u8(offset: number): number {
    return this.ram.read8(this.at(offset, 1, false));
  }
  u16(offset: number): number {
    return this.ram.read16(this.at(offset, 2, false));
  }
  u32(offset: number): number {
    return this.ram.read32(this.at(offset, 4, false));
  }
  u64(offset: number): bigint {
    return this.ram.read64(this.at(offset, 8, false));
  }
  setU8(offset: number, value: number): void {
    this.ram.write8(this.at(offset, 1, true), value);
  }
  setU16(offset: number, value: number): void {
    this.ram.write16(this.at(offset, 2, true), value);
  }
  setU32(offset: number, value: number): void {
    this.ram.write32(this.at(offset, 4, true), value);
  }
  setU64(offset: number, value: bigint): void {
    this.ram.write64(this.at(offset, 8, true), value);
  }
  bytes(offset: number, length: number): Uint8Array {
    return this.ram.readBytes(this.at(offset, length, false), length);
  }
  readInto(offset: number, into: Uint8Array): void {
    this.ram.readInto(this.at(offset, into.length, false), into);
  }
  writeBytes(offset: number, source: Uint8Array): void {
    this.ram.writeBytes(this.at(offset, source.length, true), source);
  }

  private at(offset: number, length: number, write: boolean): Maddr {
    const mfn = this.p2m.mfn(this.gfn);
    if (offset < 0 || offset + length > 4096) throw new RangeError(`bytes ${offset}..${offset + length} are not within a page`);
    if (mfn === INVALID_MFN) throw new Error(`gfn 0x${this.gfn.toString(16)} is not mapped`);
    if (write && !this.p2m.isWritable(this.gfn)) throw new Error(`gfn 0x${this.gfn.toString(16)} is mapped read-only`);
    return (mfn * 4096 + offset) as Maddr;
  }
}
