// Who may touch an I/O port: the guest's IOPL and I/O bitmap first, then what the administrator gave the domain
// (iopl_ok, guest_io_okay, admin_io_okay of xen/arch/x86/pv/emul-priv-op.c).

import type { Vcpu } from '../core/vcpu.ts';
import { isGuestKernel } from './guest-mode.ts';
import { hasArchitecturalIopl } from './trap-bounce.ts';

/** The virtual IOPL against the privilege that the guest takes itself to have: a kernel counts as ring 1, or 0 with architectural_iopl. */
export function ioplOk(vcpu: Vcpu): boolean {
  const cpl = isGuestKernel(vcpu) ? (hasArchitecturalIopl(vcpu) ? 0 : 1) : 3;
  return cpl <= vcpu.pv.iopl;
}

export function guestIoOkay(vcpu: Vcpu, port: number, bytes: number): boolean {
  if (ioplOk(vcpu)) return true;
  const { pv } = vcpu;
  if (pv.iobmpLimit <= port + bytes) return false;
  // The bitmap is in the kernel's address space. Bytes that cannot be read count as ones: no access.
  const { kernelMode } = pv;
  pv.kernelMode = true;
  const at = pv.iobmp + (port >>> 3);
  const first = vcpu.guest.copyFrom(at, 1);
  const second = vcpu.guest.copyFrom(at + 1, 1);
  pv.kernelMode = kernelMode;
  const mask = (first?.[0] ?? 0xff) | ((first === null ? 0xff : (second?.[0] ?? 0xff)) << 8);
  return (mask & (((1 << bytes) - 1) << (port & 7))) === 0;
}

/** Ports given to the domain for real (ioports=, physdev): none yet. */
export const adminIoOkay = (_vcpu: Vcpu, _port: number, _bytes: number): boolean => false;
