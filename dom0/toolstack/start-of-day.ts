// The structures that a PV domain finds when it starts: start_info, the shared page, and the registers of vCPU 0 (xen.h "struct
// start_info", arch-x86/xen.h "struct vcpu_guest_context"). Values are those of Xen's tools (xg_dom_x86.c: start_info_*,
// shared_info_*, vcpu_*). Bytes in, bytes out: nothing here makes a hypercall.
import {
  type Abi,
  type EvtchnPort,
  guestVaddr,
  MAX_GUEST_CMDLINE,
  mfn,
  pfn,
  SIF_MOD_START_PFN,
  SIF_VIRT_P2M_4TOOLS,
  shared_info,
  start_info,
  VGCF_in_kernel,
  VGCF_online,
  VMASST_TYPE_pae_extended_cr3,
  vcpu_info,
  XEN_LEGACY_MAX_VCPUS,
  xen_x86_32,
  xen_x86_64,
} from '@ringworld/abi';
import { DomainBuildError } from './errors.ts';
import type { KernelImage } from './kernel-image.ts';
import { type PvLayout, virtOf } from './pv-layout.ts';
import { PAGE_SIZE } from './virtual.ts';

export const abiOf = (image: KernelImage): Abi => (image.guestType === 'xen-3.0-x86_64' ? 'x86_64' : 'x86_32');

export interface Channels {
  readonly store: EvtchnPort;
  readonly console: EvtchnPort;
}

/** A whole page. Throws DomainBuildError when the command line does not fit. */
export function startInfoPage(
  image: KernelImage,
  layout: PvLayout,
  p2m: ArrayLike<number>,
  options: { readonly sharedInfoMfn: number; readonly channels: Channels; readonly cmdline: string },
): Uint8Array {
  const abi = abiOf(image);
  if (options.cmdline.length >= MAX_GUEST_CMDLINE)
    throw new DomainBuildError('kernel command line', `${options.cmdline.length} characters; Xen passes at most ${MAX_GUEST_CMDLINE - 1}`);
  const { ramdisk } = layout;
  const ownP2mMapping = layout.mappings.length > 1;
  const page = new Uint8Array(PAGE_SIZE);
  start_info.update(new DataView(page.buffer), 0, abi, {
    magic: image.guestType,
    nr_pages: layout.totalPages,
    shared_info: options.sharedInfoMfn * PAGE_SIZE,
    flags: SIF_VIRT_P2M_4TOOLS | (ramdisk !== null && !ramdisk.mapped ? SIF_MOD_START_PFN : 0),
    store_mfn: mfn(p2m[layout.xenstorePfn]!),
    store_evtchn: options.channels.store,
    console: { domU: { mfn: mfn(p2m[layout.consolePfn]!), evtchn: options.channels.console } },
    pt_base: guestVaddr(virtOf(image, layout.pageTables.pfn)),
    nr_pt_frames: layout.pageTables.pages,
    mfn_list: guestVaddr(layout.p2mVirt),
    // Whole pages, as Xen's tools count it: what follows the file's last byte is zero.
    ...(ramdisk === null
      ? {}
      : { mod_start: guestVaddr(ramdisk.mapped ? virtOf(image, ramdisk.pfn) : ramdisk.pfn), mod_len: ramdisk.pages * PAGE_SIZE }),
    cmd_line: options.cmdline,
    ...(ownP2mMapping ? { first_p2m_pfn: pfn(layout.p2m.pfn), nr_p2m_frames: layout.p2m.pages } : {}),
  });
  return page;
}

/** Every vCPU starts with its events masked. */
export function sharedInfoPage(abi: Abi): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  const mask = shared_info.offset('vcpu_info', abi) + vcpu_info.offset('evtchn_upcall_mask', abi);
  for (let i = 0; i < XEN_LEGACY_MAX_VCPUS; i++) page[mask + i * vcpu_info.size(abi)] = 1;
  return page;
}

const FLAGS_IF = 1 << 9;
const DR6_DEFAULT = 0xffff0ff0n;
const DR7_DEFAULT = 0x400n;

const u64 = (n: number): bigint => BigInt.asUintN(64, BigInt(n));

/** struct vcpu_guest_context of vCPU 0 in the guest's own layout. */
export function bootVcpuContext(image: KernelImage, layout: PvLayout, p2m: ArrayLike<number>): Uint8Array {
  const stack = virtOf(image, layout.bootStackPfn + 1);
  const startInfo = virtOf(image, layout.startInfoPfn);
  const cr3Frame = p2m[layout.pageTables.pfn]!;
  const flags = VGCF_in_kernel | VGCF_online;
  const debugreg = [0n, 0n, 0n, 0n, 0n, 0n, DR6_DEFAULT, DR7_DEFAULT];
  const ctrlreg = (cr3: bigint) => [0n, 0n, 0n, cr3, 0n, 0n, 0n, 0n];
  if (abiOf(image) === 'x86_64') {
    const { FLAT_KERNEL_CS, FLAT_KERNEL_DS, FLAT_KERNEL_SS, cpu_user_regs, vcpu_guest_context } = xen_x86_64;
    const bytes = vcpu_guest_context.encode('x86_64', {
      flags,
      kernel_ss: FLAT_KERNEL_SS,
      kernel_sp: guestVaddr(stack),
      ctrlreg: ctrlreg(u64(cr3Frame * PAGE_SIZE)),
      debugreg,
    });
    cpu_user_regs.update(new DataView(bytes.buffer), vcpu_guest_context.offset('user_regs', 'x86_64'), 'x86_64', {
      rip: u64(image.xen.virtEntry),
      rsp: u64(stack),
      rsi: u64(startInfo),
      rflags: BigInt(FLAGS_IF),
      cs: FLAT_KERNEL_CS,
      ss: FLAT_KERNEL_SS,
      ds: FLAT_KERNEL_DS,
      es: FLAT_KERNEL_DS,
      fs: FLAT_KERNEL_DS,
      gs: FLAT_KERNEL_DS,
    });
    return bytes;
  }
  const { FLAT_KERNEL_CS, FLAT_KERNEL_DS, FLAT_KERNEL_SS, cpu_user_regs, vcpu_guest_context, xen_pfn_to_cr3 } = xen_x86_32;
  const extendedCr3 = image.xen.pae === 'extended-cr3' || image.xen.pae === 'bimodal';
  const bytes = vcpu_guest_context.encode('x86_32', {
    flags,
    kernel_ss: FLAT_KERNEL_SS,
    kernel_sp: guestVaddr(stack),
    ctrlreg: ctrlreg(BigInt(xen_pfn_to_cr3(cr3Frame))),
    debugreg,
    vm_assist: extendedCr3 ? 1n << BigInt(VMASST_TYPE_pae_extended_cr3) : 0n,
  });
  cpu_user_regs.update(new DataView(bytes.buffer), vcpu_guest_context.offset('user_regs', 'x86_32'), 'x86_32', {
    eip: image.xen.virtEntry,
    esp: stack,
    esi: startInfo,
    eflags: FLAGS_IF,
    cs: FLAT_KERNEL_CS,
    ss: FLAT_KERNEL_SS,
    ds: FLAT_KERNEL_DS,
    es: FLAT_KERNEL_DS,
    fs: FLAT_KERNEL_DS,
    gs: FLAT_KERNEL_DS,
  });
  return bytes;
}
