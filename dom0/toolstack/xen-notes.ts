// What a kernel image tells the domain builder: the Xen ELF notes (elfnote.h) or, in older images, the __xen_guest section,
// and the addresses that follow from them. The rules (which note wins, what defaults to what, what is refused) are those of
// Xen's libelf (xen/common/libelf/libelf-dominfo.c), PV case.
//
// Notes are looked for in PT_NOTE segments, then in SHT_NOTE sections, then the legacy string is tried.

import { type ElfImage, type ElfNote, EM_386, EM_X86_64, PT_LOAD, PT_NOTE, parseNotes, SHT_NOTE } from './elf.ts';
import { XEN_ELFNOTE } from './elfnote-numbers.ts';
import { DomainBuildError } from './errors.ts';
import { type FeatureSet, parseFeatures } from './features.ts';
import { unsignedLess } from './virtual.ts';

export type PaeMode = 'no' | 'yes' | 'extended-cr3' | 'bimodal';

export interface XenKernel {
  /** The notes by name, as text or number: for messages and dumps. */
  readonly notes: ReadonlyMap<string, string | number>;
  readonly loader: string;
  readonly guestOs: string;
  readonly guestVersion: string;
  readonly xenVersion: string;
  readonly pae: PaeMode;
  readonly features: Readonly<FeatureSet>;
  readonly virtBase: number;
  readonly virtEntry: number;
  /** Address of the page the hypervisor fills with hypercall stubs; null where the kernel makes its own. */
  readonly virtHypercall: number | null;
  /** Where the p2m list is to be mapped instead of behind the kernel (INIT_P2M). */
  readonly p2mBase: number | null;
  /** The initrd may lie outside the initial mapping, its start given as a frame number (MOD_START_PFN). */
  readonly unmappedInitrd: boolean;
  readonly phys32Entry: number | null;
  /** Kernel image in virtual space: first byte, and first byte behind it. */
  readonly virtStart: number;
  readonly virtEnd: number;
  /** What to add to a segment's paddr to get its virtual address. */
  readonly virtOffset: number;
}

interface Draft {
  notes: Map<string, string | number>;
  loader: string;
  guestOs: string;
  guestVersion: string;
  xenVersion: string;
  pae: PaeMode;
  features: FeatureSet;
  virtBase: number | null;
  virtEntry: number | null;
  virtHypercall: number | null;
  p2mBase: number | null;
  paddrOffset: number | null;
  unmappedInitrd: boolean;
  phys32Entry: number | null;
}

const text = (desc: Uint8Array): string => new TextDecoder('latin1').decode(desc).split('\0', 1)[0]!;

/** 4 or 8 bytes (elfnote.h); a 64-bit value is an address, hence signed. */
const numeric = (desc: Uint8Array): number => {
  const v = new DataView(desc.buffer, desc.byteOffset, desc.byteLength);
  if (desc.length >= 8) return Number(v.getBigInt64(0, true));
  return desc.length >= 4 ? v.getUint32(0, true) : 0;
};

type NoteReader =
  | { readonly string: (draft: Draft, value: string, fail: (why: string) => never) => void }
  | { readonly number: (draft: Draft, value: number) => void };

const addFeatures = (d: Draft, value: string, fail: (why: string) => never): void => {
  const { unknownRequired } = parseFeatures(value, d.features);
  if (unknownRequired !== undefined) fail(`it requires the feature "${unknownRequired}", which Xen does not know`);
};

/** One entry per note number: what it sets. L1_MFN_VALID and SUSPEND_CANCEL are recorded and otherwise of no use to a builder. */
const NOTE_READERS: { readonly [N in keyof typeof XEN_ELFNOTE]: NoteReader } = {
  INFO: { string: () => {} },
  ENTRY: {
    number: (d, v) => {
      d.virtEntry = v;
    },
  },
  HYPERCALL_PAGE: {
    number: (d, v) => {
      d.virtHypercall = v;
    },
  },
  VIRT_BASE: {
    number: (d, v) => {
      d.virtBase = v;
    },
  },
  PADDR_OFFSET: {
    number: (d, v) => {
      d.paddrOffset = v;
    },
  },
  XEN_VERSION: {
    string: (d, v) => {
      d.xenVersion = v;
    },
  },
  GUEST_OS: {
    string: (d, v) => {
      d.guestOs = v;
    },
  },
  GUEST_VERSION: {
    string: (d, v) => {
      d.guestVersion = v;
    },
  },
  LOADER: {
    string: (d, v) => {
      d.loader = v;
    },
  },
  PAE_MODE: {
    // A kernel new enough for notes knows the extended cr3 format, so "yes" means that (elfnote.h).
    string: (d, v) => {
      if (v === 'yes') d.pae = 'extended-cr3';
      if (v.includes('bimodal')) d.pae = 'bimodal';
    },
  },
  FEATURES: { string: addFeatures },
  BSD_SYMTAB: { string: () => {} },
  HV_START_LOW: { number: () => {} },
  L1_MFN_VALID: { number: () => {} },
  SUSPEND_CANCEL: { number: () => {} },
  INIT_P2M: {
    number: (d, v) => {
      d.p2mBase = v;
    },
  },
  MOD_START_PFN: {
    number: (d, v) => {
      d.unmappedInitrd = v !== 0;
    },
  },
  SUPPORTED_FEATURES: {
    number: (d, v) => {
      d.features.supported |= v;
    },
  },
  PHYS32_ENTRY: {
    number: (d, v) => {
      d.phys32Entry = v;
    },
  },
};

const NOTE_NAMES = new Map(Object.entries(XEN_ELFNOTE).map(([name, number]) => [number as number, name as keyof typeof XEN_ELFNOTE]));

function readNotes(draft: Draft, notes: readonly ElfNote[], fail: (why: string) => never): number {
  let found = 0;
  for (const note of notes) {
    if (note.name !== 'Xen') continue;
    found++;
    const name = NOTE_NAMES.get(note.type);
    if (name === undefined) continue;
    const reader = NOTE_READERS[name];
    if ('string' in reader) {
      draft.notes.set(name, text(note.desc));
      reader.string(draft, text(note.desc), fail);
    } else {
      draft.notes.set(name, numeric(note.desc));
      reader.number(draft, numeric(note.desc));
    }
  }
  return found;
}

/** "KEY=value,KEY=value" of the __xen_guest section. */
function readGuestInfo(draft: Draft, info: string, fail: (why: string) => never): void {
  const number = (value: string): number => {
    const parsed = /^0x[0-9a-f]+$|^\d+$/i.test(value) ? BigInt.asIntN(64, BigInt(value)) : fail(`bad number "${value}" in __xen_guest`);
    return Number(parsed);
  };
  const keys: Record<string, (value: string) => void> = {
    LOADER: (v) => {
      draft.loader = v;
    },
    GUEST_OS: (v) => {
      draft.guestOs = v;
    },
    GUEST_VER: (v) => {
      draft.guestVersion = v;
    },
    XEN_VER: (v) => {
      draft.xenVersion = v;
    },
    PAE: (v) => {
      draft.pae = v === 'yes[extended-cr3]' ? 'extended-cr3' : v.startsWith('yes') ? 'yes' : draft.pae;
    },
    VIRT_BASE: (v) => {
      draft.virtBase = number(v);
    },
    VIRT_ENTRY: (v) => {
      draft.virtEntry = number(v);
    },
    ELF_PADDR_OFFSET: (v) => {
      draft.paddrOffset = number(v);
    },
    // The legacy value is a frame number relative to VIRT_BASE, not an address.
    HYPERCALL_PAGE: (v) => {
      draft.virtHypercall = number(v) * 4096;
    },
    FEATURES: (v) => addFeatures(draft, v, fail),
  };
  for (const item of info.split(',')) {
    const eq = item.indexOf('=');
    const name = eq < 0 ? item : item.slice(0, eq);
    const value = eq < 0 ? '' : item.slice(eq + 1);
    if (name !== '') draft.notes.set(name, value);
    keys[name]?.(value);
  }
  if (draft.virtBase !== null && draft.virtHypercall !== null) draft.virtHypercall += draft.virtBase;
}

/** Reads what the builder must know. Throws DomainBuildError when the image is not a PV kernel. */
export function readXenKernel(elf: ElfImage): XenKernel {
  const fail = (why: string): never => {
    throw new DomainBuildError(elf.file, why);
  };
  if (elf.machine !== EM_386 && elf.machine !== EM_X86_64) fail(`not an x86 kernel (ELF machine ${elf.machine})`);
  const draft: Draft = {
    notes: new Map(),
    loader: '',
    guestOs: '',
    guestVersion: '',
    xenVersion: '',
    pae: 'no',
    features: { supported: 0, required: 0 },
    virtBase: null,
    virtEntry: null,
    virtHypercall: null,
    p2mBase: null,
    paddrOffset: null,
    unmappedInitrd: false,
    phys32Entry: null,
  };

  let found = 0;
  for (const s of elf.segments) if (s.type === PT_NOTE) found += readNotes(draft, parseNotes(s.data), fail);
  if (found === 0) for (const s of elf.sections) if (s.type === SHT_NOTE) found += readNotes(draft, parseNotes(s.data), fail);
  const legacy = found === 0 ? elf.sections.find((s) => s.name === '__xen_guest') : undefined;
  if (legacy !== undefined) readGuestInfo(draft, text(legacy.data), fail);
  else if (found === 0) fail('not a Xen kernel: it has no Xen ELF notes and no __xen_guest section (built without CONFIG_XEN_PV?)');

  if (!draft.loader.startsWith('generic') && !draft.guestOs.startsWith('linux')) {
    const how = draft.phys32Entry === null ? '' : '; it has PHYS32_ENTRY, so it may boot as PVH, but not as PV';
    fail(`not a PV kernel: neither LOADER "generic" nor GUEST_OS "linux" (LOADER "${draft.loader}", GUEST_OS "${draft.guestOs}")${how}`);
  }
  if (!draft.xenVersion.startsWith('xen-3.0')) fail(`built for Xen interface "${draft.xenVersion}", not "xen-3.0"`);
  if (draft.paddrOffset !== null && draft.virtBase === null) fail('PADDR_OFFSET is set while VIRT_BASE is not');

  const loads = elf.segments.filter((s) => s.type === PT_LOAD && s.memsz > 0);
  if (loads.length === 0) fail('nothing to load: it has no PT_LOAD segment');
  const start = loads.reduce((low, s) => (unsignedLess(s.paddr, low) ? s.paddr : low), loads[0]!.paddr);
  const end = loads.reduce((high, s) => (unsignedLess(high, s.paddr + s.memsz) ? s.paddr + s.memsz : high), start);
  const virtBase = draft.virtBase ?? 0;
  // Legacy images put virtual addresses into p_paddr, hence the default of libelf.
  const virtOffset = virtBase - (draft.paddrOffset ?? (legacy === undefined ? 0 : virtBase));
  const virtStart = start + virtOffset;
  const virtEnd = end + virtOffset;
  const virtEntry = draft.virtEntry ?? elf.entry;
  const hex = (n: number) => `0x${BigInt.asUintN(64, BigInt(n)).toString(16)}`;
  if (
    unsignedLess(virtEnd, virtStart) ||
    unsignedLess(virtEntry, virtStart) ||
    unsignedLess(virtEnd, virtEntry) ||
    unsignedLess(virtStart, virtBase)
  )
    fail(`entry ${hex(virtEntry)} or base ${hex(virtBase)} does not fit the image at ${hex(virtStart)}-${hex(virtEnd)}`);
  if (draft.p2mBase !== null && !unsignedLess(draft.p2mBase, virtStart) && unsignedLess(draft.p2mBase, virtEnd))
    fail(`INIT_P2M ${hex(draft.p2mBase)} lies inside the image`);
  return { ...draft, virtBase, virtEntry, virtStart, virtEnd, virtOffset };
}
