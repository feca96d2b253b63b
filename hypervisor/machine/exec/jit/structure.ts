// From a control-flow graph to nested constructs: which block lies inside which, and which edges have to leave the region.
//
// WebAssembly has no goto. A block's dominator-tree children are placed after it, in reverse postorder, each behind a construct that it
// can be branched to by; a block that a later one branches back to becomes a loop (N. Ramsey, "Beyond Relooper", ICFP 2022). An edge back
// to a block that does not dominate its source would need a second way into a loop: such edges are left out.

export interface Structure {
  /** For each block, the blocks it immediately dominates, in reverse postorder. */
  readonly children: readonly (readonly number[])[];
  readonly isLoop: readonly boolean[];
  /** Whether an edge may be taken inside the region. */
  allows(from: number, to: number): boolean;
}

/** `successors` of each block; block 0 is the entry. What cannot be reached has no place. */
export function structureOf(successors: readonly (readonly number[])[]): Structure {
  const n = successors.length;
  const order = reversePostorder(successors);
  const position = new Int32Array(n).fill(-1);
  order.forEach((b, i) => {
    position[b] = i;
  });
  const idom = dominators(successors, order, position);
  const dominates = (a: number, b: number): boolean => {
    let x = b;
    while (position[x]! > position[a]!) x = idom[x]!;
    return x === a;
  };
  const children: number[][] = successors.map(() => []);
  for (const b of order) if (b !== 0) children[idom[b]!]!.push(b);
  const isLoop = successors.map(() => false);
  const allows = (from: number, to: number): boolean => position[to]! > position[from]! || dominates(to, from);
  for (const from of order) {
    for (const to of successors[from]!) if (position[to]! <= position[from]! && dominates(to, from)) isLoop[to] = true;
  }
  return { children, isLoop, allows };
}

function reversePostorder(successors: readonly (readonly number[])[]): number[] {
  const seen = new Set<number>([0]);
  const out: number[] = [];
  const stack: { b: number; i: number }[] = [{ b: 0, i: 0 }];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const s = successors[top.b]![top.i++];
    if (s === undefined) {
      out.push(top.b);
      stack.pop();
    } else if (!seen.has(s)) {
      seen.add(s);
      stack.push({ b: s, i: 0 });
    }
  }
  return out.reverse();
}

/** Immediate dominators (K. Cooper, T. Harvey, K. Kennedy, "A Simple, Fast Dominance Algorithm"). */
function dominators(successors: readonly (readonly number[])[], order: readonly number[], position: Int32Array): Int32Array {
  const predecessors: number[][] = successors.map(() => []);
  for (const b of order) for (const s of successors[b]!) predecessors[s]!.push(b);
  const idom = new Int32Array(successors.length).fill(-1);
  idom[0] = 0;
  const meet = (a: number, b: number): number => {
    let [x, y] = [a, b];
    while (x !== y) {
      if (position[x]! > position[y]!) x = idom[x]!;
      else y = idom[y]!;
    }
    return x;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const b of order) {
      if (b === 0) continue;
      let d = -1;
      for (const p of predecessors[b]!) if (idom[p] !== -1) d = d === -1 ? p : meet(p, d);
      if (idom[b] !== d) {
        idom[b] = d;
        changed = true;
      }
    }
  }
  return idom;
}
