// Makes hypercalls: lays out the argument structure in dom0's memory, calls, reads it back, and turns a negative result into an
// error that names the operation.
import { type DomainPort, errnoName, type Fields, type PartialWrite, type Struct, type StructOf, subOpName } from '@ringworld/abi';
import { Memory } from './memory.ts';
import { Observer } from './observe.ts';

/** dom0 is a 64-bit domain. */
export const DOM0_ABI = 'x86_64' as const;

export class HypercallError extends Error {
  override readonly name = 'HypercallError';
  /** Positive, as errno.h has it. */
  readonly errno: number;

  constructor(operation: string, result: number) {
    super(`${operation} failed: -${errnoName(result)}`);
    this.errno = -result;
  }
}

export class Hypercalls {
  readonly memory: Memory;
  readonly port: DomainPort;

  private readonly observer: Observer;

  constructor(port: DomainPort, ramPages: number, observer: Observer = new Observer()) {
    this.port = port;
    this.observer = observer;
    this.memory = new Memory(port, ramPages);
  }

  /** The result as Xen gave it: 0 or more, or -errno. */
  attempt(nr: number, ...args: (number | bigint)[]): number {
    this.observer.count('hypercall');
    return this.port.hypercall(nr, ...args);
  }

  /** `operation` is for messages only. Throws HypercallError. */
  call(operation: string, nr: number, ...args: (number | bigint)[]): number {
    const result = this.attempt(nr, ...args);
    if (result < 0) throw new HypercallError(operation, result);
    return result;
  }

  /** nr(cmd, &arg, ...more): the usual shape. Returns the structure as Xen left it, and the result. */
  op<F extends Fields, W>(
    nr: number,
    cmd: number,
    struct: Struct<F, W>,
    value: PartialWrite<F>,
    ...more: number[]
  ): { readonly result: number; readonly out: StructOf<F> } {
    return this.memory.withArguments((args) => {
      const at = args.put(struct.encode(DOM0_ABI, value));
      const result = this.call(subOpName(nr, cmd), nr, cmd, at, ...more);
      return { result, out: struct.decode(DOM0_ABI, this.memory.read(at, struct.size(DOM0_ABI))) };
    });
  }
}
