// What dom0's work would cost on real CPUs. The backends count units of work (kernel/observe.ts); here each unit has its price, in cycles,
// with a range and a source, so that one run gives low, nominal and high columns for each CPU. There is no default: a unit without a price
// does not compile.
//
// Little of this is in print. `print` means that the nominal figure was published for that very thing; `derived` that it follows from
// published figures by the arithmetic in the text; `estimated` that it is a judgement, and its range says how good a one. Sources are those
// of shared/facts/numbers.md: A1 exits, A3 Xen 2003, A4 xen.git, A5 split drivers.
import type { WorkItem } from '../kernel/observe.ts';

/** CPUs for which print has the cost of entering a hypervisor, oldest first. */
export const CPU_PROFILES = ['p4-672', 'core2', 'nehalem', 'sandy-bridge-en', 'skylake-sp'] as const;
export type CpuProfile = (typeof CPU_PROFILES)[number];
export const DEFAULT_PROFILE: CpuProfile = 'skylake-sp';

export const COLUMNS = ['low', 'nominal', 'high'] as const;
export type Column = (typeof COLUMNS)[number];

export interface Cycles {
  readonly low: number;
  readonly nominal: number;
  readonly high: number;
}

export interface Price {
  readonly basis: 'print' | 'derived' | 'estimated';
  /** Where the figure is from, or how it was come by. */
  readonly source: string;
  /** On every CPU that has no row of its own. */
  readonly cycles: Cycles;
  /** Where print tells CPUs apart. */
  readonly profiles?: Readonly<Partial<Record<CpuProfile, Cycles & { readonly source: string }>>>;
}

const cycles = (low: number, nominal: number, high: number): Cycles => ({ low, nominal, high });

/** All prices are for one unit. Nothing is counted twice: what a hypercall does is priced beside the hypercall itself. */
export const WORK_PRICES = {
  hypercall: {
    basis: 'print',
    source:
      'A1: dom0 is an auto-translated domain, so a hypercall is a VM exit and an entry. Xen on Xeon E5-2450: 1228 for the null hypercall (Dall ISCA 2016 by memory; 1300 and 1437 on KVM as quoted)',
    cycles: cycles(676, 1300, 4864),
    profiles: {
      'p4-672': { ...cycles(4340, 4840, 6510), source: 'A1: 2409 entry + 1931 exit; a null handler 500 more, at most half as much again' },
      core2: { ...cycles(2123, 2400, 3300), source: 'A1: 937 + 1186; handler as above' },
      nehalem: { ...cycles(1009, 2000, 2400), source: 'A1: round trip 1009 (ATC 2012 by memory), 2000 direct (SplitX)' },
      'sandy-bridge-en': { ...cycles(1228, 1300, 1437), source: 'A1: Xen 1228 by memory, KVM 1300 and 1437 as quoted' },
      'skylake-sp': { ...cycles(676, 1000, 3864), source: 'A1: 676 for the bare pair, 3864 for VMCALL with mitigations; a small handler' },
    },
  },
  upcall: {
    basis: 'derived',
    source:
      'A1: an interrupt is delivered to dom0 and completed: vIRQ completion 1464 (Xen) to 1556 (KVM); low: NMI delivery 550; high: IPI 3102',
    cycles: cycles(550, 1500, 3102),
  },
  evtchn_send: {
    basis: 'derived',
    source:
      'A9 has no figure. A1: a virtual IPI under Xen, 5562, less the hypercall (1228) and the delivery at the other end (1464), leaves 2870 for sending; low: notify 560',
    cycles: cycles(560, 1900, 2870),
  },
  grant_map: {
    basis: 'derived',
    source:
      'A9 has no figure. A5, gref mappings, bulk over 2 queues at 2.3 GHz: 14.5 to 28 Gb/s is 10400 to 5400 cycles a page, so map, unmap and flush are 5000 together; three tenths to the map, which flushes nothing',
    cycles: cycles(600, 1500, 3000),
  },
  grant_unmap: {
    basis: 'derived',
    source:
      'The other seven tenths of the 5000 above: "unmap = TLB flush of all backend vCPUs" (A5). Low: one flush for a batch; high: a shootdown IPI each (A1, 5562)',
    cycles: cycles(1000, 3500, 5562),
  },
  grant_copy: {
    basis: 'derived',
    source:
      'A5, gref mappings, 64-byte packets at 2.3 GHz: TX 1.24 to 3.6 Mpps is 1855 to 639 cycles a packet, 1216 fewer without the copy operation; RX 1.02 to 2.04 Mpps, 1128 fewer. The bytes are priced apart',
    cycles: cycles(300, 1100, 1216),
  },
  grant_transfer: {
    basis: 'derived',
    source:
      'A9 has no figure. A page leaves one address space, with a flush, and enters another: a map and an unmap together. That it lost against copying (A4, e1811a4877) says that it costs more than a copy of 1.5 KiB',
    cycles: cycles(1800, 5000, 8562),
  },
  byte_copied: {
    basis: 'estimated',
    source:
      'No figure in print here. 16 bytes a cycle from the first-level cache; 8 to 10 GB/s from memory at 2.3 GHz; high: 4 GB/s with both sides cold',
    cycles: cycles(0.0625, 0.25, 0.6),
  },
  byte_checksummed: {
    basis: 'estimated',
    source: 'No figure in print here. One addition for 8 bytes, read from cache; high: read from memory',
    cycles: cycles(0.1, 0.2, 0.4),
  },
  request: {
    basis: 'derived',
    source:
      "A5, gref mappings: 639 cycles a packet are left when no grant operation is (3.6 Mpps at 2.3 GHz), for the request, the way through the bridge and the response; 250 to the request's copy, checks and buffers",
    cycles: cycles(100, 250, 639),
  },
  response: {
    basis: 'derived',
    source: 'A5: a share of 100 of the 639 cycles of `request`: one slot written, one index published',
    cycles: cycles(40, 100, 250),
  },
  xenstore_message: {
    basis: 'derived',
    source: 'A3: two context switches to the daemon and back, 2 x 2880 under Xen, and as much again for parsing, tree and reply',
    cycles: cycles(5760, 12000, 60000),
  },
  host_io: {
    basis: 'estimated',
    source:
      'No figure in print here. Submission and completion of one block request in a host kernel: 0.5 to 1 M IOPS a core at 2.3 GHz; high: with a thread woken',
    cycles: cycles(2300, 4600, 15000),
  },
  packet_switched: {
    basis: 'derived',
    source:
      'A5: the remaining 289 of the 639 cycles of `request`; high: a bridge with look-up and netfilter hooks, as single-threaded netback at 3.6 Gb/s shows',
    cycles: cycles(150, 289, 1500),
  },
} as const satisfies Record<WorkItem, Price>;

/** Amounts of work, as Observer.work has them. */
export type Work = Readonly<Record<WorkItem, number>>;

export const WORK_ITEMS = Object.keys(WORK_PRICES) as readonly WorkItem[];

/** What one unit costs on a CPU. */
export function priceOf(item: WorkItem, profile: CpuProfile = DEFAULT_PROFILE): Cycles {
  const price: Price = WORK_PRICES[item];
  return price.profiles?.[profile] ?? price.cycles;
}

/** Cycles for some work, in all three columns. */
export function costOf(work: Work, profile: CpuProfile = DEFAULT_PROFILE): Cycles {
  const total = (column: Column) => WORK_ITEMS.reduce((sum, item) => sum + work[item] * priceOf(item, profile)[column], 0);
  return cycles(total('low'), total('nominal'), total('high'));
}

/** A copy of the counters, to take the difference from later. */
export const snapshot = (work: Work): Record<WorkItem, number> => ({ ...work });

/** What was done between two snapshots. */
export function workBetween(before: Work, after: Work): Record<WorkItem, number> {
  const done = snapshot(after);
  for (const item of WORK_ITEMS) done[item] -= before[item];
  return done;
}
