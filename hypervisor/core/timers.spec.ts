import { describe, expect, it } from 'vitest';
import { Timer, Timers } from './timers.ts';

describe('timers', () => {
  it('fire by deadline, and by order of setting when deadlines are equal', () => {
    const timers = new Timers();
    const fired: string[] = [];
    const make = (name: string) => new Timer(() => fired.push(name));
    timers.set(make('c'), 30);
    timers.set(make('a1'), 10);
    timers.set(make('b'), 20);
    timers.set(make('a2'), 10);
    expect(timers.next).toBe(10);
    timers.expire(20);
    expect(fired).toEqual(['a1', 'a2', 'b']);
    expect(timers.next).toBe(30);
  });

  it('can be stopped, moved, and set again from their own handler', () => {
    const timers = new Timers();
    let ticks = 0;
    const tick = new Timer(() => {
      if (++ticks < 3) timers.set(tick, tick.deadline + 5);
    });
    const never = new Timer(() => expect.unreachable());
    timers.set(never, 1);
    timers.set(tick, 100);
    timers.set(tick, 2);
    timers.stop(never);
    timers.expire(20);
    expect(ticks).toBe(3);
    expect(timers.next).toBe(Number.POSITIVE_INFINITY);
  });

  it('stays ordered under a long mixed history', () => {
    const timers = new Timers();
    const fired: number[] = [];
    const all = Array.from({ length: 200 }, (_, i) => new Timer(() => fired.push(all[i]!.deadline)));
    let seed = 7;
    const random = (n: number) => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % n;
    };
    for (let i = 0; i < 2000; i++) {
      const t = all[random(200)]!;
      if (random(3) === 0) timers.stop(t);
      else timers.set(t, random(1000));
    }
    const active = all.filter((t) => t.isActive).map((t) => t.deadline);
    timers.expire(1000);
    expect(fired).toEqual(active.sort((a, b) => a - b));
  });
});
