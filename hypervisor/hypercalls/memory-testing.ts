// Test support: a PV guest on the emulated CPU (pv/testing.ts), a second PV domain, and a translated dom0, with hypercalls made on
// behalf of any of them and structures placed in their memory.

import type { Codec } from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { createDomain, createVcpu } from '../core/domain-create.ts';
import { auditHypervisor } from '../core/frame-table-audit-holders.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Domid } from '../core/ids.ts';
import { addPage } from '../core/p2m-physmap.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { createTestGuest, type TestGuest, type TestGuestOptions } from '../pv/testing.ts';
import { HypercallContext } from './context.ts';
import { dispatch } from './index.ts';

export interface MemoryWorld {
  guest: TestGuest;
  hv: Hypervisor;
  dom0: Domain;
  /** A hypercall by a vCPU. */
  call(vcpu: Vcpu, number: number, ...args: number[]): number;
  /** Places a structure (or several in a row) in the memory of a vCPU's domain and answers its address. */
  put<T>(vcpu: Vcpu, codec: Codec<T, never>, ...values: object[]): number;
  get<T>(vcpu: Vcpu, codec: Codec<T, never>, at: number, index?: number): T;
  putFrames(vcpu: Vcpu, frames: readonly number[]): number;
  getFrame(vcpu: Vcpu, at: number, i: number): number;
  audit(): string[];
}

/** Gfns 0..63 of dom0 are RAM. Scratch for structures: page 40 of the guest, gfn 40 of dom0. */
const SCRATCH = 40;

export function createMemoryWorld(options: TestGuestOptions = {}): MemoryWorld {
  const guest = createTestGuest({ ...options, dispatch });
  const { hv } = guest;
  const dom0 = createDomain(hv, { id: 0 as Domid, isPrivileged: true, isTranslated: true, maxVcpus: 1 })!;
  if (createVcpu(hv, dom0, 0, true) !== 0) throw new Error('no vCPU for dom0');
  for (let gfn = 0; gfn < 64; gfn++) addPage(hv, dom0, gfn, hv.frames.allocForDomain(dom0));
  let next = 0;
  const place = (vcpu: Vcpu, size: number): number => {
    const at = next;
    next = (next + size + 15) & ~15;
    if (next > 4096 * 4) throw new Error('scratch is full');
    return vcpu.domain === dom0 ? SCRATCH * 4096 + at : guest.lin(SCRATCH, at);
  };
  return {
    guest,
    hv,
    dom0,
    call(vcpu, number, ...args) {
      const c = new HypercallContext(hv);
      c.vcpu = vcpu;
      args.forEach((a, i) => {
        c.setArg(i, (a % 0x1_0000_0000) | 0, vcpu.domain.is32bit ? 0 : Math.floor(a / 0x1_0000_0000) | 0);
      });
      const rc = dispatch(c, number);
      return typeof rc === 'number' ? rc : 0;
    },
    put(vcpu, codec, ...values) {
      const size = codec.size(vcpu.guest.abi);
      const at = place(vcpu, size * values.length);
      // SAFE: a test's literals; members that are left out are caught by the codec's own types at run time.
      values.forEach((v, i) => {
        vcpu.guest.writeStruct(codec, at, v as never, i);
      });
      return at;
    },
    get(vcpu, codec, at, index = 0) {
      const v = vcpu.guest.readStruct(codec, at, index);
      if (v === null) throw new Error(`no structure at ${at.toString(16)}`);
      return v;
    },
    putFrames(vcpu, frames) {
      const width = vcpu.domain.is32bit ? 4 : 8;
      const at = place(vcpu, frames.length * width);
      frames.forEach((f, i) => {
        if (width === 4) vcpu.guest.write32(at + i * 4, f);
        else vcpu.guest.write64(at + i * 8, f, 0);
      });
      return at;
    },
    getFrame(vcpu, at, i) {
      return vcpu.guest.read32(at + i * (vcpu.domain.is32bit ? 4 : 8));
    },
    audit: () => auditHypervisor(hv),
  };
}
