// The machine that `ringworld host` keeps running: domains come and go, and each ends as its configuration says. Idle time takes as long
// as it does, since people sit at its terminals.

import type { Storage } from '../storage/storage.ts';
import { checkNewName, pauseDomain, renameDomain } from '../toolstack/control.ts';
import type { DeviceConfig } from '../toolstack/device-config.ts';
import { actionFor, type LiveDomain, restarts, type ShutdownReason } from '../toolstack/lifecycle.ts';
import { uuidOfName } from '../toolstack/xlcfg.ts';
import { Bell } from './bell.ts';
import type { Guest } from './create-options.ts';
import type { Host } from './host.ts';
import { ConsoleHub } from './host-console.ts';
import { DomainDisks } from './host-disks.ts';
import { dumpAtEnd } from './node-core.ts';
import { HostNet } from './node-net.ts';
import { ConsoleOutput } from './output.ts';
import { checkProcessor } from './processor.ts';
import { type OutsideWorld, pump } from './pump.ts';
import { isForUser } from './user-error.ts';

/** A domain of the host's, through all its restarts. */
export interface Resident {
  guest: Guest;
  live: LiveDomain;
  readonly hub: ConsoleHub;
  readonly output: ConsoleOutput;
  readonly disks: DomainDisks;
  /** System time (ns) at which the domain was built. */
  startedNs: number;
}

export type DomainEvent =
  | { readonly kind: 'shutdown'; readonly domid: number; readonly reason: ShutdownReason }
  /** `successor`: the domain that was built in its place. */
  | { readonly kind: 'destroyed'; readonly domid: number; readonly successor: number | null };

export class HostMachine {
  readonly host: Host;
  /** Its way to the outside; what options ask for is opened by whoever made the machine. */
  readonly net: HostNet;
  /** By domain id. */
  readonly residents = new Map<number, Resident>();
  /** Where cores of domains go that crash with on_crash="coredump-destroy" or -restart. */
  coreFolder = '.';
  /** Told of what happens to domains. */
  readonly listeners = new Set<(event: DomainEvent) => void>();
  private readonly note: (line: string) => void;
  private readonly ended: LiveDomain[] = [];
  private readonly waiting: OutsideWorld;
  private readonly bell = new Bell();
  private isOver = false;
  private readonly storage: Storage | null;

  /** `note` gets a line for each thing that happens by itself. Without `storage` domains have no disks. */
  constructor(host: Host, note: (line: string) => void, storage: Storage | null = null) {
    this.host = host;
    this.note = note;
    this.storage = storage;
    this.net = new HostNet(host, () => this.poke(), note);
    host.toolstack.onShutdown = (d) => this.ended.push(d);
    // A machine without domains has nothing to wait for, and its time would stand: the domains to come would find the wrong date.
    host.toolstack.dom0.timers.every(1e9, () => {});
    const { isLive, admit } = this.net;
    this.waiting = { canWake: () => true, wait: (ms) => (this.isOver ? Promise.resolve() : this.bell.wait(ms)), isLive, admit };
  }

  /** Opens its disks, builds a domain, and lets it run unless told. Throws what the user did wrong. */
  async create(guest: Guest, paused: boolean): Promise<Resident> {
    const { toolstack } = this.host;
    checkNewName(toolstack.privcmd, toolstack.xs, guest.config.name);
    checkProcessor(this.host.machine.profile, guest.config, " (the host's: see 'ringworld host --cpu-profile')");
    const disks = await this.openDisks(guest);
    const hub = new ConsoleHub();
    const output = new ConsoleOutput(hub);
    try {
      // Somebody may have taken the name meanwhile.
      checkNewName(toolstack.privcmd, toolstack.xs, guest.config.name);
      const live = toolstack.create(guest.config, guest.files, output);
      const resident: Resident = { guest, live, hub, output, disks, startedNs: this.now };
      this.residents.set(live.domid, resident);
      if (!paused) toolstack.unpause(live);
      this.poke();
      return resident;
    } catch (e) {
      disks.close();
      throw e;
    }
  }

  async openDisks(guest: Pick<Guest, 'config' | 'source'>): Promise<DomainDisks> {
    const disks = new DomainDisks(this.storage);
    await disks.openAll(guest.config.devices, guest.source);
    return disks;
  }

  /** Devices come and go while the domain runs; when it is started again it has those that it had. */
  changeDevices(resident: Resident, change: (devices: DeviceConfig) => DeviceConfig): void {
    const { guest } = resident;
    resident.guest = { ...guest, config: { ...guest.config, devices: change(guest.config.devices) } };
  }

  /** Takes a domain that was built elsewhere (restored) under the host's care. It is left as it is. */
  adopt(resident: Resident): void {
    this.residents.set(resident.live.domid, resident);
    this.poke();
  }

  destroy(resident: Resident): void {
    this.remove(resident, null);
    this.poke();
  }

  /** Before a suspended domain goes on: it stays paused. */
  pauseSuspended(resident: Resident): void {
    const { toolstack } = this.host;
    pauseDomain(toolstack.privcmd, toolstack.xs, resident.live.domid);
  }

  rename(resident: Resident, name: string): void {
    const { toolstack } = this.host;
    renameDomain(toolstack.privcmd, toolstack.xs, resident.live.domid, name);
    resident.guest = { ...resident.guest, config: { ...resident.guest.config, name } };
  }

  /** System time, ns. */
  get now(): number {
    return this.host.hv.now();
  }

  /** Something has changed that a sleeping machine should look at. */
  poke(): void {
    this.bell.ring();
  }

  /** Runs until stop(). Domains that are left then are destroyed, their backends first. */
  async run(): Promise<void> {
    while (!this.isOver) {
      await pump(this.host.hv, {
        stop: () => this.ended.length > 0 || this.isOver,
        deadline: Number.POSITIVE_INFINITY,
        pace: () => true,
        world: this.waiting,
      });
      for (const live of this.ended.splice(0)) this.afterShutdown(live);
    }
    for (const resident of [...this.residents.values()]) this.remove(resident, null);
    this.net.close();
  }

  stop(): void {
    this.isOver = true;
    this.poke();
  }

  private remove(resident: Resident, successor: number | null): void {
    const { domid: dom } = resident.live;
    this.residents.delete(dom);
    this.host.toolstack.destroy(resident.live);
    if (successor === null) resident.disks.close();
    this.tell({ kind: 'destroyed', domid: dom, successor });
  }

  private tell(event: DomainEvent): void {
    for (const listener of [...this.listeners]) listener(event);
  }

  /** xl's handle_domain_death. */
  private afterShutdown(live: LiveDomain): void {
    const resident = this.residents.get(live.domid);
    if (resident === undefined || resident.live !== live || live.shutdown === null) return;
    const { reason } = live.shutdown;
    const { name } = resident.guest.config;
    const who = `domain ${live.domid} (${name})`;
    this.tell({ kind: 'shutdown', domid: live.domid, reason });
    // Whoever asked for it goes on from here.
    if (reason === 'suspend') return;
    const why = reason === 'crash' || reason === 'watchdog' ? `: ${this.reasonOf(resident)}` : '';
    const action = actionFor(resident.guest.config, reason);
    this.note(`${who} has shut down: ${reason}${why}; action: ${action}`);
    if (action.startsWith('coredump')) dumpAtEnd(this.host.toolstack, live, this.coreFolder, this.note);
    if (action === 'preserve') return;
    if (!restarts(action)) {
      this.remove(resident, null);
      return;
    }
    if (action === 'rename-restart') this.keepAside(resident);
    this.restart(resident, action === 'rename-restart');
  }

  private reasonOf(resident: Resident): string {
    return this.host.hv.domain(resident.live.domid)?.crashReason ?? resident.output.lastWords() ?? 'no reason was given';
  }

  /** rename-restart: the dead domain stays under a name of its own (xl's preserve_domain, whose suffix is the time). */
  private keepAside(resident: Resident): void {
    const { toolstack, hv } = this.host;
    const seconds = Math.floor(hv.wallclock.sec + this.now / 1e9);
    const stamp = new Date(seconds * 1000).toISOString().replace(/[-:]/g, '').slice(0, 13);
    const { name } = resident.guest.config;
    const newName = `${name}-${stamp}Z`;
    const { live } = resident;
    renameDomain(toolstack.privcmd, toolstack.xs, live.domid, newName);
    // The one that takes its place has its UUID.
    const config = { ...live.config, name: newName, uuid: uuidOfName(newName) };
    toolstack.setUuid(live, config);
    this.residents.set(live.domid, {
      ...resident,
      hub: new ConsoleHub(),
      disks: new DomainDisks(null),
      guest: { ...resident.guest, config },
    });
  }

  /** Builds the domain again; terminals stay attached to its console. */
  private restart(resident: Resident, isKept: boolean): void {
    const { toolstack } = this.host;
    const old = resident.live;
    if (!isKept) {
      this.residents.delete(old.domid);
      toolstack.destroy(old);
    }
    resident.output.restart();
    try {
      resident.live = toolstack.create(resident.guest.config, resident.guest.files, resident.output);
    } catch (e) {
      if (!isForUser(e)) throw e;
      this.note(`${resident.guest.config.name} cannot be started again: ${e.message}`);
      resident.disks.close();
      this.tell({ kind: 'destroyed', domid: old.domid, successor: null });
      return;
    }
    resident.startedNs = this.now;
    this.residents.set(resident.live.domid, resident);
    this.tell({ kind: 'destroyed', domid: old.domid, successor: resident.live.domid });
    this.note(`${resident.guest.config.name}: restarted as domain ${resident.live.domid}`);
    toolstack.unpause(resident.live);
  }
}
