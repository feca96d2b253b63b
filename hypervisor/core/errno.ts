// Results of hypercalls are plain numbers: zero or more for success, -XEN_Exxx (from @ringworld/abi) for failure.

/** Whether a hypercall result is an error: Xen's IS_ERR_VALUE range (xen/include/xen/err.h, MAX_ERRNO). */
export const isError = (result: number): boolean => result < 0 && result >= -4095;
