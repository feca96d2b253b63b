// From instruction bytes to threaded code: decodes a block and writes its records.
//
// A block runs to the first instruction that always leaves it, to a system instruction, to MAX_BLOCK instructions, or to the end of its
// page. Conditional branches that are not taken run on inside the block.

import { type Lin, linHi, linLo, type Mfn } from '../addresses.ts';
import type { Decoded, DecodedOperand, RelOperand } from '../isa/decoded.ts';
import { type AnyInsn, insn } from '../isa/insn.ts';
import type { Ram } from '../mmu/ram.ts';
import type { OperandShape } from '../stage/wasm-builder.ts';
import { STATE } from '../state.ts';
import { TRAPPED } from '../virt/non-root.ts';
import { type CodeCache, type CodePage, RECORDS_PER_CHUNK } from './code-cache.ts';
import { COMMON_INSTRUCTIONS } from './common-instructions.ts';
import { decode } from './decode.ts';
import { decodeAcross } from './decode-across.ts';
import type { Handlers } from './handlers.ts';
import { jumpSlot } from './jump-cache.ts';
import { type ExecMode, fitsLimit } from './mode.ts';
import { COUNT_HANDLER, REC, RECORD_SIZE, STOP } from './records.ts';

export const MAX_BLOCK = 48;
/** For the records that end a block or detour (goto): two kinds in each mode. */
const SPARE_HANDLERS = 64;

/** Handlers after which the common ones are made. */
const WARM_AFTER = 60;

/** A count that is not reached: a block that runs into the next page stays with the interpreter. */
const NEVER_HOT = 0xffff_ffff;

/** Ends a block that runs on: control goes to its operand, at no charge. */
const GOTO = insn('(goto)', { sdm: '', forms: '', operands: { target: 'r' }, sem: (b, o) => b.goto(o.target) });

export interface BlockRequest {
  readonly page: CodePage;
  /** Offset of the first instruction in the page. */
  readonly offset: number;
  /** Decode at most this many instructions and stop before the next (for a deadline); undefined for an ordinary, cached block. */
  readonly limit: number | undefined;
  /** Frame of a linear page, or -1 when it cannot be fetched: asked for the page after this one when an instruction runs into it. */
  readonly frameAt: (lin: Lin) => number;
}

export class Translator {
  private readonly ram: Ram;
  private readonly cache: CodeCache;
  private readonly handlers: Handlers;
  /** Whether the CPUID profile has a feature that an instruction asks for. */
  private readonly hasFeature: (name: string) => boolean;
  private readonly cursors = new Map<CodePage, { at: number; left: number }>();
  /** Entries after which a block asks to be compiled; 0: blocks do not count. */
  private readonly hotAfter: number;
  blocks = 0;
  instructions = 0;

  constructor(ram: Ram, cache: CodeCache, handlers: Handlers, hasFeature: (name: string) => boolean, hotAfter: number) {
    this.ram = ram;
    this.hotAfter = hotAfter;
    this.cache = cache;
    this.handlers = handlers;
    this.hasFeature = hasFeature;
  }

  /** Forgets where pages have room: after the cache was reset, or at any time at the cost of some of it. */
  forget(page?: CodePage): void {
    if (page) this.cursors.delete(page);
    else this.cursors.clear();
  }

  /** Host address of room for n records that belong to page. */
  private room(page: CodePage, n: number): number | undefined {
    let c = this.cursors.get(page);
    if (!c || c.left < n) {
      const at = this.cache.chunk(page);
      if (at === undefined) return undefined;
      c = { at, left: RECORDS_PER_CHUNK };
      this.cursors.set(page, c);
    }
    return c.at;
  }
  private take(page: CodePage, n: number): void {
    const c = this.cursors.get(page)!;
    c.at += n * RECORD_SIZE;
    c.left -= n;
  }

  /**
   * Translates the block and returns its first record; undefined when the arena or the handlers' table is full. 'fetch' when the first instruction runs into a
   * page that cannot be fetched (the caller raises the fault).
   */
  translate(q: BlockRequest): number | undefined | 'fetch' {
    const { page } = q;
    if (this.isFull) return undefined;
    const max = Math.min(q.limit ?? MAX_BLOCK, MAX_BLOCK);
    const temporary = q.limit !== undefined;
    const start = temporary ? this.cache.scratchFor(page) : this.room(page, max + 2);
    if (start === undefined) return undefined;
    let at = start;
    const counted = this.hotAfter > 0 && !temporary;
    if (counted) at += RECORD_SIZE;
    const first = at;
    let count = 0;
    let offset = q.offset;
    let ended = false;
    let straddle: Mfn | undefined;
    this.blocks++;
    while (count < max && offset < 4096 && !ended) {
      // What is decoded already is gone to: blocks would overlap otherwise, and every tail be decoded several times.
      if (count > 0 && counted && page.blocks.has(offset) && !page.straddles.has(offset)) break;
      const bytes = this.ram.base + page.frame * 4096;
      let d = decode(this.ram.u8, bytes + offset, 4096 - offset, page.mode);
      const rip = page.lin - page.mode.csBase + offset;
      if (d === 'needBytes') {
        if (count > 0) break;
        if (!fitsLimit(page.mode, rip, 4096 - offset + 1)) d = 'tooLong';
        else {
          const next = q.frameAt((page.lin + 4096) as Lin);
          if (next < 0) return 'fetch';
          d = decodeAcross(this.ram.u8, bytes + offset, this.ram.base + next * 4096, page.mode);
          straddle = next as Mfn;
        }
      }
      // Code that runs over the limit of CS: #GP(0), raised by TypeScript when it gets there.
      if (typeof d !== 'string' && !fitsLimit(page.mode, rip, d.length)) d = 'tooLong';
      this.clear(at);
      const w16 = (at + REC.pageOffset) >>> 1;
      this.ram.u16[w16] = offset;
      if (typeof d === 'string') {
        // #UD, or #GP(0) for an instruction of more than 15 bytes: TypeScript finds out which when it gets there.
        this.ram.u32[at >>> 2] = STOP.system;
        // The record may have been another instruction's (the scratch chunk is used again and again).
        page.system.delete(at);
        ended = true;
        this.cache.mark(page.frame, offset, 1);
        offset += 1;
      } else {
        this.ram.u8[at + REC.length] = d.length;
        ended = this.lower(d, at, page, offset, temporary || straddle !== undefined);
        this.cache.mark(page.frame, offset, Math.min(d.length, 4096 - offset));
        if (straddle !== undefined && offset + d.length > 4096) this.cache.mark(straddle, 0, offset + d.length - 4096);
        offset += d.length;
      }
      at += RECORD_SIZE;
      count++;
      if (straddle !== undefined) break;
    }
    if (!ended) {
      this.clear(at);
      if (temporary && count >= max && straddle === undefined && offset < 4096) {
        this.ram.u16[(at + REC.pageOffset) >>> 1] = offset;
        this.ram.u32[at >>> 2] = STOP.deadline;
      } else this.goto(at, page, offset, temporary || straddle !== undefined);
      at += RECORD_SIZE;
    }
    for (let i = 0; i < count; i++) this.ram.u8[first + i * RECORD_SIZE + REC.left] = count - i;
    if (counted) this.countEntries(start, q.offset, straddle === undefined);
    if (!temporary) this.take(page, (at - start) / RECORD_SIZE);
    this.handlers.flush();
    if (this.handlers.size > WARM_AFTER) this.warm(page.mode);
    this.instructions += count;
    if (straddle !== undefined && !temporary) {
      page.straddles.set(q.offset, straddle);
      this.cache.addStraddler(straddle, page);
    }
    if (!temporary) page.blocks.set(q.offset, start);
    return start;
  }

  /**
   * The record before a block's first: it counts how often the block is entered, pays for it, and is where compiled code takes over. To
   * come to it costs nothing.
   */
  private countEntries(at: number, offset: number, compilable: boolean): void {
    this.clear(at);
    this.ram.u16[(at + REC.pageOffset) >>> 1] = offset;
    this.ram.u32[(at + REC.imm) >>> 2] = compilable ? this.hotAfter : NEVER_HOT;
    this.ram.u32[at >>> 2] = COUNT_HANDLER;
  }

  /**
   * Makes the handlers for common instructions in one go. Compiling them one by one as they turn up takes a boot ten times as long; a guest
   * of a few instructions never comes here.
   */
  warm(mode: ExecMode): void {
    const key = `${mode.bits}${mode.flat ? ' flat' : ''}`;
    if (this.warmed.has(key)) return;
    this.warmed.add(key);
    for (const hex of COMMON_INSTRUCTIONS[key]?.trim().split(/\s+/) ?? []) {
      const bytes = Uint8Array.from(hex.match(/../g) ?? [], (b) => Number.parseInt(b, 16));
      const d = decode(bytes, 0, bytes.length, mode);
      if (typeof d === 'string' || !d.insn.sem || d.operands.some(isSystemOperand) || this.handlers.room < SPARE_HANDLERS) continue;
      for (const near of d.operands.some((o) => o.kind === 'rel') ? [true, false] : [false]) {
        let field = 0;
        let second = false;
        const shapes = d.operands.map((o) => {
          const shape = operandShape(o, d, () => field++, second, near);
          second ||= o.kind === 'imm';
          return shape;
        });
        this.handlers.index(d.insn, d.opSize, d.cc, d.addrSize, d.rep, mode, shapes);
      }
    }
    this.handlers.flush();
  }
  private readonly warmed = new Set<string>();

  /** Whether the handlers' table may not hold what one more block needs. */
  get isFull(): boolean {
    return this.handlers.room < MAX_BLOCK + SPARE_HANDLERS;
  }

  private clear(at: number): void {
    this.ram.u32.fill(0, at >>> 2, (at + RECORD_SIZE) >>> 2);
  }
  private putLin(at: number, v: number): void {
    this.ram.u32[at >>> 2] = linLo(v);
    this.ram.u32[(at >>> 2) + 1] = linHi(v);
  }

  /** A record that goes on at `offset` of the page (or in the page after it). */
  goto(at: number, page: CodePage, offset: number, far: boolean): void {
    this.ram.u16[(at + REC.pageOffset) >>> 1] = offset & 0xfff;
    const near = !far && offset < 4096;
    if (near && !page.straddles.has(offset)) this.ram.u32[(at + REC.imm) >>> 2] = page.blocks.get(offset) ?? 0;
    const rip = wrapRip(page.lin - page.mode.csBase + offset, page.mode);
    this.putLin(at + REC.disp, rip);
    if (!near) this.ram.u32[(at + REC.imm) >>> 2] = jumpSlot(rip);
    this.ram.u32[at >>> 2] = this.handlers.index(GOTO, 8, 0, 8, 0, page.mode, [{ kind: 'rel', near }]);
  }

  /** A record of its own for going on at an offset through the jump cache: what an in-page branch to a straddling instruction links to. */
  detour(page: CodePage, offset: number): number | undefined {
    const at = this.room(page, 1);
    if (at === undefined) return undefined;
    this.clear(at);
    this.goto(at, page, offset, true);
    this.take(page, 1);
    this.handlers.flush();
    return at;
  }

  /** Names a register in the record being written: its offset in the CPU's state goes into the next of the record's fields. */
  private readonly putField = (stateOffset: number): number => {
    this.ram.u16[this.fieldAt + this.field] = stateOffset;
    return this.field++;
  };
  private fieldAt = 0;
  private field = 0;

  // TOUR add 30: Cold code. One record of 32 bytes for each instruction of a block: which handler runs it, and the handler's variables. What
  // has no staged meaning gets a record that stops, and TypeScript (system/execute.ts) carries it out.
  /** Writes the record of one instruction; returns whether it ends the block. */
  private lower(d: Decoded, at: number, page: CodePage, offset: number, far: boolean): boolean {
    const { mode } = page;
    const i: AnyInsn = d.insn;
    if (!i.sem || !this.allowed(i, mode) || d.operands.some(isSystemOperand)) {
      this.ram.u32[at >>> 2] = STOP.system;
      page.system.set(at, d);
      return true;
    }
    // Staged code may still give itself up.
    page.system.delete(at);
    const next = wrapRip(page.lin - mode.csBase + offset + d.length, mode);
    const shapes: OperandShape[] = [];
    this.fieldAt = (at + REC.fields) >>> 1;
    this.field = 0;
    let hasRel = false;
    let hasImm = false;
    for (const o of d.operands) {
      const target = o.kind === 'rel' ? targetRip(d, o, page, offset) : undefined;
      const near = !far && target !== undefined && inPage(target, page);
      const shape = operandShape(o, d, this.putField, hasImm, near);
      shapes.push(shape);
      if (o.kind === 'imm') {
        const second = hasImm;
        hasImm = true;
        if (!second) this.ram.u32[(at + REC.imm) >>> 2] = o.lo;
        this.ram.u32[((at + REC.imm) >>> 2) + 1] = second ? o.lo : o.hi;
      } else if (o.kind === 'rel' && target !== undefined) {
        hasRel = true;
        this.putLin(at + REC.disp, target);
        if (shape.kind === 'rel' && !shape.near) this.ram.u32[(at + REC.imm) >>> 2] = jumpSlot(target);
        this.putLin(at + REC.fields, next);
      } else if (o.kind === 'mem') {
        if (o.base === 16) this.putLin(at + REC.disp, next + o.disp);
        else {
          this.ram.u32[(at + REC.disp) >>> 2] = o.disp;
          this.ram.u32[((at + REC.disp) >>> 2) + 1] = o.dispHi;
        }
      }
    }
    if (!hasRel && !hasImm) this.putLin(at + REC.imm, next);
    const handler = this.handlers.index(i, d.opSize, d.cc, d.addrSize, d.rep, mode, shapes);
    this.ram.u32[at >>> 2] = handler;
    return this.handlers.endsBlock[handler] === 1;
  }

  /** Whether an instruction may run in this mode at all; if not, TypeScript raises what is due. */
  allowed(i: AnyInsn, mode: ExecMode): boolean {
    if (i.cpuid && !this.hasFeature(i.cpuid)) return false;
    if (mode.trapped !== 0 && ((TRAPPED as Readonly<Record<string, number>>)[i.mnemonic] ?? 0) & mode.trapped) return false;
    const checks = i.check === undefined ? [] : typeof i.check === 'string' ? [i.check] : i.check;
    for (const c of checks) {
      if (c === 'cpl0' && mode.cpl !== 0) return false;
      if (c === 'not64' && mode.bits === 64) return false;
      if (c === 'only64' && mode.bits !== 64) return false;
      if (c === 'protected' && (!mode.protectedMode || mode.vm86)) return false;
    }
    return true;
  }
}

const STAGED_CLASSES: ReadonlySet<string> = new Set(['gpr', 'mm', 'xmm', 'st']);
const isSystemOperand = (o: DecodedOperand): boolean => o.kind === 'far' || (o.kind === 'reg' && !STAGED_CLASSES.has(o.class));

/** What staged code is specialised for; `put` says where the record names a register, given by its offset in the CPU's state. */
export function operandShape(
  o: DecodedOperand,
  d: Decoded,
  put: (stateOffset: number) => number,
  second = false,
  near = false,
): OperandShape {
  switch (o.kind) {
    case 'reg': {
      const { size } = o;
      if (o.class === 'gpr') return { kind: 'reg', size, field: put(STATE.gpr + o.index * 8 + (o.high ? 1 : 0)) };
      if (o.class === 'mm') return { kind: 'mm', size, field: put(STATE.fpr + o.index * 16) };
      if (o.class === 'st') return { kind: 'st', size, field: put(o.index * 16) };
      return { kind: 'xmm', size, field: put(STATE.xmm + o.index * 16) };
    }
    case 'imm':
      return { kind: 'imm', size: o.size, second };
    case 'rel':
      return { kind: 'rel', near };
    case 'mem': {
      const base = o.base >= 0 && o.base !== 16 ? put(STATE.gpr + o.base * 8) : -1;
      const index = o.index >= 0 ? put(STATE.gpr + o.index * 8) : -1;
      return { kind: 'mem', size: o.size, seg: o.seg, addrSize: d.addrSize, base, index, scale: index >= 0 ? o.scale : 0 };
    }
    default:
      throw new Error(`operand of kind ${o.kind} in staged ${d.insn.mnemonic}`);
  }
}

/** Where a page of code lies, as far as branches are concerned. */
export interface CodeSite {
  readonly lin: Lin;
  readonly mode: Pick<ExecMode, 'bits' | 'csBase'>;
}

/** Where a relative branch at an offset of a page goes. */
export function targetRip(d: Decoded, o: RelOperand, page: CodeSite, offset: number): Lin {
  return wrapRip(page.lin - page.mode.csBase + offset + d.length + o.disp, page.mode, d.opSize);
}
/** The same as an offset in the page; -1 when the instruction does not branch, or leaves the page. */
export function branchOffset(d: Decoded, page: CodeSite, offset: number): number {
  const o = d.operands.find((x) => x.kind === 'rel');
  if (!o) return -1;
  const target = targetRip(d, o, page, offset);
  return inPage(target, page) ? target + page.mode.csBase - page.lin : -1;
}

/** RIP, EIP or IP arithmetic. */
export function wrapRip(rip: number, mode: Pick<ExecMode, 'bits'>, opSize = 8): Lin {
  if (mode.bits === 64) return rip as Lin;
  const v = rip >>> 0;
  return (opSize === 2 ? v & 0xffff : v) as Lin;
}
const inPage = (rip: Lin, page: CodeSite): boolean => {
  const lin = rip + page.mode.csBase;
  return lin >= page.lin && lin < page.lin + 4096;
};
