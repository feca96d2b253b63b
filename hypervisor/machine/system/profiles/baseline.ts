// What the machine is when nothing else is asked for: its own features under the family and model of an Atom of 2008 (Bonnell), the 64-bit
// processor of Intel's that executes in order. This one does too: kernels find no speculation to mitigate and say nothing of it.
//
// TLB and cache descriptors are those of that processor (InstLatx64's dump of an Atom 330).

import { profile } from './profile.ts';

export const baseline = profile({
  name: 'baseline',
  mhz: 2100,
  microcode: 0x0200_0065,
  features: (
    'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 cx16 movbe popcnt rdrand ' +
    'fsgsbase lahf_lm syscall nx pdpe1gb rdtscp lm arat nonstop_tsc'
  ).split(' '),
  leaves: [
    [0x0, 0, 0x0000000d, 0x756e6547, 0x6c65746e, 0x49656e69],
    [0x1, 0, 0x000106ca, 0x00010800, 0x00000000, 0x00000000],
    [0x2, 0, 0x4fba5901, 0x0e3080c0, 0x00000000, 0x00000000],
    [0x4, 0, 0x00000121, 0x0140003f, 0x0000003f, 0x00000000],
    [0x4, 1, 0x00000122, 0x01c0003f, 0x0000003f, 0x00000000],
    [0x4, 2, 0x00000143, 0x01c0003f, 0x000003ff, 0x00000000],
    [0x80000000, 0, 0x80000008, 0x00000000, 0x00000000, 0x00000000],
    // "Ringworld virtual CPU"
    [0x80000002, 0, 0x676e6952, 0x6c726f77, 0x69762064, 0x61757472],
    [0x80000003, 0, 0x5043206c, 0x00000055, 0x00000000, 0x00000000],
    [0x80000004, 0, 0x00000000, 0x00000000, 0x00000000, 0x00000000],
    [0x80000006, 0, 0x00000000, 0x00000000, 0x01006040, 0x00000000],
    [0x80000008, 0, 0x0000302e, 0x00000000, 0x00000000, 0x00000000],
  ],
});
