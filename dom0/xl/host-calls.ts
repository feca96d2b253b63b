// The calls that a host answers: one declaration of arguments and replies, which client and handlers both derive from.
import type { PortStats } from '../switch/port.ts';
import type { CreditParameters, PvControl } from '../toolstack/control.ts';
import type { DomainInfo, VcpuInfo } from '../toolstack/domain-info.ts';
import type { MachineInfo } from '../toolstack/machine-info.ts';
import type { DomainConfig } from '../toolstack/xlcfg.ts';
import type { Guest } from './create-options.ts';

/** A domain as the user named it: an id or a name. */
type Qualifier = string;

export interface DomainStatus extends DomainInfo {
  /** Virtual seconds since it was built. */
  readonly uptime: number;
}

export interface DeviceListing {
  readonly devid: number;
  readonly backendId: number;
  readonly state: number;
  readonly eventChannel: number;
  readonly ringRefs: readonly number[];
  readonly backend: string;
  readonly mac: string;
}

export interface BridgeListing {
  readonly name: string;
  readonly ports: readonly (PortStats & { readonly name: string; readonly addresses: readonly string[] })[];
}

/** A domain's devices and what the backends have counted of them since they came, for `top`. */
export interface DeviceCounts {
  readonly domid: number;
  readonly nets: number;
  readonly vbds: number;
  /** Bytes that the domain sent, and that it was sent. */
  readonly netTx: number;
  readonly netRx: number;
  /** Requests, and sectors of 512 bytes. */
  readonly vbdReads: number;
  readonly vbdWrites: number;
  readonly vbdReadSectors: number;
  readonly vbdWriteSectors: number;
}

export interface HostCalls {
  /** All domains, or one. */
  list: { args: { domain?: Qualifier }; reply: DomainStatus[] };
  domid: { args: { domain: Qualifier }; reply: { domid: number; name: string } };
  config: { args: { domid: number }; reply: DomainConfig | null };
  create: { args: { guest: Guest; paused: boolean }; reply: { domid: number } };
  destroy: { args: { domain: Qualifier }; reply: null };
  pause: { args: { domain: Qualifier }; reply: null };
  unpause: { args: { domain: Qualifier }; reply: null };
  rename: { args: { domain: Qualifier; name: string }; reply: null };
  control: { args: { domain: Qualifier; request: PvControl }; reply: null };
  /** Answers when the domain has shut down, and is gone if its configuration says so. Reason: SHUTDOWN_*, or null if it was destroyed. */
  waitForEnd: { args: { domid: number }; reply: { reason: number | null } };
  /** Events are bytes; takes input; ends with the domain. `num`: 0 is the domain's own console, further ones are its channels. */
  console: { args: { domain: Qualifier; num?: number }; reply: null };
  /** A PNG file. */
  screenshot: { args: { domain: Qualifier; num: number }; reply: Uint8Array };
  /** Pressed in this order, let go in the other. */
  sendKeys: { args: { domain: Qualifier; num: number; codes: number[] }; reply: null };
  sysrq: { args: { domain: Qualifier; letter: string }; reply: null };
  trigger: { args: { domain: Qualifier; trigger: number; vcpu: number }; reply: null };
  setMemory: { args: { domain: Qualifier; kb: number; limit: boolean }; reply: null };
  setVcpus: { args: { domain: Qualifier; count: number; checkHost: boolean }; reply: null };
  vcpus: { args: { domain: Qualifier }; reply: { domid: number; name: string; vcpus: VcpuInfo[]; cpus: number } };
  pin: { args: { domain: Qualifier; vcpu: number | null; cpus: number[] }; reply: null };
  credit: { args: { domain: Qualifier }; reply: CreditParameters };
  setCredit: { args: { domain: Qualifier; weight: number | null; cap: number | null }; reply: null };
  info: { args: Record<string, never>; reply: MachineInfo & { uptime: number; wallclock: number } };
  dmesg: { args: { clear: boolean }; reply: string };
  devices: { args: { domain: Qualifier; type: string }; reply: DeviceListing[] };
  attach: {
    args: { domain: Qualifier; device: { type: string; devid: number; back: Record<string, string>; front: Record<string, string> } };
    reply: null;
  };
  detach: { args: { domain: Qualifier; type: string; devid: number; force: boolean }; reply: { done: boolean } };
  deviceCounts: { args: Record<string, never>; reply: DeviceCounts[] };
  save: { args: { domain: Qualifier; file: string; after: 'destroy' | 'resume' | 'pause' }; reply: { bytes: number } };
  dumpCore: { args: { domain: Qualifier; file: string }; reply: { bytes: number } };
  restore: { args: { file: string; paused: boolean; name: string | null }; reply: { domid: number; name: string } };
  netList: { args: Record<string, never>; reply: BridgeListing[] };
  /** Events are the bytes of a pcapng file; ends when it is taken back. Target: a bridge, DOMAIN/DEVID, or all. */
  netCapture: { args: { target: string | null }; reply: { packets: number; dropped: number } };
  /** Events are pieces of a file of that format; ends when it is taken back. `classes`: the keys; none for all. */
  trace: { args: { format: 'json' | 'txt' | 'msgpack'; classes: Record<string, string> }; reply: { records: number; missed: number } };
  dumpRing: { args: { domain: Qualifier; device: string; history: number | null }; reply: string };
  /** Events are bytes for standard output and lines for standard error; `watch` ends when it is taken back. */
  xenstore: { args: { args: string[]; columns: number | null }; reply: { code: number } };
  stop: { args: Record<string, never>; reply: null };
}

export type CallName = keyof HostCalls;
