// The hypercall table: number -> handler, and the dispatch that every entry path, multicall and domain port goes through.

import * as abi from '@ringworld/abi';
import { callback_op } from './callback_op.ts';
import { console_io } from './console_io.ts';
import type { HypercallContext, HypercallHandler, HypercallResult } from './context.ts';
import { dm_op } from './dm_op.ts';
import { domctl } from './domctl.ts';
import { event_channel_op } from './event_channel_op.ts';
import { event_channel_op_compat } from './event_channel_op_compat.ts';
import { fpu_taskswitch } from './fpu_taskswitch.ts';
import { get_debugreg } from './get_debugreg.ts';
import { grant_table_op } from './grant_table_op.ts';
import { hvm_op } from './hvm_op.ts';
import { iret } from './iret.ts';
import { memory_op } from './memory_op.ts';
import { mmu_update } from './mmu_update.ts';
import { mmuext_op } from './mmuext_op.ts';
import { multicall } from './multicall.ts';
import { nmi_op } from './nmi_op.ts';
import { physdev_op } from './physdev_op.ts';
import { physdev_op_compat } from './physdev_op_compat.ts';
import { platform_op } from './platform_op.ts';
import { arch_0, hypfs_op, kexec_op, xenpmu_op, xsm_op } from './refused.ts';
import { sched_op } from './sched_op.ts';
import { sched_op_compat } from './sched_op_compat.ts';
import { set_callbacks } from './set_callbacks.ts';
import { set_debugreg } from './set_debugreg.ts';
import { set_gdt } from './set_gdt.ts';
import { set_segment_base } from './set_segment_base.ts';
import { set_timer_op } from './set_timer_op.ts';
import { set_trap_table } from './set_trap_table.ts';
import { stack_switch } from './stack_switch.ts';
import { sysctl } from './sysctl.ts';
import { update_descriptor } from './update_descriptor.ts';
import { update_va_mapping } from './update_va_mapping.ts';
import { update_va_mapping_otherdomain } from './update_va_mapping_otherdomain.ts';
import { vcpu_op } from './vcpu_op.ts';
import { vm_assist } from './vm_assist.ts';
import { xen_version } from './xen_version.ts';

/** By the name in __HYPERVISOR_name. What Xen 4.17 has no entry for (tmem_op, argo_op in Debian's build, ...) is not here either. */
const HANDLERS = {
  set_trap_table,
  mmu_update,
  set_gdt,
  stack_switch,
  set_callbacks,
  fpu_taskswitch,
  sched_op_compat,
  platform_op,
  set_debugreg,
  get_debugreg,
  update_descriptor,
  memory_op,
  multicall,
  update_va_mapping,
  set_timer_op,
  event_channel_op_compat,
  xen_version,
  console_io,
  physdev_op_compat,
  grant_table_op,
  vm_assist,
  update_va_mapping_otherdomain,
  iret,
  vcpu_op,
  set_segment_base,
  mmuext_op,
  xsm_op,
  nmi_op,
  sched_op,
  callback_op,
  event_channel_op,
  physdev_op,
  hvm_op,
  sysctl,
  domctl,
  kexec_op,
  xenpmu_op,
  dm_op,
  hypfs_op,
  arch_0,
} satisfies Record<string, HypercallHandler>;

const PREFIX = '__HYPERVISOR_';
const TABLE: (HypercallHandler | undefined)[] = [];
const NAMES: string[] = [];
for (const [key, number] of Object.entries(abi)) {
  if (!key.startsWith(PREFIX) || typeof number !== 'number' || number > 63) continue;
  const name = key.slice(PREFIX.length);
  NAMES[number] ??= name;
  const handler = (HANDLERS as Record<string, HypercallHandler | undefined>)[name];
  if (handler !== undefined) TABLE[number] = handler;
}

/** PV page tables, descriptors and traps: not in the table of a translated domain (xen/include/hypercall-defs.c). */
const PV_ONLY = new Set<HypercallHandler>([
  set_trap_table,
  mmu_update,
  set_gdt,
  stack_switch,
  set_callbacks,
  fpu_taskswitch,
  set_debugreg,
  get_debugreg,
  update_descriptor,
  update_va_mapping,
  update_va_mapping_otherdomain,
  iret,
  set_segment_base,
  nmi_op,
  callback_op,
]);

/** Nor in an HVM domain's: our dom0, which is translated too, has them. */
const NOT_HVM = new Set<HypercallHandler>([sched_op_compat, event_channel_op_compat, physdev_op_compat, kexec_op, arch_0]);

/** Name of a hypercall by number, as the __HYPERVISOR_ names have it. */
export const hypercallName = (number: number): string => NAMES[number] ?? `hypercall ${number}`;

// TOUR hypercall 60: One table for every way in: registers, multicall entries, and the port of a domain whose kernel is TypeScript. A
// number without a handler is -ENOSYS.
export function dispatch(c: HypercallContext, number: number): HypercallResult {
  const handler = TABLE[number];
  c.domain.count(hypercallName(number));
  const isKnown = handler !== undefined && !(c.domain.isTranslated && PV_ONLY.has(handler)) && !(c.domain.isHvm && NOT_HVM.has(handler));
  const result = isKnown ? handler(c) : -abi.XEN_ENOSYS;
  c.hv.trace?.(c.vcpu, number, c, result);
  return result;
}
