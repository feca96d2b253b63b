// ELF notes, and Xen's in particular: by which a kernel tells the domain builder what it is and how it wants to start (elfnote.h).
import * as abi from '@ringworld/abi';

export interface ElfNote {
  /** The owner of the type's meaning: "Xen", "GNU". */
  readonly name: string;
  readonly type: number;
  /** Text gets its terminating zero; a bigint is a word of the file's class. */
  readonly desc: string | bigint;
}

/** The notes that a PV kernel may carry, by their names without XEN_ELFNOTE_. Addresses are bigints. */
export interface XenNotes {
  readonly GUEST_OS?: string;
  readonly GUEST_VERSION?: string;
  readonly XEN_VERSION: 'xen-3.0';
  readonly LOADER: 'generic';
  readonly VIRT_BASE: bigint;
  readonly PADDR_OFFSET?: bigint;
  readonly ENTRY: bigint;
  readonly HYPERCALL_PAGE?: bigint;
  readonly HV_START_LOW?: bigint;
  readonly PAE_MODE?: 'yes' | 'no' | 'bimodal';
  readonly FEATURES?: string;
  readonly SUPPORTED_FEATURES?: bigint;
  readonly INIT_P2M?: bigint;
  readonly MOD_START_PFN?: bigint;
  readonly SUSPEND_CANCEL?: bigint;
}

const NUMBERS: { readonly [K in keyof Required<XenNotes>]: number } = {
  GUEST_OS: abi.XEN_ELFNOTE_GUEST_OS,
  GUEST_VERSION: abi.XEN_ELFNOTE_GUEST_VERSION,
  XEN_VERSION: abi.XEN_ELFNOTE_XEN_VERSION,
  LOADER: abi.XEN_ELFNOTE_LOADER,
  VIRT_BASE: abi.XEN_ELFNOTE_VIRT_BASE,
  PADDR_OFFSET: abi.XEN_ELFNOTE_PADDR_OFFSET,
  ENTRY: abi.XEN_ELFNOTE_ENTRY,
  HYPERCALL_PAGE: abi.XEN_ELFNOTE_HYPERCALL_PAGE,
  HV_START_LOW: abi.XEN_ELFNOTE_HV_START_LOW,
  PAE_MODE: abi.XEN_ELFNOTE_PAE_MODE,
  FEATURES: abi.XEN_ELFNOTE_FEATURES,
  SUPPORTED_FEATURES: abi.XEN_ELFNOTE_SUPPORTED_FEATURES,
  INIT_P2M: abi.XEN_ELFNOTE_INIT_P2M,
  MOD_START_PFN: abi.XEN_ELFNOTE_MOD_START_PFN,
  SUSPEND_CANCEL: abi.XEN_ELFNOTE_SUSPEND_CANCEL,
};

export const xenNotes = (notes: XenNotes): ElfNote[] =>
  Object.entries(notes).map(([name, desc]) => ({ name: 'Xen', type: NUMBERS[name as keyof XenNotes], desc }));

/** A little-endian word: width in bytes, value. */
export type Word = readonly [width: 1 | 2 | 4 | 8, value: number | bigint];

export function words(fields: readonly Word[]): Uint8Array {
  const out = new Uint8Array(fields.reduce((n, [width]) => n + width, 0));
  let at = 0;
  for (const [width, value] of fields) {
    let v = BigInt.asUintN(64, BigInt(value));
    for (let i = 0; i < width; i++, v >>= 8n) out[at++] = Number(v & 0xffn);
  }
  return out;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Zeros up to the next multiple. */
export const padTo = (bytes: Uint8Array, multiple: number): Uint8Array =>
  concat([bytes, new Uint8Array((multiple - (bytes.length % multiple)) % multiple)]);

/** gABI, "Note Section": sizes, type, then owner and contents, each padded to 4 bytes. */
export function encodeNotes(notes: readonly ElfNote[], bits: 32 | 64): Uint8Array {
  const utf8 = new TextEncoder();
  return concat(
    notes.map(({ name, type, desc }) => {
      const owner = utf8.encode(`${name}\0`);
      const content = typeof desc === 'string' ? utf8.encode(`${desc}\0`) : words([[bits === 64 ? 8 : 4, desc]]);
      return concat([
        words([
          [4, owner.length],
          [4, content.length],
          [4, type],
        ]),
        padTo(owner, 4),
        padTo(content, 4),
      ]);
    }),
  );
}
