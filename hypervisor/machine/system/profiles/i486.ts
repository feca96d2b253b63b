// Intel486 DX4 (write-back enhanced), the last 486 of Intel's and one of those with CPUID.
// Source: Intel application note AP-485, "Intel Processor Identification and the CPUID Instruction": signature 0000_0100_1001_xxxx is the
// write-back enhanced DX4, feature flags FPU and VME; two basic leaves, no extended ones, no brand string.

import { profile } from './profile.ts';

export const i486 = profile({
  name: '486',
  mhz: 100,
  microcode: 0,
  leaves: [
    [0x0, 0, 0x00000001, 0x756e6547, 0x6c65746e, 0x49656e69],
    [0x1, 0, 0x00000490, 0x00000000, 0x00000000, 0x00000003],
  ],
});
