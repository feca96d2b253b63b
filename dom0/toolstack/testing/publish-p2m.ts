// For specs: tells the toolstack where a domain's table of frames is, as a kernel does when it boots (p2m_cr3, p2m_vaddr: xen.h,
// arch_shared_info). The table and the page tables that lead to it are the builder's.
import {
  arch_shared_info,
  type Domid,
  guestVaddr,
  shared_info,
  XEN_DOMCTL_getdomaininfo,
  xen_domctl_getdomaininfo,
  xen_x86_32,
  xen_x86_64,
} from '@ringworld/abi';
import type { Privcmd } from '../../kernel/privcmd.ts';
import { gzipNode } from '../decompress/gzip-node.ts';
import { decompressorsWith } from '../decompress/index.ts';
import { loadKernelImage } from '../kernel-image.ts';
import { layOutPv } from '../pv-layout.ts';
import { readVcpuContext } from '../save-pv.ts';

export interface PublishedP2m {
  readonly domid: Domid;
  readonly kernel: Uint8Array;
  readonly memoryMiB: number;
  /** What the guest says in place of the truth. */
  readonly lie?: { readonly max_pfn?: number; readonly p2m_vaddr?: number };
}

/** Of a domain that was built from `kernel`, without a ramdisk, and has not run yet. */
export function publishP2m(privcmd: Privcmd, d: PublishedP2m): void {
  const layout = layOutPv(loadKernelImage('kernel', d.kernel, decompressorsWith(gzipNode)), d.memoryMiB * 256, null);
  const is32bit = layout.mode.levels === 3;
  const abi = is32bit ? 'x86_32' : 'x86_64';
  const context = readVcpuContext(privcmd, d.domid, 0, is32bit);
  const { ctrlreg } = is32bit
    ? xen_x86_32.vcpu_guest_context.decode('x86_32', context)
    : xen_x86_64.vcpu_guest_context.decode('x86_64', context);
  const info = privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, d.domid, xen_domctl_getdomaininfo, {}).out;
  const mapping = privcmd.mapForeign(d.domid, [info.shared_info_frame]);
  const at = shared_info.offset('arch', abi);
  const arch = mapping.read(at, arch_shared_info.size(abi));
  arch_shared_info.update(new DataView(arch.buffer), 0, abi, {
    max_pfn: d.lie?.max_pfn ?? layout.totalPages,
    p2m_cr3: BigInt(ctrlreg[3]!),
    p2m_vaddr: guestVaddr(d.lie?.p2m_vaddr ?? layout.p2mVirt),
  });
  mapping.write(at, arch);
  mapping.unmap();
}
