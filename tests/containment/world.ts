// A machine with a hypervisor, a dom0, and puppets (puppet-kernel.ts): guests that the test tells what to do. Whatever a puppet did, the
// hypervisor's frame table is audited before the test learns of it.
import { domid, XEN_DOMCTL_destroydomain, XEN_DOMCTL_unpausedomain } from '@ringworld/abi';
import { buildPvDomain, decompressorsWith, gzipNode, Hypercalls, Privcmd } from '@ringworld/dom0';
import { type Assembler, assembler, Image, type Mode } from '@ringworld/guests';
import {
  auditHypervisor,
  createDom0,
  createHypervisor,
  createMachine,
  type Domain,
  type Hypervisor,
  type Maddr,
  type Mfn,
  type Vcpu,
} from '@ringworld/hypervisor';
import { type Bits, buildPuppet, emitHypercall, NO_TRAP, type PuppetKernel, SPARE_PAGES } from './puppet-kernel.ts';

const DOM0_PAGES = 512;
const SLICE = 20_000;
const MAX_SLICES = 2000;
const MEMORY_MIB = 4;
const NAMES: Readonly<Record<number, string>> = {
  0: '#DE',
  1: '#DB',
  3: '#BP',
  6: '#UD',
  10: '#TS',
  11: '#NP',
  12: '#SS',
  13: '#GP',
  14: '#PF',
};

/** Index into the table of a level, 1 to 4. */
const slotOf = (lin: number, level: number): number => Math.floor((lin < 0 ? lin + 2 ** 48 : lin) / 2 ** (9 * level + 3)) % 512;

/** What came of an act: a result register, "#GP(0)" for a trap that the guest got, or "crash". */
export type Answer = number | string;

export class World {
  readonly hv: Hypervisor;
  readonly privcmd: Privcmd;

  constructor(cpus = 2, mib = 64) {
    const machine = createMachine({ ramBytes: mib << 20, cpus });
    this.hv = createHypervisor({ machine });
    const { port } = createDom0(this.hv, { pages: DOM0_PAGES });
    this.privcmd = new Privcmd(new Hypercalls(port, DOM0_PAGES));
  }

  /** A fresh puppet, started and waiting for orders. */
  puppet(bits: Bits): Puppet {
    const kernel = buildPuppet(bits);
    const spec = { kernel: { file: 'puppet', bytes: kernel.elf }, cmdline: '', memoryMiB: MEMORY_MIB, vcpus: 2, uuid: new Uint8Array(16) };
    const built = buildPvDomain(this.privcmd, spec, decompressorsWith(gzipNode));
    this.privcmd.domctl(XEN_DOMCTL_unpausedomain, built.domid);
    return new Puppet(this, bits, kernel, built.domid);
  }

  destroy(p: Puppet): void {
    this.privcmd.domctl(XEN_DOMCTL_destroydomain, domid(p.domain.id));
  }

  runFor(cycles: number): void {
    this.hv.run({ untilCycles: this.hv.cycles() + cycles });
  }

  /** Throws when the frame table does not agree with what is there. */
  audit(): void {
    const wrong = auditHypervisor(this.hv);
    if (wrong.length > 0) throw new Error(`frame table audit:\n${wrong.join('\n')}`);
  }
}

export class Puppet {
  readonly world: World;
  readonly bits: Bits;
  readonly domain: Domain;
  private readonly kernel: PuppetKernel;
  private readonly labels = new Map<string, number>();
  private nextSpare = 0;
  private orders = 0;

  constructor(world: World, bits: Bits, kernel: PuppetKernel, id: number) {
    this.world = world;
    this.bits = bits;
    this.kernel = kernel;
    this.domain = world.hv.domain(id)!;
  }

  get vcpu(): Vcpu {
    return this.domain.vcpus[0]!;
  }
  get isAlive(): boolean {
    return !this.domain.isShuttingDown;
  }

  /** Address of a label of the kernel, as hypercalls and page walks take it: signed in a 64-bit guest. */
  address(label: string): number {
    let known = this.labels.get(label);
    if (known === undefined) {
      const address = this.kernel.linked.address(label);
      known = Number(this.bits === 64 ? BigInt.asIntN(64, address) : address);
      this.labels.set(label, known);
    }
    return known;
  }
  /** A page that nobody has used yet; `count` of them in a row. */
  page(count = 1): number {
    if (this.nextSpare + count > SPARE_PAGES) throw new Error('the puppet has no spare page left');
    const at = this.address('spare') + this.nextSpare * 4096;
    this.nextSpare += count;
    return at;
  }
  maddr(lin: number): Maddr {
    const at = this.vcpu.guest.translate(lin, false);
    if (at === -1) throw new Error(`nothing is mapped at ${lin.toString(16)}`);
    return at;
  }
  mfn(lin: number): Mfn {
    return Math.floor(this.maddr(lin) / 4096) as Mfn;
  }
  /** Machine address of the L1 entry that maps `lin`. */
  l1e(lin: number): Maddr {
    let table: number = this.vcpu.pv.guestTable;
    for (let level = this.bits === 64 ? 4 : 3; level > 1; level--) {
      const entry = this.entry((table * 4096 + slotOf(lin, level) * 8) as Maddr);
      if (!(entry & 1n)) throw new Error(`no L1 table for ${lin.toString(16)}`);
      table = Number((entry >> 12n) & 0xff_ffff_ffffn);
    }
    return (table * 4096 + slotOf(lin, 1) * 8) as Maddr;
  }
  entry(at: Maddr): bigint {
    const { ram } = this.world.hv;
    return BigInt(ram.read32(at) >>> 0) | (BigInt(ram.read32((at + 4) as Maddr) >>> 0) << 32n);
  }

  /** Puts bytes, or 64-bit words, into the guest's memory, past its page tables' permissions; gives the address. */
  put(lin: number, data: Uint8Array | readonly (number | bigint)[]): number {
    const bytes =
      data instanceof Uint8Array ? data : new Uint8Array(BigUint64Array.from(data, (v) => BigInt.asUintN(64, BigInt(v))).buffer);
    for (let i = 0; i < bytes.length; i++) this.world.hv.ram.write8(this.maddr(lin + i), bytes[i]!);
    return lin;
  }
  read32(lin: number): number {
    return this.world.hv.ram.read32(this.maddr(lin)) >>> 0;
  }
  read64(lin: number): bigint {
    return this.entry(this.maddr(lin));
  }

  /** Makes the guest execute code, which may end with a value in its accumulator. */
  exec(build: (a: Assembler<Mode>) => void): Answer {
    this.prepare(build);
    return this.obey();
  }
  /** Lets the guest begin something that it will not end. */
  start(build: (a: Assembler<Mode>) => void): void {
    this.prepare(build);
    this.world.hv.ram.write32(this.maddr(this.address('order')), ++this.orders);
  }
  private prepare(build: (a: Assembler<Mode>) => void): void {
    const image = new Image();
    const a: Assembler<Mode> = assembler<Mode>(image, this.bits);
    image.section('.text', { align: 4096 });
    build(a);
    a.ret();
    const linked = image.link(BigInt.asUintN(this.bits, BigInt(this.address('act'))));
    const { bytes } = linked.sections[0]!;
    this.put(this.address('act'), bytes);
  }
  /** Makes the guest execute these bytes. */
  code(...bytes: number[]): Answer {
    return this.exec((a) => a.db(...bytes));
  }
  /** Makes the guest do a hypercall. */
  call(nr: number | bigint, ...args: (number | bigint)[]): Answer {
    return this.exec((a) => emitHypercall(a, this.bits, nr, args));
  }

  /** Lets the order in the act page be carried out. */
  private obey(): Answer {
    const { world } = this;
    const { ram } = world.hv;
    const [order, done] = [this.maddr(this.address('order')), this.maddr(this.address('done'))];
    const [result, trap, error] = ['result', 'trap', 'error'].map((l) => this.maddr(this.address(l)));
    ram.write32(order, ++this.orders);
    for (let i = 0; this.isAlive && ram.read32(done) !== this.orders; i++) {
      if (i === MAX_SLICES) throw new Error('the puppet neither answers nor dies');
      world.runFor(SLICE);
    }
    world.audit();
    if (!this.isAlive) return 'crash';
    const vector = ram.read32(trap!) >>> 0;
    if (vector !== NO_TRAP) return `${NAMES[vector] ?? `#${vector}`}(${(ram.read32(error!) >>> 0).toString(16)})`;
    if (this.bits === 32) return ram.read32(result!) | 0;
    return Number(BigInt.asIntN(64, this.entry(result!)));
  }
}
