// Performance counters of guests: the vPMU is off, as it is in Xen unless asked for. Counters read as zero and take any value
// (vpmu_do_rdmsr, vpmu_do_wrmsr, xen/arch/x86/cpu/vpmu.c).

const K7_EVNTSEL0 = 0xc001_0000;
const FAM15H_EVNTSEL0 = 0xc001_0200;

const isAmdCounter = (n: number): boolean =>
  (n >= K7_EVNTSEL0 && n <= K7_EVNTSEL0 + 7) || (n >= FAM15H_EVNTSEL0 && n <= FAM15H_EVNTSEL0 + 11);
const isIntelCounter = (n: number): boolean =>
  (n >= 0xc1 && n <= 0xc8) || (n >= 0x186 && n <= 0x189) || (n >= 0x309 && n <= 0x30b) || (n >= 0x38d && n <= 0x390);

/** Whether an MSR of a processor of this vendor is a counter or selects what one counts. */
export const isCounterMsr = (vendor: string, n: number): boolean => (vendor === 'AuthenticAMD' ? isAmdCounter(n) : isIntelCounter(n));
