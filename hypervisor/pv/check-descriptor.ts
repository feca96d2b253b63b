// check_descriptor: whether a guest may have these eight bytes in a descriptor table, and what they must be changed to first.
//
// The tables are used by the CPU as they stand, so this check is what keeps a guest from making itself a ring-0 segment, a TSS or a gate
// into the hypervisor. It runs when a frame becomes a descriptor table (type seg_desc) and on every update_descriptor after that.
// Source: xen/arch/x86/x86_64/mm.c, check_descriptor().

import { HYPERVISOR_COMPAT_VIRT_START } from './layout.ts';
import { fixupSelector, isGateSelectorOkay } from './selectors.ts';

const TYPE = 0x1f00; // S and type
const S = 0x1000;
const DPL = 0x6000;
const P = 0x8000;
const L = 0x20_0000;
const G = 0x80_0000;

/** The words to store, as a pair; null when the descriptor is refused. The same object is reused: copy what you keep. */
export function checkDescriptor(is32bit: boolean, lo: number, hi: number): { readonly lo: number; readonly hi: number } | null {
  // Not present: always faults, so it is safe, whatever else it says.
  if (!(hi & P)) return result(lo, hi);

  const dpl = fixupSelector(is32bit, (hi >>> 13) & 3);
  const b = (hi & ~DPL) | (dpl << 13);

  if (b & S) return is32bit ? checkCompatSegment(lo, b) : result(lo, b);
  // Type 0 cannot be used for anything: the upper half of a 64-bit call gate.
  if ((b & TYPE) === 0) return result(lo, b);
  if ((b & TYPE) !== 0x0c00) return null;

  const selector = lo >>> 16;
  if (!isGateSelectorOkay(is32bit, selector)) return null;
  // Reserved bits of the gate.
  if (b & (is32bit ? 0xe0 : 0xff)) return null;
  // A gate of DPL 0 always faults with its own selector as error code: emul-gate-op.ts takes it from there. The DPL that the guest
  // asked for is kept where the target's RPL would be.
  return result((lo & 0xffff) | (((selector & ~3) | dpl) << 16), b & ~DPL);
}

function checkCompatSegment(lo: number, b: number): { readonly lo: number; readonly hi: number } | null {
  if (b & L) return null;
  // Old PAE kernels cut their flat segments off below the native hypervisor hole, and so below the larger M2P that 32-on-64 has:
  // those are stretched to 4 GiB.
  const base = (b & 0xff00_0000) | ((b & 0xff) << 16) | (lo >>> 16);
  const units = ((b & 0xf_0000) | (lo & 0xffff)) + 1;
  const limit = b & G ? units * 4096 : units;
  if (base === 0 && limit > HYPERVISOR_COMPAT_VIRT_START) return result(lo | 0xffff, b | 0xf_0000);
  return result(lo, b);
}

const pair = { lo: 0, hi: 0 };
function result(lo: number, hi: number): { readonly lo: number; readonly hi: number } {
  pair.lo = lo | 0;
  pair.hi = hi | 0;
  return pair;
}
