// The arguments of a call as they came over the socket: nothing about them is certain until it is asked for here.
import { NO_DEVICES } from '../toolstack/device-config.ts';
import type { DomainConfig } from '../toolstack/xlcfg.ts';
import type { Guest } from './create-options.ts';
import { UserError } from './user-error.ts';

export class Args {
  private readonly call: string;
  private readonly values: Readonly<Record<string, unknown>>;

  constructor(call: string, value: unknown) {
    this.call = call;
    this.values = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  }

  string(name: string): string {
    const value = this.values[name];
    return typeof value === 'string' ? value : this.wrong(name, 'text');
  }
  stringOrNull(name: string): string | null {
    return this.values[name] === null || this.values[name] === undefined ? null : this.string(name);
  }
  integer(name: string, min = 0, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.values[name];
    return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : this.wrong(name, 'number');
  }
  integerOrNull(name: string, min?: number, max?: number): number | null {
    return this.values[name] === null || this.values[name] === undefined ? null : this.integer(name, min, max);
  }
  integers(name: string): number[] {
    const value = this.values[name];
    return Array.isArray(value) && value.every((n) => Number.isInteger(n)) ? (value as number[]) : this.wrong(name, 'list of numbers');
  }
  strings(name: string): string[] {
    const value = this.values[name];
    return Array.isArray(value) && value.every((s) => typeof s === 'string') ? (value as string[]) : this.wrong(name, 'list of texts');
  }
  flag(name: string): boolean {
    return this.values[name] === true;
  }
  oneOf<T extends string>(name: string, choices: readonly T[]): T {
    return choices.find((c) => c === this.values[name]) ?? this.wrong(name, `one of ${choices.join(', ')}`);
  }
  object(name: string): Args {
    return new Args(`${this.call}.${name}`, this.values[name]);
  }
  texts(name: string): Record<string, string> {
    const value = this.values[name];
    if (typeof value !== 'object' || value === null || !Object.values(value).every((v) => typeof v === 'string')) this.wrong(name, 'texts');
    return value as Record<string, string>;
  }
  bytes(name: string): Uint8Array {
    const value = this.values[name];
    // A plain view: what msgpackr gives is a Node Buffer.
    return value instanceof Uint8Array ? new Uint8Array(value.buffer, value.byteOffset, value.length) : this.wrong(name, 'bytes');
  }

  /** A domain to be, as readGuests() made it in the command's process. */
  guest(name: string): Guest {
    const guest = this.object(name);
    const files = guest.object('files');
    const file = (args: Args) => ({ file: args.string('file'), bytes: args.bytes('bytes') });
    const ramdisk = files.values.ramdisk === null ? null : file(files.object('ramdisk'));
    return { source: guest.string('source'), config: guest.config('config'), files: { kernel: file(files.object('kernel')), ramdisk } };
  }

  /** The fields that the toolstack counts on; the rest is the command's word. */
  config(name: string): DomainConfig {
    const c = this.object(name);
    const memoryMiB = c.integer('memoryMiB', 1, 1 << 22);
    const maxVcpus = c.integer('maxVcpus', 1, 64);
    const uuid = c.bytes('uuid');
    if (uuid.length !== 16) c.wrong('uuid', '16 bytes');
    return {
      // SAFE: the same user's command, whose fields were checked when it read the file; what could harm is checked again here.
      ...(c.values as unknown as DomainConfig),
      name: c.string('name'),
      uuid,
      memoryMiB,
      maxMemoryMiB: c.integer('maxMemoryMiB', memoryMiB, 1 << 22),
      vcpus: c.integer('vcpus', 1, maxVcpus),
      maxVcpus,
      cmdline: c.string('cmdline'),
      devices: c.values.devices === undefined ? NO_DEVICES : (c.values.devices as DomainConfig['devices']),
    };
  }

  private wrong(name: string, wanted: string): never {
    throw new UserError(`${this.call}: "${name}" should be ${wanted}`);
  }
}
