// Extended page tables (SDM Vol 3C, 28.3): guest-physical addresses to physical ones, with accessed and dirty flags, page-modification
// logging, and what an EPT violation or misconfiguration tells.
//
// Called on TLB misses, for the data and for every paging structure of the guest's on the way. Entries are read as two halves: no BigInt.

import type { Lin } from '../addresses.ts';
import { PF } from '../cpu-api.ts';
import type { PhysicalMap } from '../mmu/physical.ts';
import type { SecondLevel } from '../virt/non-root.ts';
import { EPT_CAP } from './capabilities.ts';

/** Bits of an entry (SDM Vol 3C, Tables 28-1 to 28-7). */
export const EPT = {
  read: 1,
  write: 2,
  execute: 4,
  memoryTypeShift: 3,
  ignorePat: 0x40,
  large: 0x80,
  accessed: 0x100,
  dirty: 0x200,
} as const;
const ACCESS = EPT.read | EPT.write | EPT.execute;
/** Memory types of leaves: UC, WC, WT, WP, WB (SDM Vol 3C, 28.3.7). The others are a misconfiguration. */
const MEMORY_TYPES = (1 << 0) | (1 << 1) | (1 << 4) | (1 << 5) | (1 << 6);

/** Bits of the EPT pointer (SDM Vol 3C, Table 24-9). */
export const EPTP = { memoryType: 7, walkLengthShift: 3, walkLength: 0x38, accessedDirty: 0x40 } as const;

/** In place of the root's frame number where there is no EPT. */
export const EPT_POINTER_NONE = -1;

/** Offset of the task-priority register in the APIC's pages. */
export const VTPR = 0x80;

/** What of a processor's capabilities (capabilities.ts) matters to a walk; `ept` has bits of EPT_CAP. */
export interface EptFeatures {
  readonly physicalBits: number;
  readonly ept: number;
}

/** Why the last translation was refused. */
export type EptFault = 'violation' | 'misconfiguration' | 'pmlFull' | 'apicAccess';

/** Pages that a page-modification log has room for; the index counts down from the last. */
const PML_ENTRIES = 512;

/** Where the log's index is kept (the guest-state field PML index). */
export interface PmlIndex {
  get(): number;
  set(index: number): void;
}

export class Ept implements SecondLevel {
  writable = false;
  executable = false;
  shift = 12;

  // Of the last refusal.
  fault: EptFault = 'violation';
  /** EPT violation: bits 8:0 of the exit qualification. Access to the APIC page: the offset in it. */
  qualification = 0;
  gpa = 0;
  /** Undefined where no linear address was being translated. */
  lin: Lin | undefined = undefined;
  access = 0;
  isTable = false;

  /** Reads of EPT entries, since the beginning. */
  references = 0;

  private readonly physical: PhysicalMap;
  private readonly reservedHigh: number;
  private readonly frameHigh: number;
  private readonly executeOnly: boolean;
  private readonly pages2m: boolean;
  private readonly pages1g: boolean;
  private root = 0;
  /** There is no EPT: addresses stay as they are, but for the APIC-access page. */
  private isIdentity = false;
  private apicPage = -1;
  /**
   * Physical address of the virtual-APIC page while one instruction may reach the virtual TPR through the APIC-access page (29.4.2 and
   * 29.4.3), -1 otherwise. Who sets it sees to it that the translation does not outlive the instruction.
   */
  tprPage = -1;
  private marks = false;
  private log = -1;
  private logIndex: PmlIndex | undefined;
  private readonly path = new Int32Array(4);

  constructor(physical: PhysicalMap, features: EptFeatures) {
    this.physical = physical;
    this.executeOnly = (features.ept & EPT_CAP.executeOnly) !== 0;
    this.pages2m = (features.ept & EPT_CAP.pages2m) !== 0;
    this.pages1g = (features.ept & EPT_CAP.pages1g) !== 0;
    this.frameHigh = (1 << (features.physicalBits - 32)) - 1;
    this.reservedHigh = 0xfffff & ~this.frameHigh;
  }

  /**
   * Takes an EPT pointer, given as halves, the address of the page-modification log and that of the APIC-access page, each -1 for none.
   * Accesses to the APIC-access page are refused, but for tprPage.
   */
  use(lo: number, hi: number, log: number, logIndex: PmlIndex | undefined, apicPage: number): void {
    this.isIdentity = false;
    this.apicPage = apicPage;
    this.root = (hi & this.frameHigh) * 0x1_0000_0000 + ((lo & ~0xfff) >>> 0);
    this.marks = (lo & EPTP.accessedDirty) !== 0;
    this.log = log;
    this.logIndex = logIndex;
  }

  /** For a guest without EPT but with an APIC-access page. */
  useIdentity(apicPage: number): void {
    this.isIdentity = true;
    this.apicPage = apicPage;
  }
  get rootFrame(): number {
    return this.root / 4096;
  }

  // Bits 5:3 of the qualification are the AND over the entries used, 0 once one is not present. Read and write are both set for a paging
  // structure of the guest's when accessed and dirty flags are on: such accesses count as writes (Table 27-7, note 1; 28.3.3.2).
  translate(gpa: number, access: number, lin: Lin | undefined, isTable: boolean, update: boolean): number {
    if (this.isIdentity) return this.identity(gpa, access, lin, isTable, update);
    const wanted = this.wants(access, isTable);
    const { u32, base } = this.physical.ram;
    // 4-level tables translate 48 bits.
    if (gpa >= 2 ** 48) return this.violate(gpa, wanted, 0, lin, isTable, update);
    const lo = gpa % 0x1_0000_0000;
    const hi = Math.floor(gpa / 0x1_0000_0000);
    let table = this.root;
    let rights: number = ACCESS;
    let depth = 0;
    for (let shift = 39; ; shift -= 9) {
      const index = shift === 39 ? (hi >>> 7) & 511 : shift === 30 ? ((hi << 2) | (lo >>> 30)) & 511 : (lo >>> shift) & 511;
      this.references++;
      const at = this.physical.locate(table + index * 8);
      // Nothing answers there: reads as ones, which sets reserved bits.
      if (at < 0) return this.misconfigured(gpa, lin, update);
      const w = (base + at) >>> 2;
      const eLo = u32[w]!;
      const eHi = u32[w + 1]!;
      if ((eLo & ACCESS) === 0) return this.violate(gpa, wanted, 0, lin, isTable, update);
      const isLeaf = shift === 12 || (shift !== 39 && (eLo & EPT.large) !== 0);
      if (this.isMisconfigured(eLo, eHi, shift, isLeaf)) return this.misconfigured(gpa, lin, update);
      rights &= eLo;
      this.path[depth++] = w;
      const frame = (eHi & this.frameHigh) * 0x1_0000_0000 + ((eLo & ~0xfff) >>> 0);
      if (!isLeaf) {
        table = frame;
        continue;
      }
      if ((wanted & ~rights) !== 0) return this.violate(gpa, wanted, rights, lin, isTable, update);
      const size = 2 ** shift;
      const physical = frame - (frame % size) + (gpa % size);
      if (this.isApic(physical)) return this.apicAccess(gpa, access, lin, isTable, update);
      if (update && this.marks && !this.mark(depth, (wanted & EPT.write) !== 0, gpa, lin)) return -1;
      this.writable = (rights & EPT.write) !== 0 && (!this.marks || (u32[w]! & EPT.dirty) !== 0);
      this.executable = (rights & EPT.execute) !== 0;
      this.shift = shift;
      return physical;
    }
  }

  private identity(gpa: number, access: number, lin: Lin | undefined, isTable: boolean, update: boolean): number {
    if (this.isApic(gpa)) return this.apicAccess(gpa, access, lin, isTable, update);
    this.writable = true;
    this.executable = true;
    this.shift = 12;
    return gpa;
  }
  private isApic(physical: number): boolean {
    return physical - (physical % 4096) === this.apicPage;
  }
  private apicAccess(gpa: number, access: number, lin: Lin | undefined, isTable: boolean, update: boolean): number {
    if (this.tprPage >= 0 && !isTable && !(access & PF.fetch) && gpa % 4096 === VTPR) {
      this.writable = (access & PF.write) !== 0;
      this.executable = false;
      this.shift = 12;
      return this.tprPage + VTPR;
    }
    if (!update) return -1;
    this.note('apicAccess', gpa, lin);
    this.qualification = gpa % 4096;
    this.access = access;
    this.isTable = isTable;
    return -1;
  }

  /** Rights that an access needs, as bits 2:0 of an entry. */
  private wants(access: number, isTable: boolean): number {
    if (isTable) return this.marks || access & PF.write ? EPT.read | EPT.write : EPT.read;
    return access & PF.fetch ? EPT.execute : access & PF.write ? EPT.write : EPT.read;
  }

  /** SDM Vol 3C, 28.3.3.1, of an entry that is present. */
  private isMisconfigured(lo: number, hi: number, shift: number, isLeaf: boolean): boolean {
    const rights = lo & ACCESS;
    if ((rights & (EPT.read | EPT.write)) === EPT.write || (rights === EPT.execute && !this.executeOnly)) return true;
    if (hi & this.reservedHigh) return true;
    if (!isLeaf) return (lo & (shift === 39 ? 0xf8 : 0x78)) !== 0;
    if (!((MEMORY_TYPES >>> ((lo >>> EPT.memoryTypeShift) & 7)) & 1)) return true;
    if (shift === 12) return false;
    if (!(shift === 21 ? this.pages2m : this.pages1g)) return true;
    return (lo & (2 ** shift - 1) & ~0xfff) !== 0;
  }

  /** Accessed and dirty flags of the entries used (28.3.5). False: the page-modification log is full, and nothing has been set. */
  private mark(depth: number, isWrite: boolean, gpa: number, lin: Lin | undefined): boolean {
    const { u32 } = this.physical.ram;
    const leaf = this.path[depth - 1]!;
    const dirties = isWrite && (u32[leaf]! & EPT.dirty) === 0;
    if (dirties && this.log >= 0 && !this.logWrite(gpa)) {
      this.note('pmlFull', gpa, lin);
      return false;
    }
    for (let i = 0; i < depth; i++) {
      const w = this.path[i]!;
      if (!(u32[w]! & EPT.accessed)) u32[w] = u32[w]! | EPT.accessed;
    }
    if (dirties) u32[leaf] = u32[leaf]! | EPT.dirty;
    return true;
  }
  /** Page-modification logging (28.3.6): before a dirty flag is set. */
  private logWrite(gpa: number): boolean {
    const index = this.logIndex!.get();
    if (index >= PML_ENTRIES) return false;
    const at = this.physical.locate(this.log + index * 8);
    if (at >= 0) {
      const { u32, base } = this.physical.ram;
      u32[(base + at) >>> 2] = ((gpa % 0x1_0000_0000) & ~0xfff) >>> 0;
      u32[((base + at) >>> 2) + 1] = Math.floor(gpa / 0x1_0000_0000);
    }
    this.logIndex!.set((index - 1) & 0xffff);
    return true;
  }

  private violate(gpa: number, wanted: number, rights: number, lin: Lin | undefined, isTable: boolean, update: boolean): number {
    if (!update) return -1;
    this.note('violation', gpa, lin);
    this.qualification = wanted | (rights << 3) | (lin === undefined ? 0 : isTable ? 0x80 : 0x180);
    return -1;
  }
  private misconfigured(gpa: number, lin: Lin | undefined, update: boolean): number {
    if (update) this.note('misconfiguration', gpa, lin);
    return -1;
  }
  private note(fault: EptFault, gpa: number, lin: Lin | undefined): void {
    this.fault = fault;
    this.qualification = 0;
    this.gpa = gpa;
    this.lin = lin;
  }
}
