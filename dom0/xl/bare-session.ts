// One bare machine, from switching on to its end: resets are carried out as the configuration says, what COM1 sends goes to a stream, and
// what is typed goes to COM1.
import { type BoardEnd, createPc, type EngineKind, OverlayBlockStore, type Pc, prepareDirect, startDirect } from '@ringworld/hypervisor';
import { loadBareKernel } from '../toolstack/bare-kernel.ts';
import { gzipNode } from '../toolstack/decompress/gzip-node.ts';
import { decompressorsWith } from '../toolstack/decompress/index.ts';
import type { BareMachine } from './bare-options.ts';
import { FileBlockStore } from './node-disk.ts';
import { backgroundCompiler } from './node-jit.ts';
import type { ConsoleOutput } from './output.ts';
import type { OutsideWorld } from './pump.ts';
import { EXIT, UserError } from './user-error.ts';

/** As a domain's clock starts: 2026-01-01, so that runs repeat. */
const DEFAULT_EPOCH = 1_767_225_600;
/** Slices end at multiples of this, never at a moment of the host's: then the interleaving of CPUs does not depend on the host. */
const SLICE_NS = 500_000;
/** How long Node's event loop may wait for its turn. */
const YIELD_MS = 10;
const MAX_NAP_MS = 200;
/** UART: interrupt enable register, "received data available". */
const IER_RECEIVED = 1;
const SILENCE_NS = 300e6;

export type BareExit = 'poweroff' | 'reboot' | 'crash' | 'exit' | 'timeout' | 'stuck' | 'left';

export interface BareReport {
  readonly name: string;
  readonly exitReason: BareExit;
  /** What the guest wrote to the exit port, as a process would return it. */
  readonly exitCode: number | null;
  readonly crashReason: string | null;
  readonly restarts: number;
  readonly virtualCycles: number;
  readonly virtualSeconds: number;
  readonly hostMs: number;
}

export interface BareSessionOptions {
  readonly machine: BareMachine;
  readonly engine: EngineKind;
  /** Disk images stay as they are: what is written to them is forgotten at the end. */
  readonly keepDisks?: boolean;
  /** performance.now() at which to give up; Infinity for never. */
  readonly deadline: number;
  /** Asked when all CPUs sleep: should idle time take as long as it would, for somebody who watches? */
  readonly pace: () => boolean;
  readonly world: OutsideWorld;
  readonly output: ConsoleOutput;
  readonly note: (line: string) => void;
  /** Gets lines written to the debug ports, where somebody wants them. */
  readonly log: ((line: string) => void) | null;
}

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

export class BareSession {
  readonly pc: Pc;
  private readonly options: BareSessionOptions;
  private sent: number[] = [];
  private typed: Uint8Array[] = [];
  private debugLine = '';
  private restarts = 0;
  private hasLeft = false;

  /** Switches on; throws what the user did wrong. */
  constructor(options: BareSessionOptions) {
    this.options = options;
    this.pc = this.switchOn();
    this.start();
  }

  private switchOn(): Pc {
    const { config, files } = this.options.machine;
    const drives: NonNullable<Parameters<typeof createPc>[0]['drives']>[number][] = [undefined, undefined, undefined, undefined];
    for (const d of config.disks) {
      const store = openDisk(d.file, d.readOnly || d.cdrom || this.options.keepDisks === true);
      drives[d.slot] = { kind: d.cdrom ? 'cdrom' : 'disk', store: this.options.keepDisks ? new OverlayBlockStore(store) : store };
    }
    const background = this.options.engine === 'jit' ? backgroundCompiler() : undefined;
    try {
      return createPc({
        ramBytes: config.memoryMiB * 1024 * 1024,
        cpus: config.vcpus,
        engine: this.options.engine,
        ...(background === undefined ? {} : { background }),
        epoch: config.epoch ?? DEFAULT_EPOCH,
        drives,
        serial: (byte) => void this.sent.push(byte),
        debug: (byte) => this.debug(byte),
        ...(config.cpu === null ? {} : { profile: config.cpu }),
        ...(files.bios === null ? {} : { firmware: files.bios.bytes }),
        ...(files.vgabios === null ? {} : { videoBios: files.vgabios.bytes }),
      });
    } catch (e) {
      if (e instanceof RangeError) throw new UserError(`bare: ${e.message}`);
      throw e;
    }
  }

  /** After RESET: a BIOS starts by itself, a kernel is placed. */
  private start(): void {
    const { config, files } = this.options.machine;
    if (files.kernel === null) return;
    const { memory, rsdp } = prepareDirect(this.pc);
    const load = loadBareKernel(
      { memory, rsdp, vga: true },
      { kernel: files.kernel, ramdisk: files.ramdisk, modules: files.modules, cmdline: config.cmdline },
      config.protocol,
      decompressorsWith(gzipNode),
    );
    startDirect(this.pc, load.segments, load.entry);
  }

  private debug(byte: number): void {
    const { log } = this.options;
    if (log === null) return;
    if (byte === 10) {
      log(this.debugLine);
      this.debugLine = '';
    } else if (byte !== 13) this.debugLine += String.fromCharCode(byte);
  }

  // ------------------------------------------------------------------ the terminal

  type(bytes: Uint8Array): void {
    this.typed.push(bytes);
    this.feed();
  }
  get backlog(): number {
    return this.typed.reduce((n, t) => n + t.length, 0);
  }
  leave(): void {
    this.hasLeft = true;
  }
  /** As much of what was typed as the wire takes. */
  private feed(): void {
    if (!this.listens()) return;
    while (this.typed.length > 0) {
      const first = this.typed[0]!;
      const taken = this.pc.com1.receive(first);
      if (taken < first.length) {
        this.typed[0] = first.subarray(taken);
        return;
      }
      this.typed.shift();
    }
  }
  /**
   * What is typed ahead waits until somebody can be expected to read: a driver that finds its port clears the FIFOs. Once the receiver's
   * interrupt has been enabled, or the machine has been silent for a while (a BIOS or a boot loader polls), bytes come as they are typed.
   */
  private listens(): boolean {
    const { com1, board } = this.pc;
    this.heard ||= (com1.state.ier & IER_RECEIVED) !== 0 || board.timeline.now - this.lastSent > SILENCE_NS;
    return this.heard;
  }
  private heard = false;
  private lastSent = 0;
  private show(): void {
    if (this.sent.length === 0) return;
    this.lastSent = this.pc.board.timeline.now;
    this.options.output.write(Uint8Array.from(this.sent));
    this.sent = [];
  }

  // ------------------------------------------------------------------ running

  async run(): Promise<BareReport> {
    for (;;) {
      const end = await this.pump();
      this.show();
      const report = this.judge(end);
      if (report === undefined) {
        this.restart();
        continue;
      }
      this.options.output.finish();
      return report;
    }
  }

  /** run(), for a caller that counts the cycles: null when the cycle was reached. */
  advance(untilCycle: number): BareReport | 'idle' | null {
    for (;;) {
      const end = this.pc.board.run({ untilCycle });
      this.show();
      this.feed();
      if (end.kind === 'limit') return null;
      if (end.kind === 'idle') return 'idle';
      const report = this.judge(end);
      if (report === undefined) this.restart();
      else {
        this.options.output.finish();
        return report;
      }
    }
  }

  private restart(): void {
    this.pc.board.reset();
    this.options.output.restart();
    this.restarts++;
    this.heard = false;
    this.start();
  }

  /** What an end means; undefined: go on after a reset. */
  judge(end: BoardEnd | BareExit): BareReport | undefined {
    const { machine, note } = this.options;
    const { config } = machine;
    if (typeof end === 'string') {
      if (end === 'timeout') note(`${config.name} did not end in time`);
      if (end === 'stuck') note(`${config.name} sleeps for ever: no timer is set, nothing can be typed`);
      return this.report(end);
    }
    switch (end.kind) {
      case 'off':
        return this.report('poweroff');
      case 'exit':
        return this.report('exit', end.code);
      case 'reset': {
        // A triple fault is how some kernels reboot, and how all of them crash.
        const crashed = end.reason === 'triple fault';
        if ((crashed ? config.onCrash : config.onReboot) === 'restart') {
          note(`${config.name}: ${end.reason}: starting again`);
          return undefined;
        }
        note(`${config.name} ${crashed ? `crashed: ${end.reason}${this.where()}` : `rebooted (${end.reason}): on_reboot ends it`}`);
        return this.report(crashed ? 'crash' : 'reboot');
      }
      default:
        return this.report('stuck');
    }
  }
  private where(): string {
    const { cpus } = this.pc.board.machine;
    return cpus.map((c) => ` (CPU ${c.id} at ${c.rip < 0 ? `-0x${(-c.rip).toString(16)}` : `0x${c.rip.toString(16)}`})`).join('');
  }
  private report(exitReason: BareExit, exitCode: number | null = null): BareReport {
    const { board } = this.pc;
    const crashed = exitReason === 'crash';
    return {
      name: this.options.machine.config.name,
      exitReason,
      exitCode,
      crashReason: crashed ? (this.options.output.lastWords() ?? 'triple fault') : null,
      restarts: this.restarts,
      virtualCycles: board.processors.cycle,
      virtualSeconds: board.timeline.now / 1e9,
      hostMs: Math.round(performance.now()),
    };
  }

  /** In slices, between which the terminal and the clock get their turn. */
  private async pump(): Promise<BoardEnd | BareExit> {
    const { deadline, pace, world, output } = this.options;
    const { board } = this.pc;
    // A machine that resets for ever must not keep the event loop, nor the time limit, from their turn.
    await turn();
    let lastTurn = performance.now();
    if (lastTurn >= deadline) return 'timeout';
    for (;;) {
      const next = board.sleepsUntil;
      const { now } = board.timeline;
      const isPaced = next !== undefined && next > now && pace();
      if (isPaced && Number.isFinite(next)) await this.nap(next);
      // Over idle time in one step.
      const from = next === undefined || isPaced || !Number.isFinite(next) ? board.timeline.now : Math.max(now, next);
      const end = board.run({ untilNs: (Math.floor(from / SLICE_NS) + 1) * SLICE_NS });
      this.show();
      this.feed();
      if (this.hasLeft) return 'left';
      if (end.kind === 'idle') {
        if (!world.canWake()) return 'stuck';
        await world.wait(MAX_NAP_MS);
      } else if (end.kind !== 'limit') return end;
      const host = performance.now();
      if (host >= deadline) return 'timeout';
      if (host - lastTurn >= YIELD_MS || output.room() === 0) {
        await turn();
        lastTurn = performance.now();
      }
    }
  }

  /** Lets real time pass until the next timer or input, and lets as much virtual time pass. */
  private async nap(next: number): Promise<void> {
    const { board } = this.pc;
    const start = performance.now();
    const wanted = (next - board.timeline.now) / 1e6;
    if (wanted < 1) return;
    await this.options.world.wait(Math.min(wanted, MAX_NAP_MS));
    const passed = Math.min(wanted, performance.now() - start);
    board.run({ untilNs: board.timeline.now + Math.floor(passed * 1e6) });
  }
}

function openDisk(file: string, readOnly: boolean): FileBlockStore {
  try {
    return new FileBlockStore(file, readOnly);
  } catch (e) {
    throw new UserError(`${file}: cannot open the disk image: ${e instanceof Error ? e.message : String(e)}`);
  }
}

const CODES: Readonly<Record<Exclude<BareExit, 'exit'>, number>> = {
  poweroff: EXIT.ok,
  left: EXIT.ok,
  crash: EXIT.crash,
  reboot: EXIT.reboot,
  timeout: EXIT.timeout,
  stuck: EXIT.stuck,
};

/** A guest that used the exit port chose its own. */
export const bareExitCode = (r: BareReport): number => (r.exitReason === 'exit' ? (r.exitCode ?? EXIT.error) : CODES[r.exitReason]);
