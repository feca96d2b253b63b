// For fuzzers: a daemon with rings, guests that do anything to theirs, a dom0 that asks at random, domains that die and come back; and one
// guest that behaves, and must be answered whatever the others do. The same seed gives the same storm.
import {
  xenstore_domain_interface as layout,
  XENSTORE_RECONNECT,
  XS_INTRODUCE,
  XS_READ,
  XS_RELEASE,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
  xsd_sockmsg,
} from '@ringworld/abi';
import { auditStore } from '../audit.ts';
import { XsClient } from '../client.ts';
import { type Connection, encodeMessage, type Message } from '../connection.ts';
import { RingLink, RingTurns } from '../ring-link.ts';
import { Xenstored } from '../xenstored.ts';
import { MessageMaker, Random } from './messages.ts';
import { Frontend, memoryPage } from './ring.ts';

/** The one that behaves. */
const GOOD = 9;
const WILD = [1, 2, 3, 4];
const INDICES = ['req_prod', 'req_cons', 'rsp_prod', 'rsp_cons'] as const;
const CONTROLS = [
  'help',
  'quota',
  'quota\x001',
  'check',
  'memreport',
  'print\0x',
  'quota\0set\0watches\x0020',
  'quota\0set\0nodes\x00200',
  'what',
];

interface Guest {
  readonly front: Frontend;
  readonly link: RingLink;
  /** What did not fit the ring yet. */
  unsent: Uint8Array;
}

export class Storm {
  readonly daemon: Xenstored;
  /** How much happened, to see that something did. */
  readonly seen = { requests: 0, errors: 0, events: 0, ignored: 0, deaths: 0, good: 0 };
  private readonly random: Random;
  private readonly maker: MessageMaker;
  private readonly turns = new RingTurns();
  private readonly guests = new Map<number, Guest>();
  private readonly dom0: Connection;
  private readonly existing = new Set([0]);
  private now = 0;
  private timers: { due: number; fn: () => void }[] = [];
  private goodValue = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.maker = new MessageMaker(this.random, [0, ...WILD], CONTROLS, [XS_INTRODUCE, XS_RELEASE]);
    this.daemon = new Xenstored(
      {
        open: (c) => this.open(c),
        close: (c) => {
          const g = this.guests.get(c.domid);
          if (g !== undefined) this.turns.remove(g.link);
          this.guests.delete(c.domid);
        },
        reopen: (c) => this.guests.get(c.domid)?.link.start(),
        domainInfo: (d) => (this.existing.has(d) ? { isShutdown: false, isDying: false } : null),
      },
      {
        clock: {
          now: () => this.now,
          after: (ns, fn) => {
            this.timers.push({ due: this.now + ns, fn });
            return () => {};
          },
        },
      },
    );
    this.daemon.trace = (_, __, ___, reply) => {
      this.seen.requests++;
      if (reply.type === 16) this.seen.errors++;
    };
    this.daemon.traceEvent = () => this.seen.events++;
    this.dom0 = this.daemon.connect(0, () => {});
    // A client of dom0's that asks something whenever it hears something, as backends do.
    const backend = new XsClient(this.daemon);
    backend.watch('/local/domain', (path) => void backend.read(path));
    for (const d of [GOOD, ...WILD]) this.begin(d);
  }

  step(): void {
    const { random } = this;
    if (random.once(12)) this.askAsDom0();
    if (random.once(300)) this.passTime();
    if (random.once(500)) this.end(random.pick(WILD));
    const domid = random.pick(WILD);
    const guest = this.guests.get(domid);
    if (guest === undefined) this.begin(domid);
    else this.misbehave(domid, guest);
    if (random.once(10)) this.behave();
  }

  /** What is wrong; nothing, one hopes. */
  audit(): string[] {
    const wrong = auditStore(this.daemon);
    for (const c of this.daemon.connections.values())
      if (!this.existing.has(c.domid)) wrong.push(`domain ${c.domid} is dead and still connected`);
    for (const [domid, r] of this.daemon.book.domains.records)
      if (domid !== 0 && r.outstanding > 21) wrong.push(`domain ${domid} has ${r.outstanding} requests outstanding`);
    return wrong;
  }

  private open(c: Connection): void {
    const page = memoryPage();
    const link = new RingLink(page, c, this.daemon, () => {});
    this.guests.set(c.domid, { front: new Frontend(page), link, unsent: new Uint8Array(0) });
    this.daemon.setListener(c, () => this.turns.serve(link));
  }

  private begin(domid: number): void {
    this.existing.add(domid);
    this.daemon.introduce(domid, 1);
    for (const path of [`/local/domain/${domid}`, `/local/domain/${domid}/data`]) {
      this.asDom0(XS_WRITE, `${path}\0`);
      this.asDom0(14, `${path}\0n${domid}\0${this.random.once(2) ? 'r3\0' : ''}`);
    }
  }

  private end(domid: number): void {
    if (!this.existing.delete(domid)) return;
    this.seen.deaths++;
    if (this.random.once(2)) this.daemon.release(domid);
    else this.daemon.domainStopped();
  }

  private asDom0(type: number, payload: string, txId = 0): void {
    this.daemon.handle(this.dom0, { type, reqId: 1, txId, payload });
    while (this.daemon.first(this.dom0) !== undefined) this.daemon.take(this.dom0);
  }

  private askAsDom0(): void {
    const { type, payload } = this.maker.make();
    const open = [...this.dom0.transactions.keys()];
    this.asDom0(type, payload, this.random.pick([0, 0, ...open]));
  }

  private passTime(): void {
    this.now += this.random.below(30e9);
    for (const t of this.timers.splice(0)) {
      if (t.due <= this.now) t.fn();
      else this.timers.push(t);
    }
  }

  private misbehave(domid: number, guest: Guest): void {
    const { random } = this;
    const { front, link } = guest;
    const at = (field: Parameters<typeof layout.offset>[0]) => layout.offset(field, 'x86_64');
    const wasIgnored = this.isIgnored(domid);
    switch (random.below(wasIgnored ? 24 : 60)) {
      case 0:
        front.page.setU32(at(random.pick(INDICES)), random.once(2) ? random.below(0xffffffff) : random.below(3000));
        break;
      case 1:
        // A length that is not so, too long or with little behind it.
        this.send(
          guest,
          xsd_sockmsg.encode('x86_64', { type: random.below(30), req_id: 5, tx_id: 0, len: random.pick([4097, 0xffffffff, 4096, 700]) }),
        );
        break;
      case 2:
        this.send(
          guest,
          Uint8Array.from({ length: random.below(200) }, () => random.below(256)),
        );
        break;
      case 3:
        front.page.setU32(at('connection'), random.once(4) ? random.below(5) : XENSTORE_RECONNECT);
        front.reset();
        guest.unsent = new Uint8Array(0);
        break;
      case 4:
        front.page.setU32(at(random.pick(['error', 'server_features'] as const)), random.below(9));
        break;
      case 5:
        // What lies in the ring is written over before it is read.
        front.page.setU8(random.below(1024), random.below(256));
        break;
      default:
        if (guest.unsent.length === 0) this.send(guest, encodeMessage(this.message(domid)));
        else this.send(guest, new Uint8Array(0));
    }
    if (!random.once(4)) this.turns.serve(link);
    // Some take nothing for long.
    if (random.once(domid)) front.take(random.once(3) ? random.below(100) : 2048);
    if (!wasIgnored && this.isIgnored(domid)) this.seen.ignored++;
  }

  private isIgnored(domid: number): boolean {
    return [...this.daemon.connections.values()].some((c) => c.domid === domid && c.isIgnored);
  }

  private message(domid: number): Message {
    const { type, payload } = this.maker.make();
    const own = [...this.daemon.connections.values()].find((c) => c.domid === domid);
    return { type, reqId: 1 + this.random.below(9), txId: this.random.pick([0, 0, ...(own?.transactions.keys() ?? [])]), payload };
  }

  /** In pieces. */
  private send(guest: Guest, bytes: Uint8Array): void {
    const all = new Uint8Array(guest.unsent.length + bytes.length);
    all.set(guest.unsent);
    all.set(bytes, guest.unsent.length);
    const piece = this.random.once(3) ? this.random.below(all.length + 1) : all.length;
    const left = guest.front.put(all.subarray(0, piece)).length;
    guest.unsent = all.slice(piece - left);
  }

  /** Writes, watches, and reads again; each must be answered at once. */
  private behave(): void {
    const guest = this.guests.get(GOOD);
    if (guest === undefined) throw new Error('the guest that behaves is gone');
    const value = String(++this.goodValue);
    for (const [type, payload, answer] of [
      [XS_WRITE, `data/value\0${value}`, 'OK\0'],
      [XS_READ, 'data/value\0', value],
      [XS_WATCH, `data\0${this.goodValue % 100}\0`, null],
    ] as const) {
      guest.front.putMessage({ type, reqId: this.goodValue, payload });
      this.turns.serve(guest.link);
      const got: Message[] = [];
      // A watcher of many tokens gets many events, more than the ring holds.
      for (let i = 0; i < 200; i++) {
        const more = guest.front.take(2048);
        got.push(...more);
        if (more.length === 0) break;
        this.turns.serve(guest.link);
      }
      const reply = got.filter((m) => m.type !== XS_WATCH_EVENT);
      if (reply.length !== 1 || reply[0]?.reqId !== this.goodValue) throw new Error(`${payload}: ${JSON.stringify(got.slice(0, 5))}`);
      if (answer !== null && reply[0].payload !== answer) throw new Error(`${payload}: ${reply[0].payload}`);
    }
    this.seen.good++;
  }
}
