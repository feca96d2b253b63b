// Intel Pentium 4 672 (Prescott 2M, 3.8 GHz), in November 2005 the first processor with VT-x.
// Source: InstLatx64's dump of its dual-core successor, a Pentium Extreme Edition 955 (GenuineIntel0000F62_P4_Presler_CPUID.txt), whose
// cores have the same caches and features; signature and microcode as InstLatx64 and Intel's specification update name the 672's (0F4A).
// The dump was made by a 32-bit program: SYSCALL (80000001 EDX bit 11) is set here as 64-bit code reads it.

import { profile } from './profile.ts';

export const p4_672 = profile({
  name: 'p4-672',
  mhz: 3800,
  microcode: 0x02,
  leaves: [
    [0x0, 0, 0x00000006, 0x756e6547, 0x6c65746e, 0x49656e69],
    [0x1, 0, 0x00000f4a, 0x00020800, 0x0000e43d, 0xbfebfbff],
    [0x2, 0, 0x605b5001, 0x00000000, 0x00000000, 0x007d7040],
    [0x4, 0, 0x00004121, 0x01c0003f, 0x0000001f, 0x00000000],
    [0x4, 1, 0x00004143, 0x01c0103f, 0x000007ff, 0x00000000],
    [0x5, 0, 0x00000040, 0x00000040, 0x00000000, 0x00000000],
    [0x80000000, 0, 0x80000008, 0x00000000, 0x00000000, 0x00000000],
    [0x80000001, 0, 0x00000000, 0x00000000, 0x00000001, 0x20100800],
    // "              Intel(R) Pentium(R) 4 CPU 3.80GHz"
    [0x80000002, 0, 0x20202020, 0x20202020, 0x20202020, 0x6e492020],
    [0x80000003, 0, 0x286c6574, 0x50202952, 0x69746e65, 0x52286d75],
    [0x80000004, 0, 0x20342029, 0x20555043, 0x30382e33, 0x007a4847],
    [0x80000006, 0, 0x00000000, 0x00000000, 0x08006040, 0x00000000],
    [0x80000008, 0, 0x00003024, 0x00000000, 0x00000000, 0x00000000],
  ],
});
