// The end of a domain that the entry paths cannot go on with, and what the hypervisor's log says about it: Xen's lines, so that what
// people know how to read (and grep for) is there. Sources: xen/arch/x86/x86_64/traps.c, xen/arch/x86/x86_64/entry.S.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Maddr } from '../machine/addresses.ts';
import { linHi, linLo } from '../machine/addresses.ts';
import type { Context } from '../machine/context.ts';
import { CS, DS, ES, FS, GS, SS, STATE } from '../machine/state.ts';
import { realCr3 } from './guest-mode.ts';

const hex = (v: number, digits: number): string => (v >>> 0).toString(16).padStart(digits, '0');
export const hex64 = (lo: number, hi: number): string => hex(hi, 8) + hex(lo, 8);
export const hexLin = (lin: number): string => hex64(linLo(lin as never), linHi(lin as never));

const ROWS: readonly (readonly [string, number][])[] = [
  [['rax', 0], ['rbx', 3], ['rcx', 1]],
  [['rdx', 2], ['rsi', 6], ['rdi', 7]],
  [['rbp', 5], ['rsp', 4], ['r8', 8]],
  [['r9', 9], ['r10', 10], ['r11', 11]],
  [['r12', 12], ['r13', 13], ['r14', 14]],
]; // biome-ignore format: one line of Xen's dump each

/** show_registers() for a guest context. */
export function registerLines(vcpu: Vcpu): string[] {
  const r = vcpu.regs;
  const reg = (n: number) => hex64(r.regLo(n), r.regHi(n));
  const big = (v: bigint) => v.toString(16).padStart(16, '0');
  const sel = (s: number) => hex(r.selector(s), 4);
  const { pv } = vcpu;
  return [
    '----[ Xen-4.17.0  x86_64  debug=n  Not tainted ]----',
    `CPU:    ${vcpu.cpu?.id ?? 0}`,
    `RIP:    ${sel(CS)}:[<${hexLin(r.rip)}>]`,
    `RFLAGS: ${hex64(r.rflags, 0)}   EM: 0   CONTEXT: pv guest (${vcpu.name})`,
    ...ROWS.map((row) => row.map(([n, i]) => `${n}:${n.length === 2 ? '  ' : ' '}${reg(i)}`).join('   ')),
    `r15: ${reg(15)}   cr0: ${big(pv.ctrlreg[0]!)}   cr4: ${big(r.big(STATE.cr4))}`,
    `cr3: ${hexLin(realCr3(vcpu))}   cr2: ${big(pv.ctrlreg[2]!)}`,
    `fsb: ${hexLin(r.segBase(FS))}   gsb: ${hexLin(r.segBase(GS))}   gss: ${hexLin(r.lin(STATE.kernelGsBase))}`,
    `ds: ${sel(DS)}   es: ${sel(ES)}   fs: ${sel(FS)}   gs: ${sel(GS)}   ss: ${sel(SS)}   cs: ${sel(CS)}`,
    ...stackLines(vcpu, r),
  ];
}

/** Forty words from the guest's stack (show_guest_stack). */
function stackLines(vcpu: Vcpu, r: Context): string[] {
  const lines = [`Guest stack trace from rsp=${hexLin(r.regLin(4))}:`];
  const size = vcpu.domain.is32bit ? 4 : 8;
  const words: string[] = [];
  for (let i = 0; i < 40; i++) {
    const at = r.regLin(4) + i * size;
    if (size === 8 ? !vcpu.guest.read64(at) : vcpu.guest.read32(at) < 0) {
      if (i === 0) words.push('Fault while accessing guest memory.');
      break;
    }
    words.push(size === 8 ? hex64(vcpu.guest.lo, vcpu.guest.hi) : hex(vcpu.guest.read32(at), 8));
  }
  const perLine = size === 8 ? 4 : 8;
  for (let i = 0; i < words.length; i += perLine) lines.push(`  ${words.slice(i, i + perLine).join(' ')}`);
  return lines;
}

/** domain_crash(): the first reason wins, with the registers at that moment in the log. */
export function crashDomain(hv: Hypervisor, vcpu: Vcpu, reason: string): void {
  const { domain } = vcpu;
  if (domain.isShuttingDown) return;
  hv.console.xen(`domain_crash called: ${reason}`);
  hv.console.xen(`Domain ${domain.id} (vcpu#${vcpu.id}) crashed on cpu#${vcpu.cpu?.id ?? 0}:`);
  for (const line of registerLines(vcpu)) hv.console.xen(line);
  domain.crash(reason);
}

/** show_page_walk(): the guest's tables on the way to `lin`, machine frames and what they map. */
export function showPageWalk(hv: Hypervisor, vcpu: Vcpu, lin: number): void {
  const { ram } = hv;
  hv.console.xen(`Pagetable walk from ${hexLin(lin)}:`);
  let table = realCr3(vcpu);
  const pos = lin < 0 ? lin + 2 ** 48 : lin;
  for (let level = 4; level >= 1; level--) {
    const index = Math.floor(pos / 2 ** (12 + 9 * (level - 1))) % 512;
    const at = table + index * 8;
    if (!ram.contains(at, 8)) return;
    const lo = ram.read32(at as Maddr);
    const hi = ram.read32((at + 4) as Maddr);
    hv.console.xen(` L${level}[0x${hex(index, 3)}] = ${hex64(lo, hi)}`);
    if (!(lo & 1) || (level <= 3 && lo & 0x80)) return;
    table = (hi & 0xf_ffff) * 0x1_0000_0000 + ((lo & 0xffff_f000) >>> 0);
  }
}

/** A bounce frame that could not be made (asm_domain_crash_synchronous). `sp`: the stack that could not be written, NaN for a null handler. */
export function crashBounce(hv: Hypervisor, vcpu: Vcpu, sp: number): void {
  hv.console.xen('domain_crash_sync called from entry.S: fault at create_bounce_frame');
  if (!Number.isNaN(sp)) showPageWalk(hv, vcpu, sp);
  crashDomain(hv, vcpu, Number.isNaN(sp) ? 'no handler is registered for a trap' : `the kernel stack at ${hexLin(sp)} cannot be written`);
}
