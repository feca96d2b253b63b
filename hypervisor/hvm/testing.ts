// Small HVM guests for specs: a domain with a few MiB whose vCPU starts in flat 32-bit protected mode, as a PVH guest does, or in real mode.
// Not part of the product.

import { hvm_hw_cpu } from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { createDomain, createVcpu } from '../core/domain-create.ts';
import { unpauseDomain } from '../core/domain-shutdown.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { type Domid, type Gfn, INVALID_MFN, type Maddr, type Mfn } from '../core/ids.ts';
import { P2M_TYPES } from '../core/p2m.ts';
import { createHypervisor } from '../index.ts';
import { createMachine, type MachineOptions } from '../machine/index.ts';
import { HVM_EMULATION, PVH_EMULATION } from './platform/index.ts';

export const CODE = 0x10_0000;

export interface SmallGuest {
  readonly hv: Hypervisor;
  readonly domain: Domain;
  /** Lines of the guest on port 0xe9, from the hypervisor's log. */
  lines(): string[];
  read32(gpa: number): number;
  /** Machine address of a guest-physical one. */
  at(gpa: number): Maddr;
}

export interface SmallGuestOptions {
  /** CPU profile: 'skylake-sp' for VT-x, 'zen' for SVM. */
  readonly profile: string;
  readonly code: readonly number[] | Uint8Array;
  readonly isReal?: boolean;
  /** EPT or nested paging, unless told; else shadow paging. */
  readonly isHap?: boolean;
  readonly emulation?: 'pvh' | 'hvm';
  readonly vcpus?: number;
  readonly cpus?: number;
  readonly machine?: Partial<MachineOptions>;
}

const MIB = 1024 * 1024;
const GUEST_PAGES = 1024;

export function smallGuest(o: SmallGuestOptions): SmallGuest {
  const machine = createMachine({ ramBytes: 32 * MIB, cpus: o.cpus ?? 1, profile: o.profile, ...o.machine });
  const hv = createHypervisor({ machine });
  const emulationFlags = o.emulation === 'hvm' ? HVM_EMULATION : PVH_EMULATION;
  const domain = createDomain(hv, { id: 1 as Domid, hvm: { isHap: o.isHap ?? true, emulationFlags }, maxVcpus: o.vcpus ?? 1 });
  if (domain === null) throw new Error('no memory for the domain');
  const rc = hv.hvm.domainCreated(hv, domain);
  if (rc !== 0) throw new Error(`domainCreated: ${rc}`);
  for (let n = 0; n < GUEST_PAGES; n++) {
    const mfn = hv.frames.alloc(0);
    if (mfn === INVALID_MFN || hv.frames.assign(domain, mfn) !== 0) throw new Error('no memory for the guest');
    domain.p2m.set(n as Gfn, mfn, P2M_TYPES.ram_rw);
    hv.frames.m2p.set(mfn, n, 0);
  }
  for (let id = 0; id < (o.vcpus ?? 1); id++) if (createVcpu(hv, domain, id) !== 0) throw new Error('createVcpu');
  const at = (gpa: number): Maddr => ((domain.p2m.mfn(Math.floor(gpa / 4096) as Gfn) as Mfn) * 4096 + (gpa % 4096)) as Maddr;
  const start = o.isReal ? 0x1000 : CODE;
  Uint8Array.from(o.code).forEach((b, i) => {
    hv.ram.write8(at(start + i), b);
  });
  const v = domain.vcpus[0]!;
  if (hv.hvm.loadCpu(hv, v, o.isReal ? realState(start) : flatState(start)) !== 0) throw new Error('loadCpu');
  v.isInitialised = true;
  v.isDown = false;
  unpauseDomain(hv, domain);
  return {
    hv,
    domain,
    at,
    read32: (gpa) => hv.ram.read32(at(gpa)),
    lines: () =>
      hv.console
        .text()
        .split('\n')
        .flatMap((l) => /\(d1\) (.*)$/.exec(l)?.[1] ?? []),
  };
}

const blank = () => hvm_hw_cpu.read(new DataView(new ArrayBuffer(4096)), 0, 'x86_64');
/** As libxl starts a PVH vCPU: paging off, flat segments. */
const flatState = (rip: number) => ({
  ...blank(),
  cr0: 0x11n,
  rip: BigInt(rip),
  rsp: 0x8000n,
  rflags: 2n,
  dr6: 0xffff0ff0n,
  dr7: 0x400n,
  ...segments(0xc9b, 0xc93, 0xffff_ffff, 0x18),
});
const realState = (rip: number) => ({
  ...blank(),
  cr0: 0x10n,
  rip: BigInt(rip),
  rsp: 0x800n,
  rflags: 2n,
  dr6: 0xffff0ff0n,
  dr7: 0x400n,
  idtr_limit: 0x3ff,
  ...segments(0x9b, 0x93, 0xffff, 0),
});
/** `code` and `data`: attributes as 12 bits. */
function segments(code: number, data: number, limit: number, data_sel: number) {
  const wide = (a: number): number => (a & 0xff) | ((a & 0xf00) << 4);
  const d = { sel: data_sel, limit, base: 0n, arbytes: wide(data) };
  const all: Record<string, number | bigint> = {};
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss']) for (const [k, v] of Object.entries(d)) all[`${name}_${k}`] = v;
  return {
    ...all,
    cs_sel: data_sel === 0 ? 0 : 0x10,
    cs_limit: limit,
    cs_arbytes: wide(code),
    tr_limit: 0x67,
    tr_arbytes: 0x8b,
    ldtr_arbytes: 0x82,
  };
}
