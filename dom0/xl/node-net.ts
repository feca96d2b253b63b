// A machine's network towards the host: its uplinks, its captures, its wires. What `create -F` and `host` open beside the machine.
import { type Capture, startCapture } from '../switch/capture.ts';
import type { Host } from './host.ts';
import { type CaptureSpec, captureTarget, type NetOptions } from './net-options.ts';
import { CaptureFile } from './node-capture-file.ts';
import { Uplinks } from './node-uplink.ts';

export class HostNet {
  private readonly host: Host;
  private readonly note: (line: string) => void;
  private readonly uplinks: Uplinks;
  private readonly closers: (() => void)[] = [];

  /** `changed`: something has come in from outside, and a machine that sleeps should wake. `note` gets a line for what goes wrong later. */
  constructor(host: Host, changed: () => void, note: (line: string) => void) {
    this.host = host;
    this.note = note;
    this.uplinks = new Uplinks(host.network, changed, note);
  }

  /** Throws UserError; close() is due then too. */
  async open(options: NetOptions): Promise<void> {
    for (const { bridge, wire } of options.wires) this.host.network.setWire(bridge, wire);
    for (const spec of options.captures) this.captureToFile(spec);
    for (const spec of options.uplinks) await this.uplinks.add(spec);
  }

  /** See OutsideWorld (pump.ts). */
  readonly isLive = (): boolean => this.uplinks.isLive;
  readonly admit = (): void => this.uplinks.admit();

  /** Starts a capture by what a user says; throws UserError. */
  capture(target: string | null, write: (bytes: Uint8Array) => void, room?: () => number): Capture {
    const { hv, network } = this.host;
    const { sec, nsec } = hv.wallclock;
    const clock = { now: () => hv.now(), epoch: BigInt(sec) * 1_000_000_000n + BigInt(nsec) };
    return startCapture(network, captureTarget(target, this.portOf), clock, write, room);
  }

  close(): void {
    for (const close of this.closers.splice(0)) close();
    this.uplinks.close();
  }

  private captureToFile(spec: CaptureSpec): void {
    // What is wrong with the target is said before the file is begun.
    captureTarget(spec.target, this.portOf);
    const file = new CaptureFile(spec.file, this.note);
    const capture = this.capture(spec.target, file.write);
    this.closers.push(() => {
      capture.stop();
      file.close();
    });
  }

  /** The name of the port of a domain's interface, as netback chooses it. */
  private readonly portOf = (domain: string, devid: number): string | null => {
    const { xs } = this.host.toolstack;
    const id = xs
      .directory('/local/domain')
      .find((d) => (/^\d+$/.test(domain) ? d === domain : xs.read(`/local/domain/${d}/name`) === domain));
    if (id === undefined) return null;
    return xs.read(`/local/domain/0/backend/vif/${id}/${devid}/vifname`) ?? `vif${id}.${devid}`;
  };
}
