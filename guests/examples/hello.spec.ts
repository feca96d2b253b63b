// What can be said of the hello guests without running them. Booting them is tests/ and `npm start`.
import { describe, expect, test } from 'vitest';
import { buildHello32, buildHello64 } from '../index.ts';

describe.each([
  ['pv64', buildHello64, 2],
  ['pv32pae', buildHello32, 1],
] as const)('hello for %s', (_name, build, elfClass) => {
  test('is the same file each time', () => {
    expect(Buffer.from(build()).equals(Buffer.from(build()))).toBe(true);
  });

  test('is an ELF of the right class', () => {
    expect([...build().subarray(0, 5)]).toEqual([0x7f, 0x45, 0x4c, 0x46, elfClass]);
  });

  test('says in its notes what real Xen wants to know', () => {
    const text = Buffer.from(build()).toString('latin1');
    for (const value of ['xen-3.0', 'generic', 'ringworld-hello', '!writable_page_tables']) expect(text).toContain(value);
  });
});
