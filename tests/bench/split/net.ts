// The network rows: a frontend on a bridge, and at its other port a station that sends and takes packets in bursts, as a card's driver hands
// them over. The wire between has a delay and no rate: how much can be sent is what the ends' work allows.
import { type CpuProfile, DEFAULT_PROFILE, type NetbackOptions, startNetback } from '@ringworld/dom0';
import { type Choice, type Measured, measure, measureRows, type Row, type Run } from './measure.ts';
import { frameOf, GUEST_MAC, NetFront, type NetFrontOptions, STATION_MAC, stampIn } from './net-front.ts';
import { BenchWorld } from './world.ts';

const WIRE_DELAY_NS = 10_000;
/** Between two bursts: longer than the wire, so that each burst stands alone. */
const INTERVAL_NS = 50_000;

interface NetJob {
  readonly direction: 'tx' | 'rx';
  readonly size: number;
  readonly burst: number;
}

interface NetRow extends Row {
  readonly job: NetJob;
  readonly back?: Partial<NetbackOptions>;
  readonly front?: Partial<NetFrontOptions>;
}

const LINUX_FRONT: NetFrontOptions = { queues: 1, rx: 'copy', staticGrants: false, kick: 'asked', rxBuffers: 256 };
const SIZES = [64, 1514] as const;
const STATIC = { back: { staticGrants: 1024 }, front: { staticGrants: true, rxBuffers: 200 } } as const;

function rows(): NetRow[] {
  const workload = (job: NetJob) => `${job.direction}, ${job.size} B, bursts of ${job.burst}`;
  const row = (group: string, name: string, job: NetJob, rest: Pick<NetRow, 'back' | 'front'> = {}): NetRow => ({
    ...{ group, name, workload: workload(job), job },
    ...rest,
  });
  const paths = SIZES.flatMap((size) => {
    const tx: NetJob = { direction: 'tx', size, burst: 16 };
    const rx: NetJob = { direction: 'rx', size, burst: 16 };
    return [
      row('data path', 'grant copy', tx),
      row('data path', 'map each packet', tx, { back: { tx: 'map' } }),
      row('data path', 'static grants', tx, STATIC),
      row('data path', 'grant copy', rx),
      row('data path', 'page flip', rx, { back: { rx: 'flip' }, front: { rx: 'flip' } }),
      row('data path', 'static grants', rx, STATIC),
    ];
  });
  const notes = (['tx', 'rx'] as const).flatMap((direction) => {
    const job: NetJob = { direction, size: 1514, burst: 16 };
    return [
      row('notification', 'an event for each', job, { back: { notify: 'each' }, front: { kick: 'each' } }),
      row('notification', 'as req_event, rsp_event ask', job),
    ];
  });
  const buffers = [16, 64, 256].map((rxBuffers) =>
    row('ring size', `${rxBuffers} buffers posted`, { direction: 'rx', size: 1514, burst: 128 }, { front: { rxBuffers } }),
  );
  const queues = [1, 2, 4].map((n) =>
    row('queues', `${n} queue${n === 1 ? '' : 's'}`, { direction: 'tx', size: 64, burst: 64 }, { front: { queues: n } }),
  );
  return [...paths, ...notes, ...buffers, ...queues];
}

export function netChoices(
  packets: number,
  wanted: (choice: Choice) => boolean = () => true,
  profile: CpuProfile = DEFAULT_PROFILE,
): Measured[] {
  return measureRows('net', rows(), wanted, (row, choice) => runRow(row, choice, packets, profile));
}

function runRow(row: NetRow, choice: Choice, packets: number, profile: CpuProfile): Measured {
  const world = new BenchWorld();
  world.network.setWire('*', { bitsPerSecond: null, delayNs: WIRE_DELAY_NS, limit: 4096 });
  startNetback(world.dom0, world.network.attach, row.back);
  const front = new NetFront(world, { ...LINUX_FRONT, ...row.front });
  return measure(
    choice,
    () => world.now(),
    world.dom0.observer,
    front.work,
    () => run(world, front, row.job, packets),
    profile,
  );
}

function run(world: BenchWorld, front: NetFront, job: NetJob, packets: number): Run {
  const latenciesNs: number[] = [];
  let arrived = 0;
  const took = (bytes: Uint8Array) => {
    const { number, at } = stampIn(bytes);
    if (bytes.length !== job.size || number >= packets) throw new Error(`packet ${number} of ${bytes.length} bytes came`);
    latenciesNs.push(world.now() - at);
    arrived++;
  };
  const all = { gso4: true, gso6: true, csum4: true, csum6: true, wantsMulticast: () => true, maxFrame: 65535 };
  const station = world.network.attach(
    'xenbr0',
    {
      accepts: all,
      flush: () => {},
      receive: (packet) => {
        if (job.direction === 'tx') took(packet.bytes);
        return true;
      },
    },
    'station',
  );
  front.onPacket = (bytes) => {
    if (job.direction === 'rx') took(bytes);
  };
  for (let sent = 0; sent < packets; sent += job.burst) {
    const now = world.now();
    const count = Math.min(job.burst, packets - sent);
    const [to, from] = job.direction === 'tx' ? [STATION_MAC, GUEST_MAC] : [GUEST_MAC, STATION_MAC];
    const frames = Array.from({ length: count }, (_, i) => frameOf(to, from, job.size, sent + i, now));
    if (job.direction === 'tx') front.send(frames);
    else {
      for (const bytes of frames) station.transmit({ bytes, csumBlank: false, csumValid: false, gso: null, hash: null });
      station.flush();
    }
    world.letPass(INTERVAL_NS);
  }
  station.close();
  if (arrived !== packets) throw new Error(`${arrived} of ${packets} packets arrived`);
  return { requests: packets, bytes: packets * job.size, latenciesNs };
}
