// The memory hypercalls as a puppet makes them: requests written into a page of its own, and the answer.
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_update_va_mapping,
  DOMID_SELF,
  type Fields,
  MMU_NORMAL_PT_UPDATE,
  type PartialWrite,
  type Struct,
  UVMF_INVLPG,
} from '@ringworld/abi';
import type { Answer, Puppet } from './world.ts';

export const P = 1n;
export const RW = 2n;
export const US = 4n;
export const PCD = 0x10n;
export const PSE = 0x80n;
export const NX = 1n << 63n;
/** What kernels use for a read-only page: present, user, accessed, dirty. */
export const READ_ONLY = 0x65n;
export const READ_WRITE = READ_ONLY | RW;
export const pte = (mfn: number, flags: bigint): bigint => (BigInt(mfn) << 12n) | flags;

const scratch = new WeakMap<Puppet, number>();
function scratchOf(p: Puppet): number {
  let at = scratch.get(p);
  if (at === undefined) {
    at = p.page();
    scratch.set(p, at);
  }
  return at;
}

export function mmuUpdate(p: Puppet, at: number | bigint, value: bigint, cmd = MMU_NORMAL_PT_UPDATE, dom: number = DOMID_SELF): Answer {
  const list = p.put(scratchOf(p), [BigInt(at) | BigInt(cmd), value]);
  return p.call(__HYPERVISOR_mmu_update, list, 1, 0, dom);
}

export function mmuext(p: Puppet, cmd: number, arg1 = 0, arg2 = 0, dom: number = DOMID_SELF): Answer {
  const words = p.bits === 64 ? [cmd, arg1, arg2] : [BigInt(cmd) | (BigInt(arg1) << 32n), arg2];
  return p.call(__HYPERVISOR_mmuext_op, p.put(scratchOf(p), words), 1, 0, dom);
}

/** update_va_mapping with a flush of that address. */
export function mapAt(p: Puppet, lin: number, value: bigint): Answer {
  if (p.bits === 64) return p.call(__HYPERVISOR_update_va_mapping, lin, value, UVMF_INVLPG);
  return p.call(__HYPERVISOR_update_va_mapping, lin, value & 0xffff_ffffn, value >> 32n, UVMF_INVLPG);
}

/** One grant table operation; gives the hypercall's result, or the structure's `status` when that was 0. */
export function grantOp<F extends Fields>(p: Puppet, cmd: number, struct: Struct<F>, value: PartialWrite<F>): Answer {
  const { abi } = p.domain;
  const at = p.put(scratchOf(p), struct.encode(abi, value));
  const answer = p.call(__HYPERVISOR_grant_table_op, cmd, at, 1);
  if (answer !== 0) return answer;
  const status = p.maddr(at + struct.offset('status', abi));
  return (p.world.hv.ram.read32(status) << 16) >> 16;
}
