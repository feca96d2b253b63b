// AMD K8 revision F (Orleans, stepping F3, 2006): the first processors with AMD-V.
// Source: InstLatx64's dump (AuthenticAMD0050FF3_K8_Orleans_CPUID.txt). The BIOS of that board had not written the brand string; it is the
// one that AMD's revision guide (33610) gives to an Athlon 64 3800+ of socket AM2.

import { profile } from './profile.ts';

export const k8RevF = profile({
  name: 'k8-revf',
  mhz: 2400,
  microcode: 0x62,
  leaves: [
    [0x0, 0, 0x00000001, 0x68747541, 0x444d4163, 0x69746e65],
    [0x1, 0, 0x00050ff3, 0x00000800, 0x00002001, 0x078bfbff],
    [0x80000000, 0, 0x80000018, 0x68747541, 0x444d4163, 0x69746e65],
    [0x80000001, 0, 0x00050ff3, 0x000004c3, 0x0000001d, 0xebd3fbff],
    // "AMD Athlon(tm) 64 Processor 3800+"
    [0x80000002, 0, 0x20444d41, 0x6c687441, 0x74286e6f, 0x3620296d],
    [0x80000003, 0, 0x72502034, 0x7365636f, 0x20726f73, 0x30303833],
    [0x80000004, 0, 0x0000002b, 0x00000000, 0x00000000, 0x00000000],
    [0x80000005, 0, 0xff08ff08, 0xff20ff20, 0x40020140, 0x40020140],
    [0x80000006, 0, 0x00000000, 0x42004200, 0x04008140, 0x00000000],
    [0x80000007, 0, 0x00000000, 0x00000000, 0x00000000, 0x0000003f],
    [0x80000008, 0, 0x00003028, 0x00000000, 0x00000000, 0x00000000],
    [0x8000000a, 0, 0x00000001, 0x00000040, 0x00000000, 0x00000000],
  ],
});
