// What the specs of the core share: a hypervisor over a small RAM with CPUs that are scripts instead of emulators, and domains that
// make hypercalls from TypeScript. Not part of the product.

import type { DomainPort } from '@ringworld/abi';
import { dispatch } from '../hypercalls/index.ts';
import { Context } from '../machine/context.ts';
import type { Cpu, CpuEvent } from '../machine/cpu-api.ts';
import { RunExit } from '../machine/cpu-api.ts';
import { Ram } from '../machine/mmu/ram.ts';
import { CONTEXT_SIZE } from '../machine/state.ts';
import { createDom0 } from './dom0-create.ts';
import type { Domain, DomainOptions } from './domain.ts';
import { createDomain, createVcpu, freeDomid } from './domain-create.ts';
import { openDomainPort } from './domain-port.ts';
import { unpauseDomain } from './domain-shutdown.ts';
import { FrameTable } from './frame-table.ts';
import type { HvmHooks } from './hvm-hooks.ts';
import { Hypervisor, type HypervisorOptions } from './hypervisor.ts';
import type { Domid, Gfn } from './ids.ts';
import { noHvm } from './no-hvm.ts';
import { P2M_TYPES } from './p2m.ts';
import type { PvHooks } from './pv-hooks.ts';
import type { Vcpu } from './vcpu.ts';

/** What a scripted guest does in one turn: cycles it uses at most, and then what. */
export type Turn = (vcpu: Vcpu, cpu: ScriptedCpu) => void;

/** A CPU whose run() uses up cycles, at most up to the deadline, and raises exits as told. */
export class ScriptedCpu extends Context {
  readonly id: number;
  readonly event: CpuEvent = { vector: 0, errorCode: -1, length: 0 };
  cycles = 0;
  delivery: 'host' | 'idt' = 'host';
  /** Cycles until the next exit; Infinity runs to every deadline. */
  untilExit = Number.POSITIVE_INFINITY;
  readonly ran: { from: number; to: number }[] = [];

  constructor(ram: Ram, base: number, id: number) {
    super(ram, base);
    this.id = id;
  }
  run(deadline: number): RunExit {
    const from = this.cycles;
    const to = Math.min(deadline, from + this.untilExit);
    this.cycles = Math.max(from, to);
    this.ran.push({ from, to: this.cycles });
    return to === deadline ? RunExit.deadline : RunExit.syscall;
  }
}

export interface Bench {
  hv: Hypervisor;
  cpus: ScriptedCpu[];
  dom0: DomainPort;
  /** Called for every exit of a scripted CPU. */
  onExit: (vcpu: Vcpu, cpu: ScriptedCpu) => void;
}

export function createBench(options: Partial<HypervisorOptions> & { cpus?: number; ramBytes?: number } = {}): Bench {
  const ram = new Ram(options.ramBytes ?? 8 * 1024 * 1024, 1024 * 1024);
  let next = 0x1000;
  const block = (): number => {
    const at = next;
    next += CONTEXT_SIZE;
    return at;
  };
  const cpus = Array.from({ length: options.cpus ?? 1 }, (_, i) => new ScriptedCpu(ram, block(), i));
  const machine = {
    ram,
    // SAFE: the core uses cycles, run and the registers only.
    cpus: cpus as unknown as readonly Cpu[],
    allocContext: () => new Context(ram, block()),
    freeContext: () => {},
  };
  const bench: Partial<Bench> = { cpus, onExit: () => {} };
  const pv: PvHooks = {
    switchTo: () => {},
    switchFrom: () => {},
    handleExit: (_hv, vcpu) => bench.onExit!(vcpu, vcpu.cpu as unknown as ScriptedCpu),
    deliverPending: () => {},
    loadGuestContext: () => 0,
    saveGuestContext: () => new Uint8Array(0),
    vcpuCreated: () => 0,
    addressSizeChanged: () => 0,
    vcpuDestroyed: () => {},
    domainDestroyed: () => {},
    writeHypercallPage: () => {},
  };
  bench.hv = new Hypervisor({ frames: new FrameTable(ram), pv, dispatch, machine, ...options });
  bench.dom0 = createDom0(bench.hv, { pages: 64, vcpus: 2 }).port;
  return bench as Bench;
}

/** Hooks of hvm/ that do nothing but note what they were called with, in `calls`, by name. `over` replaces some. */
export function recordingHvm(calls: unknown[][], over: Partial<HvmHooks> = {}): HvmHooks {
  const note =
    (name: string) =>
    (_hv: Hypervisor, ...args: unknown[]): number => {
      calls.push([name, ...args.map((a) => (typeof a === 'object' && a !== null && 'id' in a ? a.id : a))]);
      return 0;
    };
  // SAFE: every hook takes the hypervisor first and gives a number or nothing; the ones that do not are to be given in `over`.
  const all = Object.fromEntries(Object.keys(noHvm).map((name) => [name, note(name)])) as unknown as HvmHooks;
  return { ...all, ...over };
}

/** An unprivileged domain whose kernel is the test: translated, `pages` of RAM at gfn 0 on, vCPUs hosted. */
export function createTestDomain(
  hv: Hypervisor,
  options: { vcpus?: number; pages?: number; hvm?: DomainOptions['hvm'] } = {},
): { domain: Domain; port: DomainPort } {
  const vcpus = options.vcpus ?? 1;
  const hvm = options.hvm && { hvm: options.hvm };
  const domain = createDomain(hv, { id: freeDomid(hv) as Domid, isTranslated: true, maxVcpus: vcpus, ...hvm })!;
  for (let i = 0; i < vcpus; i++) createVcpu(hv, domain, i, true);
  for (let g = 0; g < (options.pages ?? 64); g++) domain.p2m.set(g as Gfn, hv.frames.allocForDomain(domain), P2M_TYPES.ram_rw);
  return { domain, port: openDomainPort(hv, domain) };
}

/** A domain with vCPUs that the scheduler runs on scripted CPUs, up and unpaused. */
export function createScriptedDomain(hv: Hypervisor, vcpus = 1): Domain {
  const domain = createDomain(hv, { id: freeDomid(hv) as Domid, maxVcpus: vcpus })!;
  for (let i = 0; i < vcpus; i++) createVcpu(hv, domain, i);
  for (const v of domain.vcpus) {
    v.isInitialised = true;
    v.isDown = false;
  }
  domain.controllerPauseCount = 0;
  unpauseDomain(hv, domain);
  return domain;
}

/** Writes `bytes` (or words of 32 bits) at a guest-physical address of a port's domain and gives the address. */
export function poke(port: DomainPort, at: number, bytes: Uint8Array): number {
  port.page(Math.floor(at / 4096) as Gfn).writeBytes(at % 4096, bytes);
  return at;
}
export const peek = (port: DomainPort, at: number, length: number): Uint8Array =>
  port.page(Math.floor(at / 4096) as Gfn).bytes(at % 4096, length);
