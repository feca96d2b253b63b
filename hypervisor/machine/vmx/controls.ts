// The VM-execution, VM-exit and VM-entry controls of VMX: which bit of which word is what.
//
// Sections in this folder are those of the SDM, volume 3C, in the editions up to 2022 (24 VMCS, 25 non-root operation, 26 VM entries,
// 27 VM exits, appendix A capability MSRs, appendix B field encodings); editions since then count chapters one further.

/** Bits by the SDM's names. Values are masks as signed 32-bit numbers. */
export const CONTROLS = {
  /** Section 24.6.1, Table 24-5. */
  pin: {
    externalInterruptExiting: 1 << 0,
    nmiExiting: 1 << 3,
    virtualNmis: 1 << 5,
    activatePreemptionTimer: 1 << 6,
    processPostedInterrupts: 1 << 7,
  },
  /** Section 24.6.2, Table 24-6. */
  primary: {
    interruptWindowExiting: 1 << 2,
    useTscOffsetting: 1 << 3,
    hltExiting: 1 << 7,
    invlpgExiting: 1 << 9,
    mwaitExiting: 1 << 10,
    rdpmcExiting: 1 << 11,
    rdtscExiting: 1 << 12,
    cr3LoadExiting: 1 << 15,
    cr3StoreExiting: 1 << 16,
    activateTertiaryControls: 1 << 17,
    cr8LoadExiting: 1 << 19,
    cr8StoreExiting: 1 << 20,
    useTprShadow: 1 << 21,
    nmiWindowExiting: 1 << 22,
    movDrExiting: 1 << 23,
    unconditionalIoExiting: 1 << 24,
    useIoBitmaps: 1 << 25,
    monitorTrapFlag: 1 << 27,
    useMsrBitmaps: 1 << 28,
    monitorExiting: 1 << 29,
    pauseExiting: 1 << 30,
    activateSecondaryControls: 1 << 31,
  },
  /** Section 24.6.2, Table 24-7. */
  secondary: {
    virtualizeApicAccesses: 1 << 0,
    enableEpt: 1 << 1,
    descriptorTableExiting: 1 << 2,
    enableRdtscp: 1 << 3,
    virtualizeX2apicMode: 1 << 4,
    enableVpid: 1 << 5,
    wbinvdExiting: 1 << 6,
    unrestrictedGuest: 1 << 7,
    apicRegisterVirtualization: 1 << 8,
    virtualInterruptDelivery: 1 << 9,
    pauseLoopExiting: 1 << 10,
    rdrandExiting: 1 << 11,
    enableInvpcid: 1 << 12,
    enableVmFunctions: 1 << 13,
    vmcsShadowing: 1 << 14,
    enableEnclsExiting: 1 << 15,
    rdseedExiting: 1 << 16,
    enablePml: 1 << 17,
    eptViolationVe: 1 << 18,
    concealVmxFromPt: 1 << 19,
    enableXsaves: 1 << 20,
    pasidTranslation: 1 << 21,
    modeBasedExecuteForEpt: 1 << 22,
    subPageWritePermissions: 1 << 23,
    ptUsesGuestPhysicalAddresses: 1 << 24,
    useTscScaling: 1 << 25,
    enableUserWaitAndPause: 1 << 26,
    enablePconfig: 1 << 27,
    enableEnclvExiting: 1 << 28,
    vmmBusLockDetection: 1 << 30,
    instructionTimeout: 1 << 31,
  },
  /** Section 24.6.2, Table 24-8. No profile has these; they are named because VMCS fields depend on them. */
  tertiary: { loadiwkeyExiting: 1 << 0, enableHlat: 1 << 1, ipiVirtualization: 1 << 4, virtualizeSpecCtrl: 1 << 7 },
  /** Section 24.7.1. */
  exit: {
    saveDebugControls: 1 << 2,
    hostAddressSpaceSize: 1 << 9,
    loadPerfGlobalCtrl: 1 << 12,
    acknowledgeInterruptOnExit: 1 << 15,
    savePat: 1 << 18,
    loadPat: 1 << 19,
    saveEfer: 1 << 20,
    loadEfer: 1 << 21,
    savePreemptionTimer: 1 << 22,
    clearBndcfgs: 1 << 23,
    concealVmxFromPt: 1 << 24,
    clearRtitCtl: 1 << 25,
    clearLbrCtl: 1 << 26,
    loadCetState: 1 << 28,
    loadPkrs: 1 << 29,
    activateSecondaryControls: 1 << 31,
  },
  /** Section 24.8.1. */
  entry: {
    loadDebugControls: 1 << 2,
    ia32eModeGuest: 1 << 9,
    entryToSmm: 1 << 10,
    deactivateDualMonitor: 1 << 11,
    loadPerfGlobalCtrl: 1 << 13,
    loadPat: 1 << 14,
    loadEfer: 1 << 15,
    loadBndcfgs: 1 << 16,
    concealVmxFromPt: 1 << 17,
    loadRtitCtl: 1 << 18,
    loadUinv: 1 << 19,
    loadCetState: 1 << 20,
    loadLbrCtl: 1 << 21,
    loadPkrs: 1 << 22,
  },
} as const;

export const { pin: PIN, primary: PRIMARY, secondary: SECONDARY, exit: EXIT, entry: ENTRY } = CONTROLS;

export type ControlWord = keyof typeof CONTROLS;
/** A bit with its word, as in 'secondary.enableEpt'. */
export type ControlName = { [W in ControlWord]: `${W}.${keyof (typeof CONTROLS)[W] & string}` }[ControlWord];

/** Bits of VM-function controls (section 24.6.14). */
export const VMFUNC = { eptpSwitching: 1 << 0 } as const;
