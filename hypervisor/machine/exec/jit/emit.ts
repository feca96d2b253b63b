// One region of guest code becomes one WebAssembly function, of the type of the interpreter's handlers: whoever could run the record at
// the region's head can run the function instead.

import type { Lin } from '../../addresses.ts';
import type { Decoded } from '../../isa/decoded.ts';
import type { Access, Size } from '../../stage/builder.ts';
import { JitBuilder, type JitOperand } from '../../stage/jit-builder.ts';
import { TYPE } from '../../stage/wasm-builder.ts';
import { STOP } from '../records.ts';
import { operandShape, targetRip, wrapRip } from '../translator.ts';
import { type FuncBody, OP } from '../wasm.ts';
import type { Region, RegionBlock, RegionInsn } from './region.ts';
import { type Structure, structureOf } from './structure.ts';

/** Function body of a region. */
export function emitRegion(region: Region): FuncBody {
  return new RegionEmitter(region).emit();
}

class RegionEmitter {
  private readonly region: Region;
  private readonly b: JitBuilder;
  private readonly shape: Structure;
  /** Registers that each block writes. */
  private readonly written: number[];

  constructor(region: Region) {
    this.region = region;
    this.b = new JitBuilder(region.page.mode);
    this.written = region.blocks.map(() => 0);
    this.shape = structureOf(region.blocks.map((_, i) => this.successors(i)));
  }

  private successors(i: number): number[] {
    const { blocks, blockAt } = this.region;
    const block = blocks[i]!;
    const out = block.next >= 0 ? [block.next] : [];
    for (const { target } of block.insns) {
      const to = target >= 0 ? blockAt.get(target) : undefined;
      if (to !== undefined) out.push(to);
    }
    if (block.insns.at(-1)?.isReturn) out.push(...this.returns().map(({ block: to }) => to));
    return out;
  }

  /** Blocks after calls, and the RIP that a return has to have for each. */
  private returns(): { block: number; rip: Lin }[] {
    const { page, blockAt, returnSites } = this.region;
    return returnSites.flatMap((offset) => {
      const block = blockAt.get(offset);
      return block === undefined ? [] : [{ block, rip: wrapRip(page.lin - page.mode.csBase + offset, page.mode) }];
    });
  }

  emit(): FuncBody {
    const { b } = this;
    b.open(OP.block);
    this.tree(0);
    b.op(OP.unreachable);
    b.close();
    const bodyEnd = b.code.length;
    b.epilogue(this.written.reduce((all, w) => all | w, 0));
    const epilogueEnd = b.code.length;
    b.prologue();
    const prologue = b.code.slice(epilogueEnd);
    const body = this.fillHoles(bodyEnd);
    return { type: TYPE.handler, locals: b.locals, code: [...prologue, ...body, ...b.code.slice(bodyEnd, epilogueEnd)] };
  }

  /** The blocks' code with registers written back where a hole was left for that. */
  private fillHoles(end: number): number[] {
    const { b } = this;
    const mayBeDirty = this.dirtyAtEntry();
    const stores = new Map<number, readonly number[]>();
    const out: number[] = [];
    let from = 0;
    for (const hole of b.holes) {
      for (let i = from; i < hole.at; i++) out.push(b.code[i]!);
      from = hole.at;
      const mask = mayBeDirty[hole.block]! | hole.dirty;
      let bytes = stores.get(mask);
      if (!bytes) {
        bytes = b.writeBackCode(mask);
        stores.set(mask, bytes);
      }
      for (const byte of bytes) out.push(byte);
    }
    for (let i = from; i < end; i++) out.push(b.code[i]!);
    return out;
  }
  private dirtyAtEntry(): number[] {
    const at = this.region.blocks.map(() => 0);
    for (let changed = true; changed; ) {
      changed = false;
      at.forEach((mask, i) => {
        for (const s of this.successors(i)) {
          const all = at[s]! | mask | this.written[i]!;
          changed ||= all !== at[s];
          at[s] = all;
        }
      });
    }
    return at;
  }

  // TOUR add 80: The same meaning a second time, now by the JIT's builder: registers are wasm locals, branches between blocks are branches
  // between WebAssembly constructs.
  /** A block and all that it dominates. */
  private tree(i: number): void {
    const { b } = this;
    if (this.shape.isLoop[i]) {
      b.open(OP.loop);
      b.label(i);
    }
    const children = this.shape.children[i]!;
    for (const c of children.toReversed()) {
      b.open(OP.block);
      b.label(c);
    }
    this.block(i, this.region.blocks[i]!);
    for (const c of children) {
      b.close();
      this.tree(c);
    }
    if (this.shape.isLoop[i]) b.close();
  }

  private block(i: number, block: RegionBlock): void {
    const { b } = this;
    b.beginBlock(i);
    const total = block.insns.length;
    b.charge(total, block.insns[0]!.rec);
    block.insns.forEach((insn, before) => {
      this.insn(i, insn, before, total);
    });
    this.written[i] = b.dirty;
    const last = block.insns.at(-1)!;
    if (last.ends) return;
    if (block.next >= 0 && this.shape.allows(i, block.next)) b.edge(block.next, 0);
    else if (block.onward > 0) b.goOn(block.onward);
    else b.exitTo(this.nextRip(last));
  }

  private nextRip(i: RegionInsn): Lin {
    const { page } = this.region;
    return wrapRip(page.lin - page.mode.csBase + i.offset + i.length, page.mode);
  }
  private rip(i: RegionInsn): Lin {
    const { page } = this.region;
    return wrapRip(page.lin - page.mode.csBase + i.offset, page.mode);
  }

  private insn(block: number, i: RegionInsn, before: number, total: number): void {
    const { b } = this;
    const d = i.decoded;
    const { rec, left } = i;
    b.beginInsn({ rec, left, before, total, rip: this.rip(i), nextRip: this.nextRip(i), addrSize: d?.addrSize ?? 8, rep: d?.rep ?? 0 });
    if (!d) {
      b.stop(STOP.system);
      return;
    }
    const operands: Record<string, JitOperand> = {};
    Object.entries(d.insn.operands as Record<string, Access>).forEach(([name, access], n) => {
      const o = this.operand(block, i, d, n, access);
      if (o) operands[name] = o;
    });
    b.expected = i.isReturn ? this.returns().filter((r) => this.shape.allows(block, r.block)) : [];
    // SAFE: only staged instructions have a record that is not TypeScript's.
    d.insn.sem!(b, operands, { size: d.opSize as Size, cc: d.cc });
    b.endInsn();
  }

  private operand(block: number, i: RegionInsn, d: Decoded, n: number, access: Access): JitOperand | undefined {
    const decoded = d.operands[n];
    if (!decoded) return undefined;
    const { page, blockAt } = this.region;
    const shape = operandShape(decoded, d, (stateOffset) => stateOffset);
    const common = { access, size: shape.kind === 'rel' ? 8 : shape.size, isReg: decoded.kind === 'reg', shape, decoded };
    if (decoded.kind !== 'rel') return common;
    const to = i.target >= 0 ? (blockAt.get(i.target) ?? -1) : -1;
    const rip = targetRip(d, decoded, page, i.offset);
    const lin = rip + page.mode.csBase;
    const near = lin >= page.lin && lin < page.lin + 4096;
    return { ...common, target: { rip, block: to >= 0 && this.shape.allows(block, to) ? to : -1, near } };
  }
}
