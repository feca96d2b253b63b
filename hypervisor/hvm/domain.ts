// What hvm/ keeps of a domain: its second level of translation and its platform. It hangs off Domain.hvm.

import type { Domain } from '../core/domain.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { GuestIo } from './guest-io.ts';
import type { NestedTables } from './nested-tables.ts';
import type { Platform } from './platform/index.ts';
import type { VirtOps } from './virt-ops.ts';

export class HvmDomainState {
  readonly hv: Hypervisor;
  readonly domain: Domain;
  readonly ops: VirtOps;
  /** EPT or NPT; null for shadow paging, which each vCPU has to itself. */
  readonly tables: NestedTables | null;
  platform!: Platform;
  io!: GuestIo;
  constructor(hv: Hypervisor, domain: Domain, ops: VirtOps, tables: NestedTables | null) {
    this.hv = hv;
    this.domain = domain;
    this.ops = ops;
    this.tables = tables;
  }
}

/** Throws for a domain that is no HVM domain: a programming error. */
export function stateOf(domain: Domain): HvmDomainState {
  const state = domain.hvm?.platform;
  if (!(state instanceof HvmDomainState)) throw new Error(`d${domain.id} is no HVM domain`);
  return state;
}
