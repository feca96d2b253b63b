// IN, OUT, INS and OUTS of PV guests (guest_io_read, guest_io_write, rep_ins, rep_outs of xen/arch/x86/pv/emul-priv-op.c). A domU owns no
// port: reads give ones and writes go nowhere, but for the two index registers that the hypervisor keeps for everybody.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { PF } from '../machine/cpu-api.ts';
import type { Decoded, DecodedOperand } from '../machine/isa/decoded.ts';
import { EFLAGS, ES, FS, RAX, RCX, RDI, RDX, RSI, SEG, SS, STATE } from '../machine/state.ts';
import { codeBits } from './emul-common.ts';
import type { Outcome } from './emul-priv-op.ts';
import { injectException, injectGp, injectPageFault } from './inject.ts';
import { guestIoOkay } from './io-permission.ts';
import { HYPERVISOR_VIRT_END } from './layout.ts';

const CMOS_INDEX = 0x70;
const PCI_CONFIG_ADDRESS = 0xcf8;
const STACK_FAULT = 12;
/** Iterations of a repeated instruction in one go, before events are looked at again. */
const MAX_REPS = 1024;
/** What an iteration is made to cost when there are that many: the guest's time slice must end while the count does not. */
const CYCLES_PER_REP = 100;

/** Unsigned; bytes beside the two registers read as ones. */
export function guestIoRead(vcpu: Vcpu, port: number, bytes: number): number {
  const { legacyIo } = vcpu.domain;
  if (port === PCI_CONFIG_ADDRESS && bytes === 4) return legacyIo.pciCf8;
  let data = 0;
  for (let i = 0; i < bytes; i++) data |= (port + i === CMOS_INDEX ? legacyIo.cmosIndex : 0xff) << (8 * i);
  return data >>> 0;
}

export function guestIoWrite(vcpu: Vcpu, port: number, bytes: number, data: number): void {
  const { legacyIo } = vcpu.domain;
  if (port === PCI_CONFIG_ADDRESS && bytes === 4) {
    legacyIo.pciCf8 = data >>> 0;
    return;
  }
  for (let i = 0; i < bytes; i++) if (port + i === CMOS_INDEX) legacyIo.cmosIndex = (data >>> (8 * i)) & 0xff;
}

function portOf(vcpu: Vcpu, operand: DecodedOperand | undefined): number {
  return operand?.kind === 'imm' ? operand.lo & 0xff : vcpu.regs.regLo(RDX) & 0xffff;
}
/** The accumulator form says how wide: AL, AX or EAX, whatever REX.W. */
const widthOf = (d: Decoded): number => Math.min(d.opSize, 4);

export function emulateIn(_hv: Hypervisor, vcpu: Vcpu, d: Decoded): Outcome {
  const bytes = widthOf(d);
  const port = portOf(vcpu, d.operands[1]);
  if (!guestIoOkay(vcpu, port, bytes)) return 'refused';
  const { regs } = vcpu;
  const v = guestIoRead(vcpu, port, bytes);
  if (bytes === 4) regs.setRegHalves(RAX, v, 0);
  else {
    const mask = bytes === 1 ? 0xff : 0xffff;
    regs.setRegHalves(RAX, (regs.regLo(RAX) & ~mask) | v, regs.regHi(RAX));
  }
  return 'done';
}

export function emulateOut(_hv: Hypervisor, vcpu: Vcpu, d: Decoded): Outcome {
  const bytes = widthOf(d);
  const port = portOf(vcpu, d.operands[0]);
  if (!guestIoOkay(vcpu, port, bytes)) return 'refused';
  guestIoWrite(vcpu, port, bytes, vcpu.regs.regLo(RAX));
  return 'done';
}

/** INS and OUTS, repeated or not. */
export function emulateString(hv: Hypervisor, vcpu: Vcpu, d: Decoded): Outcome {
  const { regs } = vcpu;
  const bytes = widthOf(d);
  const isIn = d.insn.mnemonic.startsWith('INS');
  const port = regs.regLo(RDX) & 0xffff;
  if (!guestIoOkay(vcpu, port, bytes)) return 'refused';
  const memory = d.operands.find((o) => o.kind === 'mem');
  const seg = isIn ? ES : memory?.kind === 'mem' ? memory.seg : 3;
  const pointer = isIn ? RDI : RSI;
  const step = regs.u32(STATE.eflags) & EFLAGS.DF ? -bytes : bytes;
  const isRepeated = d.rep !== 0;

  for (let n = 0; n < MAX_REPS; n++) {
    if (isRepeated && readCount(vcpu, d.addrSize) === 0) return 'done';
    const lin = address(vcpu, seg, readPointer(vcpu, pointer, d.addrSize), bytes);
    if (lin === null) {
      if (seg === SS) injectException(hv, vcpu, STACK_FAULT, 0);
      else injectGp(hv, vcpu, 0);
      return 'injected';
    }
    const fault = isIn ? store(vcpu, lin, guestIoRead(vcpu, port, bytes), bytes) : load(vcpu, lin, bytes);
    if (fault !== null) {
      injectPageFault(hv, vcpu, isIn ? PF.write : 0, fault);
      return 'injected';
    }
    if (!isIn) guestIoWrite(vcpu, port, bytes, loaded);
    writePointer(vcpu, pointer, d.addrSize, readPointer(vcpu, pointer, d.addrSize) + step);
    if (!isRepeated) return 'done';
    writePointer(vcpu, RCX, d.addrSize, readCount(vcpu, d.addrSize) - 1);
  }
  if (readCount(vcpu, d.addrSize) === 0) return 'done';
  if (vcpu.cpu !== null) vcpu.cpu.cycles += MAX_REPS * CYCLES_PER_REP;
  return 'retried';
}

let loaded = 0;
/** Reads into `loaded`; the address that faults, or null. */
function load(vcpu: Vcpu, lin: Lin, bytes: number): Lin | null {
  const b = vcpu.guest.copyFrom(lin, bytes);
  if (b === null) return vcpu.guest.translate(lin, false) === -1 ? lin : ((lin + bytes - 1) as Lin);
  loaded = b.reduce((v, x, i) => v | (x << (8 * i)), 0) >>> 0;
  return null;
}
function store(vcpu: Vcpu, lin: Lin, value: number, bytes: number): Lin | null {
  const b = Uint8Array.from({ length: bytes }, (_, i) => value >>> (8 * i));
  if (vcpu.guest.copyTo(lin, b)) return null;
  return vcpu.guest.translate(lin, true) === -1 ? lin : ((lin + bytes - 1) as Lin);
}

function readPointer(vcpu: Vcpu, n: number, size: number): number {
  const { regs } = vcpu;
  if (size === 8) return regs.regLin(n);
  return size === 4 ? regs.regLo(n) >>> 0 : regs.regLo(n) & 0xffff;
}
const readCount = (vcpu: Vcpu, size: number): number => readPointer(vcpu, RCX, size);

function writePointer(vcpu: Vcpu, n: number, size: number, v: number): void {
  const { regs } = vcpu;
  if (size === 8) regs.setRegLin(n, v);
  else if (size === 4) regs.setRegHalves(n, (v % 0x1_0000_0000) | 0, 0);
  else regs.setRegHalves(n, (regs.regLo(n) & ~0xffff) | (v & 0xffff), regs.regHi(n));
}

/** pv_emul_virt_to_linear(): null for #GP or #SS. */
function address(vcpu: Vcpu, seg: number, offset: number, bytes: number): Lin | null {
  const { regs } = vcpu;
  if (codeBits(vcpu) === 64) {
    const lin = (offset + (seg >= FS ? regs.segBase(seg) : 0)) as Lin;
    const isOk = (lin >= HYPERVISOR_VIRT_END && lin < 0) || (lin >= 0 && lin < 0x8000_0000_0000);
    return isOk ? lin : null;
  }
  const a = regs.segAttributes(seg);
  const limit = regs.segLimit(seg);
  if (!(a & SEG.present) || limit < bytes - 1 || offset > limit - bytes + 1) return null;
  return ((regs.segBase(seg) + offset) % 0x1_0000_0000) as Lin;
}
