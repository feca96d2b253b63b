// One machine with some domains, from switching on to the end of the last of them.
import type { EngineKind, RunEnd } from '@ringworld/hypervisor';
import { actionFor, type LiveDomain, restarts } from '../toolstack/lifecycle.ts';
import type { BackendServices } from './backends.ts';
import type { Guest } from './create-options.ts';
import { type Host, switchOn } from './host.ts';
import { dumpAtEnd } from './node-core.ts';
import type { ConsoleOutput } from './output.ts';
import { checkProcessor, profileFor } from './processor.ts';
import { type OutsideWorld, pump } from './pump.ts';
import { counts, type DomainReport, type ExitReason, type MachineReport, machineReport, vcpuReports } from './report.ts';
import { EXIT, isForUser, UserError } from './user-error.ts';

export interface SessionOptions {
  readonly guests: readonly Guest[];
  readonly cpus: number | null;
  /** How guest code is run; compiled where it is hot unless told. */
  readonly engine?: EngineKind;
  readonly deadline: number;
  /** See PumpOptions. */
  readonly pace: () => boolean;
  readonly world: OutsideWorld;
  /** The sink of each guest, in their order. */
  readonly outputs: readonly ConsoleOutput[];
  /** One line for standard error. */
  readonly note: (line: string) => void;
  /** Where cores of domains go; without it none are written. */
  readonly coreFolder?: string;
  /** What the host has for backends. */
  readonly services?: BackendServices;
  /** Gets the hypervisor's log, where somebody wants it. */
  readonly log: ((line: string) => void) | null;
  /** Shown the machine before the first domain is built. */
  readonly observe?: (host: Host) => void;
}

interface Seat {
  readonly guest: Guest;
  readonly output: ConsoleOutput;
  live: LiveDomain;
  restarts: number;
}

export interface SessionResult {
  readonly domains: readonly DomainReport[];
  readonly machine: MachineReport;
}

export class Session {
  readonly host: Host;
  private readonly options: SessionOptions;
  private readonly seats: Seat[];
  private readonly reports = new Map<Seat, DomainReport>();
  private readonly ended: LiveDomain[] = [];
  private hasLeft = false;

  /** Switches on and builds; throws what the user did wrong. The domains are paused until run(). */
  constructor(options: SessionOptions) {
    this.options = options;
    const { guests } = options;
    const sum = (of: (g: Guest) => number) => guests.reduce((n, g) => n + of(g), 0);
    // A vCPU that waits for another in a loop would spin away whole time slices if they shared a CPU.
    const cpus =
      options.cpus ??
      Math.min(
        64,
        sum((g) => g.config.maxVcpus),
      );
    this.host = switchOn({
      guestMiB: sum((g) => g.config.memoryMiB),
      cpus,
      engine: options.engine ?? 'jit',
      services: options.services ?? {},
      profile: profileFor(guests.map((g) => g.config)),
    });
    for (const { config } of guests) checkProcessor(this.host.machine.profile, config);
    options.observe?.(this.host);
    if (options.log !== null) {
      const { console } = this.host.hv;
      for (const line of console.text().trimEnd().split('\n')) options.log(line);
      console.onLine = options.log;
    }
    this.host.toolstack.onShutdown = (d) => this.ended.push(d);
    this.seats = guests.map((guest, i) => {
      const output = options.outputs[i]!;
      return { guest, output, live: this.build(guest, output), restarts: 0 };
    });
  }

  /** Types at the console of the first domain. */
  type(bytes: Uint8Array): void {
    this.seats[0]!.live.console.type(bytes);
  }

  /** What was typed and not yet taken. */
  get backlog(): number {
    return this.seats[0]!.live.console.backlog;
  }

  /** Output streams have room again. */
  drain(): void {
    for (const s of this.seats) if (!this.reports.has(s)) s.live.console.serve();
  }

  /** Ends the session at the next occasion. */
  leave(): void {
    this.hasLeft = true;
  }

  async run(): Promise<SessionResult> {
    this.start();
    while (!this.isOver) {
      const end = await pump(this.host.hv, { ...this.options, stop: this.stop });
      if (end !== 'stopped' || this.hasLeft) {
        this.endAll(this.hasLeft ? 'left' : (end as ExitReason));
        break;
      }
      for (const live of this.ended.splice(0)) this.afterShutdown(live);
    }
    return this.result();
  }

  /** run(), for a caller that counts the cycles: start() once, then advance() until isOver. */
  start(): void {
    for (const s of this.seats) this.host.toolstack.unpause(s.live);
  }
  /** Runs the machine to a cycle, or to the end of its last domain. 'idle' and 'waiting' are for the caller to do something about. */
  advance(untilCycles: number): RunEnd {
    const { hv } = this.host;
    for (;;) {
      const end = hv.run({ untilCycles, stop: this.stop });
      if (end !== 'stopped') return end;
      for (const live of this.ended.splice(0)) this.afterShutdown(live);
      if (this.isOver) return 'stopped';
      if (hv.baseCycles >= untilCycles) return 'limit';
    }
  }
  get isOver(): boolean {
    return this.reports.size === this.seats.length;
  }
  result(): SessionResult {
    return { domains: this.seats.map((s) => this.reports.get(s)!), machine: machineReport(this.host.hv, this.host.machine) };
  }
  /** Ends what still runs. */
  endAll(reason: ExitReason): void {
    for (const s of this.seats) {
      if (this.reports.has(s)) continue;
      s.live.console.serve();
      s.output.finish();
      this.reports.set(s, this.report(s, reason));
      const who = `${s.guest.config.name} (domain ${s.live.domid})`;
      if (reason === 'timeout') this.options.note(`${who} did not end in time`);
      if (reason === 'stuck') this.options.note(`${who} waits for something that cannot come: no timer is armed, nothing can be typed`);
    }
  }
  private readonly stop = (): boolean => this.ended.length > 0 || this.hasLeft;

  private build(guest: Guest, output: ConsoleOutput): LiveDomain {
    try {
      return this.host.toolstack.create(guest.config, guest.files, output);
    } catch (e) {
      // Its subject may be a setting: then the message must say of which configuration.
      if (isForUser(e) && guest.source !== 'create') throw new UserError(`${guest.source}: ${e.message}`);
      throw e;
    }
  }

  private afterShutdown(live: LiveDomain): void {
    const seat = this.seats.find((s) => s.live === live);
    if (seat === undefined || live.shutdown === null) return;
    const { reason } = live.shutdown;
    const action = actionFor(live.config, reason);
    const report = this.report(seat, reason);
    this.tell(seat, report);
    if (action.startsWith('coredump')) {
      const { coreFolder, note } = this.options;
      if (coreFolder === undefined) note(`${action}: no core is written`);
      else dumpAtEnd(this.host.toolstack, live, coreFolder, note);
    }
    if (!restarts(action)) {
      seat.output.finish();
      this.reports.set(seat, report);
      if (action !== 'preserve') this.host.toolstack.destroy(live);
      return;
    }
    this.host.toolstack.destroy(live);
    seat.output.restart();
    seat.restarts++;
    seat.live = this.build(seat.guest, seat.output);
    this.options.note(`${seat.guest.config.name}: restarted as domain ${seat.live.domid}`);
    this.host.toolstack.unpause(seat.live);
  }

  private tell(seat: Seat, report: DomainReport): void {
    const { note } = this.options;
    const who = `${report.name} (domain ${report.domid})`;
    if (report.exitReason === 'crash') note(`${who} crashed: ${report.crashReason ?? 'no reason was given'}`);
    else if (report.exitReason === 'watchdog') note(`${who} was stopped by its watchdog: ${report.crashReason ?? 'no last words'}`);
    else if (report.exitReason === 'reboot' && !restarts(seat.guest.config.onReboot)) note(`${who} rebooted: on_reboot ends it`);
    else if (report.exitReason === 'suspend') note(`${who} suspended: it cannot be saved yet, and ends`);
  }

  private report(seat: Seat, exitReason: ExitReason): DomainReport {
    const { hv } = this.host;
    const { live, guest } = seat;
    const domain = hv.domain(live.domid)!;
    const isCrash = exitReason === 'crash' || exitReason === 'watchdog';
    return {
      name: guest.config.name,
      domid: live.domid,
      exitReason,
      shutdownCode: live.shutdown?.code ?? null,
      crashReason: isCrash ? (domain.crashReason ?? seat.output.lastWords()) : null,
      restarts: seat.restarts,
      ...counts(domain),
      vcpus: vcpuReports(hv, domain),
    };
  }
}

const CODES: Readonly<Record<ExitReason, number>> = {
  poweroff: EXIT.ok,
  left: EXIT.ok,
  crash: EXIT.crash,
  watchdog: EXIT.crash,
  reboot: EXIT.reboot,
  suspend: EXIT.reboot,
  'soft-reset': EXIT.reboot,
  timeout: EXIT.timeout,
  stuck: EXIT.stuck,
};

/** Of several domains the highest code counts. */
export const exitCode = (domains: readonly DomainReport[]): number => Math.max(...domains.map((d) => CODES[d.exitReason]));
