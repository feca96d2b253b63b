import { expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import { FEATURES } from './cpuid.ts';
import { HANDLERS } from './execute.ts';

it('every instruction without a staged form has a handler', () => {
  const { vmx: _v, svm: _s, ...families } = FAMILIES;
  const missing = Object.values(families)
    .flat(1)
    .filter((i) => !i.sem && !HANDLERS.has(i.mnemonic))
    .map((i) => i.mnemonic);
  expect([...new Set(missing)]).toEqual([]);
});

it('every handler belongs to an instruction', () => {
  const known = new Set(
    Object.values(FAMILIES)
      .flat(1)
      .map((i) => i.mnemonic),
  );
  expect([...HANDLERS.keys()].filter((m) => !known.has(m))).toEqual([]);
});

it('every CPUID feature that an instruction names is in the table', () => {
  const named = new Set(
    Object.values(FAMILIES)
      .flat(1)
      .flatMap((i) => i.cpuid ?? []),
  );
  const unknown = [...named].filter((n) => !FEATURES.has(n));
  expect(unknown).toEqual([]);
});
