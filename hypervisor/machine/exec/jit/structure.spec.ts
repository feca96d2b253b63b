import { describe, expect, it } from 'vitest';
import { structureOf } from './structure.ts';

describe('the structure of a control-flow graph', () => {
  it('puts the two arms of a branch, and where they meet, under the branch', () => {
    const s = structureOf([[1, 2], [3], [3], []]);
    expect([...s.children[0]!].sort()).toEqual([1, 2, 3]);
    expect(s.children[0]!.at(-1)).toBe(3);
    expect(s.isLoop).toEqual([false, false, false, false]);
  });

  it('makes a loop of a block that a later one branches back to', () => {
    const s = structureOf([[1], [2, 3], [1], []]);
    expect(s.isLoop).toEqual([false, true, false, false]);
    expect(s.allows(2, 1)).toBe(true);
  });

  it('makes a loop of a block that branches to itself', () => {
    expect(structureOf([[0]]).isLoop).toEqual([true]);
  });

  it('leaves out one way into a loop that has two, and no other edge', () => {
    // 0 goes to 1 and 2, which go to each other.
    const edges = [[1, 2], [2, 3], [1, 3], []];
    const s = structureOf(edges);
    const refused = edges.flatMap((to, from) => to.filter((t) => !s.allows(from, t)).map((t) => [from, t]));
    expect(refused).toHaveLength(1);
    expect(s.isLoop).toEqual([false, false, false, false]);
  });

  it('gives every block that can be reached one place, below its dominator', () => {
    const s = structureOf([[1, 4], [2, 3], [1], [5], [5], []]);
    expect(s.children.flat(1).sort()).toEqual([1, 2, 3, 4, 5]);
    expect(s.children[0]).toContain(5);
  });
});
