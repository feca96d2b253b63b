// A fuzzer of netback: a frontend that does random things, seeded. Requests are made from the declarations of abi/io/netif.ts, field by field,
// mostly plausible and sometimes wild; indices jump, rings are overwritten, the device comes and goes.
import { domid, NETTXF_extra_info, NETTXF_more_data, netif_extra_info, netif_tx_request, sring } from '@ringworld/abi';
import { auditHypervisor } from '@ringworld/hypervisor';
import { Random } from '../../kernel/testing/random.ts';
import type { NetbackOptions } from '../options.ts';
import { type FrontQueue, TestFront } from './netfront.ts';
import { tcpPacket } from './packets.ts';
import { type TestDomain, World } from './world.ts';

const EDGES = [0, 1, 2, 13, 14, 60, 100, 1500, 4082, 4095, 4096, 4097, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];

class Fuzzed {
  readonly front: TestFront;
  private readonly r: Random;
  private readonly grants: number[];

  constructor(world: World, r: Random, domain?: TestDomain, devid = 0) {
    this.r = r;
    this.front = new TestFront(world, { queues: 1 + r.below(3), singleChannel: r.chance(30), ctrl: r.chance(60), devid }, domain);
    this.grants = Array.from({ length: 24 }, () => {
      const { frame, page } = this.front.buffer();
      page.writeBytes(0, tcpPacket({ payload: 1000, v6: r.chance(30), udp: r.chance(20) }));
      return this.front.domain.grant(frame, { readonly: r.chance(20), to: domid(r.chance(5) ? 9 : 0) });
    });
    this.front.connect();
  }

  private gref(): number {
    return this.r.chance(92) ? this.r.pick(this.grants) : this.r.pick([...EDGES, this.r.next()]);
  }
  private small(bits: number): number {
    const mask = 2 ** bits - 1;
    return (this.r.chance(50) ? this.r.pick(EDGES) : this.r.next()) & mask;
  }

  /** One request by its declaration, or its bytes at random. */
  private request(q: FrontQueue, flags: number, size: number): void {
    const { r } = this;
    const wild = r.chance(3);
    const bytes = netif_tx_request.encode('x86_64', {
      // SAFE: numbers that may be no grants are what this is about.
      gref: this.gref() as never,
      offset: wild ? this.small(16) : r.below(3000),
      flags: flags | (wild ? this.small(16) : r.below(4)),
      id: this.small(16),
      size: wild ? this.small(16) : size,
    });
    if (r.chance(1)) for (let i = 0; i < bytes.length; i++) bytes[i] = r.next() & 0xff;
    q.putTx(bytes);
  }

  private packet(q: FrontQueue): void {
    const { r } = this;
    const slots = r.chance(95) ? 1 + r.below(4) : r.below(24);
    const each = 60 + r.below(900);
    const extras = r.chance(30) ? 1 + r.below(3) : 0;
    for (let i = 0; i < slots; i++) {
      const more = i < slots - 1 ? NETTXF_more_data : 0;
      this.request(q, more | (i === 0 && extras > 0 ? NETTXF_extra_info : 0), i === 0 ? each * slots : each);
      if (i > 0) continue;
      for (let k = 0; k < extras; k++) {
        const isWild = r.chance(4);
        q.putTx(
          netif_extra_info.encode('x86_64', {
            type: isWild ? this.small(8) : 1 + r.below(4),
            flags: (k < extras - 1 ? 1 : 0) ^ (isWild ? 1 : 0),
            u: {
              gso: {
                size: isWild ? this.small(16) : 500 + r.below(1000),
                type: isWild ? this.small(8) : 1 + r.below(2),
                pad: 0,
                features: this.small(16),
              },
            },
          }),
        );
      }
    }
  }

  step(): void {
    const { r, front } = this;
    const q = r.pick(front.queues);
    switch (r.below(14)) {
      case 0:
        for (let i = r.below(12); i > 0; i--) q.putRx(this.small(16), this.gref());
        q.kickRx();
        break;
      case 1:
        if (r.chance(6)) q.kickTx(r.chance(50) ? r.pick(EDGES) : q.txProd + r.below(600) - 300);
        break;
      case 2:
        if (r.chance(4)) q.kickRx(r.pick(EDGES));
        break;
      case 3:
        if (r.chance(3)) for (let i = 0; i < 200; i++) r.pick([q.tx, q.rx]).setU8(r.below(4096), r.next() & 0xff);
        break;
      case 4:
        q.tx.setU32(sring.offset('rsp_event', 'x86_64'), r.pick([...EDGES, q.txProd]));
        break;
      case 5:
        if (front.ctrl !== null && front.state === 4) {
          try {
            front.control(
              r.below(13),
              r.chance(50) ? this.gref() : this.small(32),
              this.small(r.pick([4, 8, 32])),
              this.small(r.pick([4, 32])),
            );
          } catch {
            // Closed meanwhile.
          }
        }
        break;
      case 6:
        if (r.chance(20)) front.write(r.pick(['request-multicast-control', 'feature-sg', 'tx-ring-ref', 'rate']), String(this.small(32)));
        break;
      default:
        for (let i = 1 + r.below(6); i > 0; i--) this.packet(q);
        q.kickTx();
    }
    if (r.chance(50)) front.world.run();
    if (r.chance(30)) for (const each of front.queues) each.responses();
    if (front.state !== 4 || r.chance(1)) this.restart();
  }

  /** Leaves and comes back with fresh rings, as a new driver would. */
  private restart(): void {
    const { front, r } = this;
    front.write('state', r.chance(80) ? '6' : '5');
    if (r.chance(80)) front.world.run();
    front.write('state', '6');
    front.write('state', '1');
    front.world.run();
    for (const q of front.queues) {
      for (const page of [q.tx, q.rx]) {
        page.writeBytes(0, new Uint8Array(64));
        page.setU32(sring.offset('req_event', 'x86_64'), 1);
      }
      q.txProd = q.txCons = q.rxProd = q.rxCons = 0;
      q.posted.clear();
    }
    front.reconnect();
  }
}

/** Runs `steps` of a seed. Throws when dom0 did, when the hypervisor's books are wrong, or when two well-behaved interfaces cannot talk. */
export function fuzz(seed: number, steps: number): void {
  const r = new Random(seed);
  const options: Partial<NetbackOptions> = {
    tx: r.chance(20) ? 'map' : 'copy',
    notify: r.chance(20) ? 'each' : 'batch',
    staticGrants: r.chance(40) ? 8 : 0,
    rxQueueBytes: r.pick([10_000, 1 << 20]),
  };
  const world = new World(options);
  const [good, peer] = [new TestFront(world).connect(), new TestFront(world).connect()];
  const domain = world.domain();
  const fuzzed = [new Fuzzed(world, r, domain), new Fuzzed(world, r, domain, 1)];
  for (let i = 0; i < steps; i++) {
    r.pick(fuzzed).step();
    if (i % 50 !== 49) continue;
    peer.queue.post(Math.max(0, 220 - peer.queue.posted.size));
    const { refs } = good.queue.send(tcpPacket({ from: good.domain.id, to: peer.domain.id, payload: i % 1000 }));
    let isThere = false;
    // What the others sent may wait before it.
    for (let turn = 0; turn < 200 && !isThere; turn++) {
      world.run();
      const got = peer.queue.received();
      isThere = got.some((p) => p.bytes.length === 54 + (i % 1000) && p.bytes[11] === good.domain.id);
      if (!isThere && got.length === 0) break;
      peer.queue.post(Math.max(0, 220 - peer.queue.posted.size));
    }
    // With a backlog of 10 kB it may have been dropped.
    if (!isThere && peer.queue.posted.size > 0 && options.rxQueueBytes !== 10_000)
      throw new Error(`seed ${seed}, step ${i}: a packet was lost`);
    good.queue.responses();
    good.reclaim(refs);
  }
  domain.destroy();
  world.run();
  const wrong = auditHypervisor(world.hv);
  if (wrong.length > 0) throw new Error(`seed ${seed}: ${wrong.join('; ')}`);
}
