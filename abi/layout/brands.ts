// The words of Xen's memory and event model as incompatible number types: a machine frame is no guest frame is no
// pseudo-physical frame. They are plain JavaScript numbers at run time; only the type checker sees the difference.
export type Brand<T, B extends string> = T & { readonly __brand: B };

/** Frame of real machine memory. */
export type Mfn = Brand<number, 'mfn'>;
/** Frame in a domain's own numbering, whatever that is: equal to an Mfn for PV guests, to a Pfn for translated ones. */
export type Gfn = Brand<number, 'gfn'>;
/** Frame in a domain's contiguous numbering from 0. */
export type Pfn = Brand<number, 'pfn'>;
export type GrantRef = Brand<number, 'grant_ref_t'>;
export type GrantHandle = Brand<number, 'grant_handle_t'>;
export type EvtchnPort = Brand<number, 'evtchn_port_t'>;
export type Domid = Brand<number, 'domid_t'>;
/** A canonical linear address of a guest, as a signed number: the upper half of the 64-bit space is negative, and exact. */
export type GuestVaddr = Brand<number, 'vaddr'>;
/** An address that a guest passes for Xen to read or write a T at: linear for PV, guest-physical for auto-translated domains. */
export type GuestHandle<T = unknown> = Brand<number, 'guest_handle'> & { readonly __of?: T };

export const mfn = (n: number): Mfn => n as Mfn;
export const gfn = (n: number): Gfn => n as Gfn;
export const pfn = (n: number): Pfn => n as Pfn;
export const grantRef = (n: number): GrantRef => n as GrantRef;
export const grantHandle = (n: number): GrantHandle => n as GrantHandle;
export const evtchnPort = (n: number): EvtchnPort => n as EvtchnPort;
export const domid = (n: number): Domid => n as Domid;
export const guestVaddr = (n: number): GuestVaddr => n as GuestVaddr;
export const guestHandle = <T = unknown>(n: number): GuestHandle<T> => n as GuestHandle<T>;
