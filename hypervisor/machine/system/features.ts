// The feature bits of CPUID by name, and which of them this machine keeps. Names are mostly those of Linux's /proc/cpuinfo; an instruction
// record names the feature that it needs (isa/insn.ts, `cpuid`).

export const EAX = 0;
export const EBX = 1;
export const ECX = 2;
export const EDX = 3;

export interface FeatureBit {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: number;
  readonly bit: number;
}

/** Register bits of a leaf, bit 0 first; '.' for a bit that is not named here. */
const bits = (leaf: number, register: number, names: string, subleaf = 0): [string, FeatureBit][] =>
  names
    .split(' ')
    .map((name, bit): [string, FeatureBit] => [name, { leaf, subleaf, register, bit }])
    .filter(([name]) => name !== '.');

/** SDM Vol 2A, Tables 3-8, 3-10, 3-11; APM Vol 3, appendix E. */
export const FEATURES: ReadonlyMap<string, FeatureBit> = new Map([
  ...bits(
    1,
    EDX,
    'fpu vme de pse tsc msr pae mce cx8 apic . sep mtrr pge mca cmov pat pse36 pn clflush . dts acpi mmx fxsr sse sse2 ss ht tm . pbe',
  ),
  ...bits(
    1,
    ECX,
    'sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm . pcid dca sse4_1 sse4_2 x2apic movbe popcnt ' +
      'tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor',
  ),
  ...bits(6, EAX, '. . arat'),
  ...bits(
    7,
    EBX,
    'fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a avx512f avx512dq rdseed ' +
      'adx smap avx512ifma . clflushopt clwb intel_pt . . . sha_ni avx512bw avx512vl',
  ),
  ...bits(7, ECX, '. . umip pku ospke waitpkg . . . . . . . . . . . . . . . . rdpid'),
  ...bits(7, EDX, '. . . . fsrm'),
  ...bits(0xd, EAX, 'xsaveopt xsavec xgetbv1 xsaves', 1),
  ...bits(
    0x8000_0001,
    ECX,
    'lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt . lwp fma4 tce . nodeid_msr . ' +
      'tbm topoext perfctr_core perfctr_nb . bpext ptsc perfctr_llc mwaitx',
  ),
  ...bits(0x8000_0001, EDX, '. . . . . . . . . . . syscall . . . . . . . . nx . mmxext . . fxsr_opt pdpe1gb rdtscp . lm 3dnowext 3dnow'),
  ...bits(0x8000_0007, EDX, '. . . . . . . . nonstop_tsc'),
  ...bits(0x8000_0008, EBX, 'clzero irperf xsaveerptr . . . . . . wbnoinvd'),
  ...bits(
    0x8000_000a,
    EDX,
    'npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists . . pausefilter . pfthreshold avic . v_vmsave_vmload vgif',
  ),
]);

/**
 * What the machine does in full. A profile that was measured on silicon offers those of its features that stand here, and no others.
 * What is missing: AVX and later; SVM; performance counters, debug store, thermal and power management; several threads in a
 * package; AMD's 3DNow!, SSE4A and misaligned SSE.
 */
export const IMPLEMENTED: ReadonlySet<string> = new Set(
  (
    'fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ' +
    'sse3 ssse3 sse4_1 sse4_2 aes pclmulqdq sha_ni vmx ' +
    'abm adx bmi1 bmi2 monitor cx16 pcid x2apic movbe popcnt tsc_deadline_timer xsave rdrand hypervisor arat ' +
    'fsgsbase tsc_adjust smep erms invpcid zero_fcs_fds rdseed smap clflushopt clwb umip pku rdpid fsrm ' +
    'xsaveopt xsavec xgetbv1 xsaves lahf_lm svm skinit topoext syscall nx fxsr_opt pdpe1gb rdtscp lm nonstop_tsc wbnoinvd ' +
    'npt lbrv svm_lock nrip_save vmcb_clean flushbyasid decodeassists pausefilter pfthreshold v_vmsave_vmload vgif'
  ).split(' '),
);
