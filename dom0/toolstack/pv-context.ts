// The frames in a vcpu_guest_context, changed by a translation: cr3, the user's cr3, the GDT, and for the first vCPU the start_info page that
// a suspending kernel leaves in (r)dx.
import { xen_x86_32, xen_x86_64 } from '@ringworld/abi';
import { DomainBuildError } from './errors.ts';
import { cr3OfFrame, frameOfCr3, type Translation } from './pv-frames.ts';

const GDT_PER_FRAME = 512;
/** FIRST_RESERVED_GDT_ENTRY. */
const MAX_GDT = 14 * 512;

export const contextSize = (is32bit: boolean): number =>
  is32bit ? xen_x86_32.vcpu_guest_context.size('x86_32') : xen_x86_64.vcpu_guest_context.size('x86_64');

interface Options {
  readonly subject: string;
  readonly is32bit: boolean;
  /** The vCPU that made the suspend call. */
  readonly hasStartInfo: boolean;
}

/** Returns the context with its frames changed, and start_info's frame (as it was before). */
export function translateContext(bytes: Uint8Array, translate: Translation, o: Options): { context: Uint8Array; startInfo: number } {
  const frame = (what: string, n: number): number => {
    const other = translate(n);
    if (other < 0) throw new DomainBuildError(o.subject, `${what} is in frame 0x${n.toString(16)}, which is not the domain's`);
    return other;
  };
  const gdtOf = (frames: readonly number[], entries: number): number[] => {
    if (entries > MAX_GDT) throw new DomainBuildError(o.subject, `a GDT of ${entries} entries`);
    const count = Math.ceil(entries / GDT_PER_FRAME);
    return frames.map((f, i) => (i < count ? frame('a GDT', f) : 0));
  };
  const context = bytes.slice();
  const view = new DataView(context.buffer);
  if (o.is32bit) {
    const { vcpu_guest_context: codec, cpu_user_regs } = xen_x86_32;
    const c = codec.decode('x86_32', bytes);
    const ctrlreg = [...c.ctrlreg];
    ctrlreg[3] = cr3OfFrame(frame('the page table', frameOfCr3(ctrlreg[3]!, true)), true);
    codec.update(view, 0, 'x86_32', { ctrlreg, gdt_frames: gdtOf(c.gdt_frames, c.gdt_ents) });
    const startInfo = c.user_regs.edx;
    if (o.hasStartInfo) cpu_user_regs.update(view, codec.offset('user_regs', 'x86_32'), 'x86_32', { edx: frame('start_info', startInfo) });
    return { context, startInfo };
  }
  const { vcpu_guest_context: codec, cpu_user_regs } = xen_x86_64;
  const c = codec.decode('x86_64', bytes);
  const ctrlreg = [...c.ctrlreg];
  ctrlreg[3] = cr3OfFrame(frame('the page table', frameOfCr3(ctrlreg[3]!, false)), false);
  // Bit 0 says, in a saved context, that there is one.
  if (ctrlreg[1] !== 0n) ctrlreg[1] = cr3OfFrame(frame("the user's page table", frameOfCr3(ctrlreg[1]!, false)), false);
  codec.update(view, 0, 'x86_64', { ctrlreg, gdt_frames: gdtOf(c.gdt_frames, c.gdt_ents) });
  const startInfo = Number(c.user_regs.rdx & 0xffff_ffffn);
  if (o.hasStartInfo)
    cpu_user_regs.update(view, codec.offset('user_regs', 'x86_64'), 'x86_64', { rdx: BigInt(frame('start_info', startInfo)) });
  return { context, startInfo };
}

/** Bit 0 of the user's cr3: it counts (libxc's mark in a saved context). */
export function markUserTable(context: Uint8Array, is32bit: boolean): void {
  if (is32bit) return;
  const codec = xen_x86_64.vcpu_guest_context;
  const ctrlreg = [...codec.decode('x86_64', context).ctrlreg];
  if (ctrlreg[1] !== 0n) ctrlreg[1] = ctrlreg[1]! | 1n;
  codec.update(new DataView(context.buffer, context.byteOffset), 0, 'x86_64', { ctrlreg });
}

/** The context with what its hypercall returns changed. */
export function withReturnCode(context: Uint8Array, is32bit: boolean, code: number): Uint8Array {
  const changed = context.slice();
  const view = new DataView(changed.buffer);
  if (is32bit) xen_x86_32.cpu_user_regs.update(view, xen_x86_32.vcpu_guest_context.offset('user_regs', 'x86_32'), 'x86_32', { eax: code });
  else xen_x86_64.cpu_user_regs.update(view, xen_x86_64.vcpu_guest_context.offset('user_regs', 'x86_64'), 'x86_64', { rax: BigInt(code) });
  return changed;
}
