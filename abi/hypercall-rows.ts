// What a row of the hypercall table is made of. Sub-operations are listed by name only: their numbers are looked up in the header
// module, and a name that the header does not have fails to compile.
import type { AnyCodec } from './layout/codec.ts';

/** PVH domains call as hvm64 or hvm32. */
export type Caller = 'pv64' | 'pv32' | 'hvm64' | 'hvm32';

export interface SubOp {
  /** Verbatim, such as GNTTABOP_map_grant_ref. */
  readonly name: string;
  readonly nr: number;
  /** What the argument points at (one element, where it is an array); null when there is none or it has no structure. */
  readonly arg: AnyCodec | null;
  /** Refused with -EPERM to a domain without privilege over the machine or over the target. */
  readonly privileged: boolean;
}

export interface Hypercall {
  readonly nr: number;
  readonly header: string;
  readonly callers: readonly Caller[];
  readonly args: Readonly<Record<string, AnyCodec>>;
  /** The arguments of 32-bit callers where 64-bit ones had to be split. */
  readonly args32?: Readonly<Record<string, AnyCodec>>;
  /** Where the number of the sub-operation is: in this argument, masked, or in the leading `cmd` of what this argument points at. */
  readonly selector?: { readonly arg: string; readonly mask?: number; readonly pointed?: true };
  readonly ops: Readonly<Record<string, SubOp>>;
}

type Spec = AnyCodec | null | { readonly arg: AnyCodec | null };
/** Marks the argument of a sub-operation that needs privilege. */
export const privileged = <A extends AnyCodec | null>(arg: A) => ({ arg }) as const;
type ArgOf<S> = S extends AnyCodec | null ? S : S extends { arg: infer A } ? A : never;
type NumberOf<M, N> = N extends keyof M ? M[N] : never;
export type SubOps<P extends string, M, O> = {
  readonly [K in keyof O & string]: {
    readonly name: `${P}${K}`;
    readonly nr: NumberOf<M, `${P}${K}`> & number;
    readonly arg: ArgOf<O[K]>;
    readonly privileged: boolean;
  };
};
/** Compiles only when the header has a number under every name. */
type Named<P extends string, M, O> = { [K in keyof O]: `${P}${K & string}` extends keyof M ? O[K] : never };

const isCodec = (spec: Spec): spec is AnyCodec => spec !== null && 'ctype' in spec;

/** Sub-operations by the header's names without their prefix; `null` where there is no argument structure. */
export function subOps<const P extends string, M extends object, const O extends Record<string, Spec>>(
  prefix: P,
  header: M,
  specs: O & Named<P, M, O>,
  everyOnePrivileged = false,
): SubOps<P, M, O> {
  const ops: Record<string, SubOp> = {};
  for (const [key, spec] of Object.entries<Spec>(specs)) {
    const name = prefix + key;
    const guarded = spec !== null && !isCodec(spec);
    const arg = guarded ? spec.arg : spec;
    // SAFE: Named ties each key to a constant of the header.
    ops[key] = { name, nr: (header as Record<string, number>)[name]!, arg, privileged: guarded || everyOnePrivileged };
  }
  return ops as unknown as SubOps<P, M, O>;
}

export const PV_CALLERS: readonly Caller[] = ['pv64', 'pv32'];
export const ALL_CALLERS: readonly Caller[] = ['pv64', 'pv32', 'hvm64', 'hvm32'];
