// What differs between the two kinds of PV kernel, as data: addresses, selectors, where arguments go. Everything else in the kit is
// written once, with 'word' registers.
import { type Abi, xen_x86_32, xen_x86_64 } from '@ringworld/abi';
import { generalRegister, type Reg } from '../asm/index.ts';

export interface Arch {
  readonly name: 'pv64' | 'pv32pae';
  readonly bits: 32 | 64;
  readonly abi: Abi;
  /** Bytes in an unsigned long. */
  readonly wordBytes: 4 | 8;
  /** Where pseudo-physical frame 0 is mapped. The image lies above it, at its load address. */
  readonly virtBase: bigint;
  readonly loadAddress: bigint;
  /** The machine-to-physical table that Xen shows to every PV guest. */
  readonly machphys: bigint;
  readonly kernelCs: number;
  readonly kernelSs: number;
  readonly userCs: number;
  readonly userSs: number;
  readonly userDs: number;
  /** Arguments of hypercalls, in order: xen-x86_64.h and xen-x86_32.h, "Hypercall interface". */
  readonly argument: readonly Reg<'word'>[];
}

const registers = (...numbers: number[]) => numbers.map((nr) => generalRegister('word', nr));

export const PV64: Arch = {
  name: 'pv64',
  bits: 64,
  abi: 'x86_64',
  wordBytes: 8,
  virtBase: 0xffffffff80000000n,
  loadAddress: 0x100000n,
  machphys: xen_x86_64.MACH2PHYS_VIRT_START,
  kernelCs: xen_x86_64.FLAT_KERNEL_CS,
  kernelSs: xen_x86_64.FLAT_KERNEL_SS,
  userCs: xen_x86_64.FLAT_USER_CS,
  userSs: xen_x86_64.FLAT_USER_SS,
  userDs: xen_x86_64.FLAT_USER_DS,
  argument: registers(7, 6, 2, 10, 8), // rdi rsi rdx r10 r8
};

export const PV32PAE: Arch = {
  name: 'pv32pae',
  bits: 32,
  abi: 'x86_32',
  wordBytes: 4,
  virtBase: 0xc0000000n,
  loadAddress: 0x100000n,
  machphys: BigInt(xen_x86_32.MACH2PHYS_VIRT_START),
  kernelCs: xen_x86_32.FLAT_KERNEL_CS,
  kernelSs: xen_x86_32.FLAT_KERNEL_SS,
  userCs: xen_x86_32.FLAT_USER_CS,
  userSs: xen_x86_32.FLAT_USER_SS,
  userDs: xen_x86_32.FLAT_USER_DS,
  argument: registers(3, 1, 2, 6, 7), // ebx ecx edx esi edi
};
