// For specs: a frontend that does at random what frontends can do, made from the declarations of blkif.h: well-formed requests, requests with
// fields replaced by edge values, slots and pages rewritten, indices moved, nodes changed, devices unplugged. What holds whatever it does is
// checked all the time: dom0 throws nothing, the storage is never asked for what it does not have, pages that were not granted stay as they
// are, no request is answered twice, and when the device is gone nothing of the domain's is mapped.
import {
  type AnyCodec,
  BLKIF_OP_DISCARD,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  blkif_request,
  blkif_request_discard,
  blkif_request_indirect,
} from '@ringworld/abi';
import { PlainXen } from '../../kernel/testing/plain-xen.ts';
import { Random } from '../../kernel/testing/random.ts';
import { beginDetach, removeDevice } from '../../toolstack/device.ts';
import { type DataPath, startBlkback } from '../index.ts';
import { type FrontRing, type Segment, TestFrontend } from './frontend.ts';
import { MemoryStore } from './memory-store.ts';

export interface FuzzReport {
  answered: number;
  errors: number;
  shut: number;
  bytes: number;
}

const SECTORS = 512;
const PAGES = 24;
const GUARD = 0xa5;

/** One life of a device. Throws what it finds, with the step in the message. */
export async function fuzzOnce(seed: number, steps: number, report: FuzzReport): Promise<void> {
  const random = new Random(seed);
  const xen = new PlainXen();
  const store = new MemoryStore(SECTORS);
  const data = random.pick<DataPath>(['map', 'copy', 'persistent']);
  const options = {
    data,
    notify: random.pick(['asked', 'each'] as const),
    kickEvery: random.pick([1, 1, 4]),
    maxPersistentGrants: random.pick([100, 1056]),
    maxBytesInFlight: random.pick([8192, 1 << 20]),
  };
  const blkback = startBlkback(xen.dom0, () => store, options);
  const domain = xen.addDomain(1);
  const frontend = {
    abi: random.pick(['x86_64', 'x86_32'] as const),
    pageOrder: random.below(3),
    queues: random.pick([1, 1, 2, 4]),
    persistent: random.chance(50),
  };
  const front = new TestFrontend(xen, domain, frontend).connect();
  const pages = Array.from({ length: PAGES }, () => new Uint8Array(4096));
  const refs = pages.map((p) => domain.grant(p));
  // Read-only, of another domain, and never granted at all.
  const guarded = Array.from({ length: 3 }, () => new Uint8Array(4096).fill(GUARD));
  refs.push(domain.grant(guarded[0]!, { readonly: true }), domain.grant(guarded[1]!, { to: 3 }), 0, 0xffffffff, 12345678);
  let id = 0;
  let rude = false;

  const segments = (max: number): Segment[] =>
    Array.from({ length: 1 + random.below(max) }, () => {
      const first = random.below(8);
      const isWild = random.chance(3);
      return {
        ref: random.chance(95) ? refs[random.below(PAGES)]! : random.pick(refs),
        first,
        last: isWild ? random.below(256) : first + random.below(8 - first),
      };
    });
  const sector = () => (random.chance(90) ? random.below(SECTORS) : random.pick([SECTORS, SECTORS - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 31]));
  const put = (ring: FrontRing) => {
    switch (random.below(8)) {
      case 0:
        return ring.putDiscard(++id, sector(), random.pick([0, 1, 8, SECTORS, 2 ** 40]), random.below(2));
      case 1:
      case 2:
        ring.putIndirect(
          random.chance(95) ? random.below(2) : random.below(8),
          ++id,
          sector(),
          segments(40),
          random.chance(95) ? undefined : random.below(65536),
        );
        return;
      case 3:
        return ring.put(random.below(8), ++id, sector(), random.chance(50) ? [] : segments(3));
      case 4:
        return mutate(ring);
      default:
        return ring.put(random.pick([BLKIF_OP_READ, BLKIF_OP_WRITE]), ++id, sector(), segments(11));
    }
  };
  /** A request of random fields, by its declaration. */
  const mutate = (ring: FrontRing) => {
    const struct = random.pick([blkif_request, blkif_request_discard, blkif_request_indirect]);
    const bytes = new Uint8Array(struct.size(ring.abi));
    const view = new DataView(bytes.buffer);
    for (const [name, codec] of Object.entries<AnyCodec>(struct.fields)) {
      const at = struct.offset(name as never, ring.abi);
      const value = random.pick([0, 1, 7, 8, 11, 12, 0x7f, 0x80, 0xff, random.next()]);
      for (let i = 0; i < codec.size(ring.abi); i++) view.setUint8(at + i, random.chance(50) ? (value >>> ((i & 3) * 8)) & 0xff : 0);
    }
    bytes[0] = random.pick([0, 1, 2, 3, 4, BLKIF_OP_DISCARD, BLKIF_OP_INDIRECT, 7, 255]);
    // Its id is whatever came out: answers to it are not followed.
    ring.poke(ring.reqProd, bytes);
    ring.reqProd = (ring.reqProd + 1) >>> 0;
  };
  const room = (ring: FrontRing) => ring.slots - ((ring.reqProd - ring.rspCons) >>> 0);
  const check = (step: number, what: string) => {
    const found: string[] = [];
    for (const v of store.violations) found.push(`storage asked for ${v}`);
    for (const g of guarded) if (g.some((b) => b !== GUARD)) found.push('a page that was not granted was written to');
    for (const ring of front.rings) {
      const ahead = (ring.rspCons - ring.reqProd) | 0;
      if (!rude && ahead > 0) found.push(`${ahead} answers more than requests`);
    }
    if (found.length > 0) throw new Error(`seed ${seed}, step ${step} (${what}): ${found.join('; ')}`);
  };

  for (let step = 0; step < steps && front.backState === 4; step++) {
    const ring = random.pick(front.rings);
    let what = 'request';
    const dice = random.below(1000);
    if (dice < 700) {
      for (let n = Math.min(room(ring), 1 + random.below(8)); n > 0; n--) put(ring);
      ring.push();
      if (random.chance(20)) ring.kick();
    } else if (dice < 850) {
      what = 'run';
      store.isAsync = random.chance(30);
      store.error = random.chance(5) ? new Error('EIO') : null;
      if (random.chance(70)) await xen.run();
      else xen.runUntilIdle(xen.now + random.below(3000));
    } else if (dice < 900) {
      what = 'rewrite';
      const bytes = Uint8Array.from({ length: 100 }, () => random.next());
      if (random.chance(50)) ring.poke(random.next(), bytes);
      else random.pick(pages).set(bytes, random.below(3000));
      // A slot that is published and not taken may now have any id.
      rude = true;
    } else if (dice < 930) {
      what = 'rsp_event';
      ring.setIndex('rsp_event', random.next());
      ring.kick();
      ring.take();
    } else if (dice < 960) {
      what = 'node';
      const key = random.pick(['ring-ref', 'event-channel', 'protocol', 'feature-persistent', 'multi-queue-num-queues']);
      xen.dom0.xs.write(`${front.front}/${key}`, random.pick(['', '0', '99999999999', 'x', '-1']));
    } else if (dice < 975) {
      what = 'resize';
      store.resize(random.chance(50) ? SECTORS : SECTORS * 2);
    } else if (dice < 985) {
      what = 'restart';
      blkback.restart({ ...options, data: random.pick<DataPath>(['map', 'copy', 'persistent']) });
    } else if (dice < 992) {
      what = 'indices';
      rude = true;
      ring.setIndex(
        random.pick(['req_prod', 'rsp_prod', 'req_event']),
        random.chance(50) ? random.next() : ring.reqProd + random.below(80) - 40,
      );
      ring.kick();
    } else if (dice < 996) {
      what = 'wipe';
      rude = true;
      random.pick(ring.pages).fill(random.below(256));
      ring.kick();
    } else {
      what = 'unplug';
      beginDetach(xen.dom0.xs, 1, 'vbd', front.devid);
      front.setState(random.pick([5, 6, 1]));
    }
    try {
      xen.runUntilIdle(xen.now);
    } catch (e) {
      throw new Error(`seed ${seed}, step ${step} (${what})`, { cause: e });
    }
    check(step, what);
  }
  store.error = null;
  await xen.run();
  if (front.backState !== 4) report.shut++;
  else if (!rude) {
    // Every well-formed life ends with every request answered.
    for (const ring of front.rings) {
      ring.kick();
      await xen.run();
      ring.take();
      if (ring.rspCons !== ring.reqProd) throw new Error(`seed ${seed}: ${(ring.reqProd - ring.rspCons) >>> 0} requests were not answered`);
    }
  }
  for (const ring of front.rings) {
    report.answered += ring.answers.length;
    report.errors += ring.answers.filter((a) => a.status !== 0).length;
  }
  report.bytes += store.log.length;
  removeDevice(xen.dom0.xs, 1, 'vbd', front.devid);
  await xen.run();
  check(steps, 'end');
  if (domain.pins > 0) throw new Error(`seed ${seed}: ${domain.pins} grants are still mapped`);
  if (!store.isClosed) throw new Error(`seed ${seed}: the storage is still open`);
}
