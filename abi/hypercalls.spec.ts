// The hypercall table: complete, without two rows for one number, and printable.
import { expect, expectTypeOf, test } from 'vitest';
import { type Hypercall, subOps } from './hypercall-rows.ts';
import { HYPERCALLS, hypercallName, subOpName } from './hypercalls.ts';
import { XENPF_settime64 } from './xen/platform.ts';
import * as sched from './xen/sched.ts';
import * as xen from './xen/xen.ts';

const calls: [string, Hypercall][] = Object.entries<Hypercall>(HYPERCALLS);

test('every __HYPERVISOR_ number of xen.h has a row of that name', () => {
  const numbers = Object.entries(xen).filter(([name]) => name.startsWith('__HYPERVISOR_') && !name.includes('_arch_'));
  expect(numbers.map(([, nr]) => [hypercallName(nr as number), nr])).toEqual(
    numbers.map(([name, nr]) => [name.slice('__HYPERVISOR_'.length), nr]),
  );
});

test('no two rows share a number, and no two sub-operations of a row do', () => {
  expect(new Set(calls.map(([, call]) => call.nr)).size).toBe(calls.length);
  for (const [name, call] of calls) {
    const numbers = Object.values(call.ops).map((op) => op.nr);
    expect(new Set(numbers).size, name).toBe(numbers.length);
    for (const nr of numbers) expect(nr, name).toBeTypeOf('number');
  }
});

test('a selector names an argument', () => {
  for (const [name, { selector, args }] of calls) if (selector !== undefined) expect(Object.keys(args), name).toContain(selector.arg);
});

test('names are printable by number, and unknown numbers stay readable', () => {
  expect(subOpName(xen.__HYPERVISOR_grant_table_op, 0)).toBe('GNTTABOP_map_grant_ref');
  expect(subOpName(xen.__HYPERVISOR_platform_op, XENPF_settime64)).toBe('XENPF_settime64');
  expect(hypercallName(99)).toBe('hypercall 99');
  expect(subOpName(xen.__HYPERVISOR_sched_op, 77)).toBe('77');
});

test('numbers are known to the type checker', () => {
  expectTypeOf(HYPERCALLS.event_channel_op.ops.send.nr).toEqualTypeOf<4>();
  expectTypeOf(HYPERCALLS.event_channel_op.ops.send.name).toEqualTypeOf<'EVTCHNOP_send'>();
});

test('a sub-operation that the header does not number does not compile', () => {
  // @ts-expect-error  there is no SCHEDOP_sleep
  const ops = subOps('SCHEDOP_', sched, { yield: null, sleep: null });
  expect(ops.yield.nr).toBe(sched.SCHEDOP_yield);
});
