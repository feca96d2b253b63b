// The block rows: one switch of the backend (and of the frontend where it takes two) at a time, everything else as Linux has it.
import {
  type BlkbackOptions,
  type BlockStore,
  type CpuProfile,
  DEFAULT_PROFILE,
  type LatencyModel,
  latencyModel,
  startBlkback,
} from '@ringworld/dom0';
import { BlockFront, type BlockFrontOptions, type BlockJob, stampOf } from './block-front.ts';
import { type Choice, type Measured, measure, measureRows, type Row } from './measure.ts';
import { BenchWorld } from './world.ts';

const DISK_PAGES = 1 << 16;
const PAGE = 4096;

/** Storage behind a network: 1 ms for everything, as much at once as one likes. What is under way is then all that counts. */
const ARRAY_NS = 1_000_000;
const ARRAY: LatencyModel = { name: 'array', read: () => ARRAY_NS, write: () => ARRAY_NS, flush: () => ARRAY_NS, discard: () => ARRAY_NS };

/** A disk that holds a stamp in each page; writes are kept, which of themselves change nothing. */
export function stampedDisk(model: string): BlockStore {
  const sectors = DISK_PAGES * 8;
  const latency = model === 'array' ? ARRAY : latencyModel(model, sectors);
  if (latency === null) throw new Error(`no latency model ${model}`);
  return {
    ...{ sectors, sectorSize: 512, isReadonly: false, canDiscard: false, discardGranularity: 0, canDiscardSecurely: false, latency },
    onResize: null,
    read: (sector, into) => {
      const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
      for (let at = 0; at < into.length; at += PAGE) view.setUint32(at, stampOf((sector * 512 + at) / PAGE), true);
    },
    write: (sector, from) => {
      const view = new DataView(from.buffer, from.byteOffset, from.byteLength);
      for (let at = 0; at < from.length; at += PAGE)
        if (view.getUint32(at, true) !== stampOf((sector * 512 + at) / PAGE)) throw new Error(`sector ${sector} was written wrong`);
    },
    flush: () => {},
    discard: () => {},
    close: () => {},
  };
}

interface BlockRow extends Row {
  readonly back?: Partial<BlkbackOptions>;
  readonly front?: Partial<BlockFrontOptions>;
  readonly job: Partial<BlockJob>;
  readonly model?: string;
}

const LINUX_FRONT: BlockFrontOptions = { pageOrder: 0, queues: 1, persistent: false, kick: 'asked', wakeEvery: 1 };
const RANDOM_READ = { op: 'read', pattern: 'random', segments: 1, depth: 32 } as const;
const WORKLOADS: readonly { readonly workload: string; readonly job: Partial<BlockJob> }[] = [
  { workload: '4 KiB random read, 32 deep', job: RANDOM_READ },
  { workload: '4 KiB random write, 32 deep', job: { ...RANDOM_READ, op: 'write' } },
  { workload: '44 KiB sequential read, 32 deep', job: { ...RANDOM_READ, pattern: 'sequential', segments: 11 } },
];

const DATA_PATHS = [
  { name: 'grant copy', back: { data: 'copy' } },
  { name: 'map each request', back: { data: 'map' } },
  { name: 'persistent grants', back: { data: 'persistent' }, front: { persistent: true } },
] as const;

const NOTIFICATIONS: readonly Omit<BlockRow, 'group' | 'workload' | 'job'>[] = [
  { name: 'an event for each', back: { notify: 'each' }, front: { kick: 'each' } },
  { name: 'as req_event, rsp_event ask', back: { notify: 'asked' } },
  { name: 'asked for every 8th', back: { notify: 'asked', kickEvery: 8 }, front: { wakeEvery: 8 } },
];

/** Order 6 is 64 pages: what the patch that brought multi-page rings to blkback was measured with. */
const RING_ORDERS = [0, 1, 2, 4, 6] as const;

function rows(): BlockRow[] {
  const paths = WORKLOADS.flatMap((w) => DATA_PATHS.map((p) => ({ group: 'data path', ...w, ...p })));
  const notes = NOTIFICATIONS.map((n) => ({ group: 'notification', workload: WORKLOADS[0]!.workload, job: RANDOM_READ, ...n }));
  // Where many answers are ready at once batching shows most.
  const ideal = NOTIFICATIONS.map((n) => ({
    ...{ group: 'notification', workload: '4 KiB random read, 32 deep, a disk that takes no time', job: RANDOM_READ, model: 'ideal' },
    ...n,
  }));
  const rings = RING_ORDERS.map((order) => ({
    group: 'ring size',
    name: `${1 << order} page${order === 0 ? '' : 's'}`,
    workload: '4 KiB random read, as deep as the ring (1024 at most), an array 1 ms away',
    model: 'array',
    back: { maxRingPageOrder: order },
    front: { pageOrder: order },
    job: { ...RANDOM_READ, depth: 1024 },
  }));
  const queues = [1, 2, 4].map((n) => ({
    group: 'queues',
    name: `${n} queue${n === 1 ? '' : 's'}`,
    workload: '4 KiB random read, each ring full',
    back: { maxQueues: n },
    front: { queues: n },
    job: { ...RANDOM_READ, depth: 32 * n },
  }));
  return [...paths, ...notes, ...ideal, ...rings, ...queues];
}

export function blockChoices(
  requests: number,
  wanted: (choice: Choice) => boolean = () => true,
  profile: CpuProfile = DEFAULT_PROFILE,
): Measured[] {
  return measureRows('block', rows(), wanted, (row, choice) => runRow(row, choice, requests, profile));
}

function runRow(row: BlockRow, choice: Choice, requests: number, profile: CpuProfile): Measured {
  const world = new BenchWorld();
  startBlkback(world.dom0, () => stampedDisk(row.model ?? 'nvme'), { data: 'copy', ...row.back });
  const front = new BlockFront(world, { ...LINUX_FRONT, ...row.front });
  const job: BlockJob = { ...RANDOM_READ, requests, diskPages: DISK_PAGES, ...row.job };
  // Where a ring is filled, it is to be filled more than once.
  const whole = {
    ...job,
    requests: Math.max(requests, 4 * Math.min(job.depth, 32 << (row.front?.pageOrder ?? 0)) * (row.front?.queues ?? 1)),
  };
  return measure(
    choice,
    () => world.now(),
    world.dom0.observer,
    front.work,
    () => front.run(whole),
    profile,
  );
}
