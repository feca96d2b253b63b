// Switches a machine on: emulated PC, hypervisor, dom0 with its services. The one file in dom0 that knows the hypervisor's inside.
import { createDom0, createHypervisor, createMachine, type EngineKind, type Hypervisor, type Machine } from '@ringworld/hypervisor';
import { Dom0 } from '../kernel/dom0.ts';
import { Network } from '../switch/network.ts';
import { gzipNode } from '../toolstack/decompress/gzip-node.ts';
import { decompressorsWith } from '../toolstack/decompress/index.ts';
import { Toolstack } from '../toolstack/lifecycle.ts';
import { type BackendServices, type Backends, noStorage, startBackends } from './backends.ts';
import { hvmServices } from './hvm-domains.ts';
import { backgroundCompiler } from './node-jit.ts';
import { UserError } from './user-error.ts';

export interface Host extends Backends {
  readonly hv: Hypervisor;
  readonly machine: Machine;
  readonly toolstack: Toolstack;
  /** dom0's bridges. */
  readonly network: Network;
}

const DOM0_PAGES = 2048;
/** dom0's RAM, the hypervisor's own tables, grant and event pages of a few domains. */
const FIXED_MIB = 32;
/** Machine memory and the engine's own share one WebAssembly memory of 4 GiB. */
const MAX_RAM_MIB = 3840;

export interface SwitchOnOptions {
  /** What all domains together get. */
  readonly guestMiB: number;
  readonly cpus: number;
  readonly engine?: EngineKind;
  /** CPUID profile of the processors, by name; the machine's default one unless given. */
  readonly profile?: string | undefined;
  readonly commandLine?: string;
  /** The wall clock when the machine is switched on, seconds since 1970; a fixed date unless given. */
  readonly bootEpoch?: number;
  readonly services?: BackendServices;
}

export function switchOn(options: SwitchOnOptions): Host {
  // 1/64: page tables, M2P and per-frame state grow with memory.
  const ramMiB = Math.ceil(options.guestMiB + options.guestMiB / 64 + FIXED_MIB);
  if (ramMiB > MAX_RAM_MIB)
    throw new UserError(
      `the domains ask for ${options.guestMiB} MiB: this machine can have ${MAX_RAM_MIB} MiB in all, its own needs included`,
    );
  const machine = createMachineOrSay(ramMiB, options);
  const hv = createHypervisor({
    machine,
    tscHz: machine.profile.mhz * 1e6,
    ...(options.commandLine === undefined ? {} : { commandLine: options.commandLine }),
    ...(options.bootEpoch === undefined ? {} : { bootEpoch: options.bootEpoch }),
  });
  const { port } = createDom0(hv, { pages: DOM0_PAGES });
  const dom0 = new Dom0(port, DOM0_PAGES);
  const network = new Network(dom0.timers, dom0.observer);
  const backends = startBackends(dom0, network, options.services ?? {});
  const toolstack = new Toolstack(dom0, decompressorsWith(gzipNode));
  toolstack.hvm = hvmServices({
    machine,
    dom0,
    network,
    consoled: toolstack.consoled,
    openStore: options.services?.openStore ?? noStorage,
    epoch: hv.wallclock.sec,
    log: (line) => hv.console.xen(line),
  });
  return { hv, machine, toolstack, network, ...backends };
}

function createMachineOrSay(ramMiB: number, { cpus, profile, engine = 'jit' }: SwitchOnOptions) {
  try {
    const background = engine === 'jit' ? backgroundCompiler() : undefined;
    return createMachine({
      ramBytes: ramMiB * 1024 * 1024,
      cpus,
      engine,
      ...(profile === undefined ? {} : { profile }),
      ...(background === undefined ? {} : { background }),
    });
  } catch (e) {
    if (e instanceof RangeError && e.message.startsWith('CPU profile')) throw new UserError(`cpu_profile: ${e.message}`);
    // What WebAssembly.Memory throws when the host does not give it.
    if (e instanceof RangeError) throw new UserError(`the host has no memory for a machine of ${ramMiB} MiB: ${e.message}`);
    throw e;
  }
}
