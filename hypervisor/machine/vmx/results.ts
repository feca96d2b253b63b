// How VMX instructions end (SDM Vol 3C, 30.2 and 30.4).

/** VM-instruction errors (Table 30-1); the names are ours. */
export const VM_ERROR = {
  vmcallInRoot: 1,
  vmclearAddress: 2,
  vmclearVmxonPointer: 3,
  vmlaunchNotClear: 4,
  vmresumeNotLaunched: 5,
  entryControls: 7,
  entryHostState: 8,
  vmptrldAddress: 9,
  vmptrldVmxonPointer: 10,
  vmptrldRevision: 11,
  unsupportedField: 12,
  readOnlyField: 13,
  vmxonInRoot: 15,
  blockedByMovSs: 26,
  invalidOperand: 28,
} as const;

/** VMsucceed (0), VMfailInvalid (-1), or the error number of VMfailValid. */
export type VmResult = number;
export const VM_SUCCEED = 0;
export const VM_FAIL_INVALID = -1;
/** Of VMLAUNCH and VMRESUME: the entry failed late, with an exit reason in the VMCS (26.8). */
export const VM_ENTRY_FAILED = -2;
