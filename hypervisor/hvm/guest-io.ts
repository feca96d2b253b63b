// Where an access to a port or to memory without RAM goes: the platform in the hypervisor first, then a device model in dom0 by I/O request,
// else nobody, which reads as ones (hvmemul_do_io, xen/arch/x86/hvm/emulate.c; hvm_io_intercept).

import { WAIT_NS } from '../machine/bare/wait-states.ts';
import type { IoPorts } from '../machine/system/ports.ts';
import type { HvmDomainState } from './domain.ts';
import type { GuestMmio } from './emulate.ts';
import type { HvmVcpu } from './vcpu.ts';

/** A device model's part: undefined where none has the address. Sizes are 1, 2 or 4; values unsigned. */
export interface DeviceModelPort {
  access(h: HvmVcpu, kind: 'port' | 'memory', at: number, size: number, isWrite: boolean, value: number): number | undefined;
  /** Repeated string I/O between a port and `count` elements upwards from a guest-physical address, in one page; false where none has the port. */
  string(h: HvmVcpu, port: number, size: number, isIn: boolean, gpa: number, count: number): boolean;
}

/** Log port of Xen's HVM guests (hvm_print_line): the lines go to the hypervisor's log. */
const LOG_PORT = 0xe9;
const MAX_LINE = 256;

const ones = (size: number): number => 2 ** (8 * size) - 1;

export class GuestIo {
  /** null without a device model. */
  deviceModel: DeviceModelPort | null = null;
  private readonly state: HvmDomainState;
  private line = '';

  constructor(state: HvmDomainState) {
    this.state = state;
  }

  portIn(h: HvmVcpu, port: number, size: number): number {
    this.wait(h, WAIT_NS.port);
    const v = this.state.platform.portIo(h.vcpu, port, size, true, 0);
    if (v !== undefined) return v;
    return this.deviceModel?.access(h, 'port', port, size, false, 0) ?? (port === LOG_PORT ? LOG_PORT : ones(size));
  }
  portOut(h: HvmVcpu, port: number, size: number, value: number): void {
    this.wait(h, WAIT_NS.port);
    if (this.state.platform.portIo(h.vcpu, port, size, false, value) !== undefined) return;
    if (port === LOG_PORT && size === 1) this.log(value);
    else this.deviceModel?.access(h, 'port', port, size, true, value);
  }
  /** Elements of a string instruction at once (hvmemul_rep_ins, hvmemul_rep_outs): false where they go one by one. */
  portString(h: HvmVcpu, port: number, size: number, isIn: boolean, gpa: number, count: number): boolean {
    if (this.state.platform.hasPort(port) || this.deviceModel?.string(h, port, size, isIn, gpa, count) !== true) return false;
    this.wait(h, WAIT_NS.port * count);
    return true;
  }
  /** A device takes its time, as on the bare board: firmware polls ports by the clock. */
  private wait(h: HvmVcpu, ns: number): void {
    if (h.vcpu.cpu !== null) h.vcpu.cpu.cycles += this.state.hv.clock.toCycles(ns);
  }
  read(h: HvmVcpu, gpa: number, size: number): number {
    const v = this.state.platform.mmioRead(h.vcpu, gpa, size);
    return v ?? this.deviceModel?.access(h, 'memory', gpa, size, false, 0) ?? ones(size);
  }
  write(h: HvmVcpu, gpa: number, size: number, value: number): void {
    if (this.state.platform.mmioWrite(h.vcpu, gpa, size, value)) return;
    this.deviceModel?.access(h, 'memory', gpa, size, true, value);
  }

  private log(c: number): void {
    const { hv, domain } = this.state;
    if (c !== 10 && this.line.length < MAX_LINE) {
      if (c >= 32 && c < 127) this.line += String.fromCharCode(c);
      return;
    }
    hv.console.xen(`(d${domain.id}) ${this.line}`);
    this.line = '';
  }
}

/** The ports that a CPU has while an HVM vCPU runs on it: they are used by the emulator alone, every port access of a guest exits. */
export const portsFor = (current: () => { h: HvmVcpu; io: GuestIo } | undefined): IoPorts => ({
  in(port, size) {
    const c = current();
    return c === undefined ? ones(size) : c.io.portIn(c.h, port, size);
  },
  out(port, size, value) {
    const c = current();
    c?.io.portOut(c.h, port, size, value);
  },
});

/** Memory without RAM, for the emulator. */
export const mmioFor = (stateOf: (h: HvmVcpu) => HvmDomainState): GuestMmio => ({
  read: (h, gpa, size) => stateOf(h).io.read(h, gpa, size),
  write: (h, gpa, size, value) => stateOf(h).io.write(h, gpa, size, value),
});
