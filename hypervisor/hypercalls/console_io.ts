// console_io: the hypervisor's own console. A guest's lines appear in its log as "(dN) text", as in a Xen built with verbose debugging;
// reading, and writing anything but text, is the privileged domain's alone (xen/drivers/char/console.c).

import { CONSOLEIO_read, CONSOLEIO_write, XEN_EFAULT, XEN_ENOSYS, XEN_EPERM } from '@ringworld/abi';
import type { HypercallContext, HypercallHandler, HypercallResult } from './context.ts';

/** Bytes copied at a time: a fault in the middle leaves what came before on the console. */
const CHUNK = 128;

/** A guest may not smuggle control sequences into the log. */
const printable = (byte: number): boolean => (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x09;

function write(c: HypercallContext, count: number, buffer: number): HypercallResult {
  const end = Math.min(count, c.workLeft * CHUNK);
  c.work += Math.ceil(end / CHUNK);
  for (let done = 0; done < end; done += CHUNK) {
    const bytes = c.guest.copyFrom(buffer + done, Math.min(CHUNK, end - done));
    if (bytes === null) return -XEN_EFAULT;
    const shown = c.domain.isPrivileged ? bytes : bytes.filter(printable);
    c.hv.console.guest(c.domain.id, String.fromCharCode(...shown));
  }
  return end < count ? c.continueWith(CONSOLEIO_write, count - end, buffer + end) : 0;
}

export const console_io: HypercallHandler = (c) => {
  switch (c.argU32(0)) {
    case CONSOLEIO_write:
      return write(c, c.argU32(1), c.arg(2));
    case CONSOLEIO_read:
      // No serial line leads here: nothing has been typed.
      return c.domain.isPrivileged ? 0 : -XEN_EPERM;
    default:
      return c.domain.isPrivileged ? -XEN_ENOSYS : -XEN_EPERM;
  }
};
