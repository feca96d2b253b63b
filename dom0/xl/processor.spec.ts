// The machine's processor follows from its domains, or refuses them.
import { describe, expect, it } from 'vitest';
import { checkProcessor, profileFor } from './processor.ts';

const wish = (type: 'pv' | 'pvh' | 'hvm', cpuProfile: string | null = null, hvmVendor: 'vmx' | 'svm' | null = null, name = 'a') => ({
  name,
  type,
  cpuProfile,
  hvmVendor,
});
const processor = (name: string, ...features: string[]) =>
  ({ name, features: new Set(features) }) as unknown as Parameters<typeof checkProcessor>[0];

describe('a machine of the command\u2019s own', () => {
  it.each([
    [[wish('pv')], undefined],
    [[wish('pv', 'core2')], 'core2'],
    [[wish('pvh')], 'skylake-sp'],
    [[wish('pv'), wish('hvm')], 'skylake-sp'],
    [[wish('pvh', null, 'svm')], 'zen'],
    [[wish('pvh', null, 'vmx'), wish('pvh', 'nehalem', null, 'b')], 'nehalem'],
  ])('%j has %s', (domains, profile) => {
    expect(profileFor(domains)).toBe(profile);
  });

  it('cannot have two kinds of processors', () => {
    expect(() => profileFor([wish('pvh', 'zen'), wish('pvh', 'nehalem', null, 'b')])).toThrow(
      'cpu_profile: one machine has one kind of processor, and a wants "zen", b wants "nehalem"',
    );
    expect(() => profileFor([wish('pvh', null, 'svm'), wish('pvh', null, 'vmx', 'b')])).toThrow('hvm_vendor: one machine');
  });
});

describe('a machine that is there', () => {
  it.each([
    [processor('baseline'), wish('pv'), null],
    [processor('nehalem', 'vmx'), wish('pvh', 'nehalem', 'vmx'), null],
    [processor('baseline'), wish('pvh'), 'a: type is "pvh", and the machine\'s processors (baseline) have no hardware virtualization'],
    [processor('nehalem', 'vmx'), wish('pvh', null, 'svm'), 'a: the machine\'s processors (nehalem) have no SVM (hvm_vendor="svm")'],
    [processor('nehalem', 'vmx'), wish('pv', 'zen'), 'a: cpu_profile is "zen", and the machine\'s processors are nehalem'],
  ])('%j', (profile, domain, message) => {
    const check = () => checkProcessor(profile, domain);
    if (message === null) expect(check).not.toThrow();
    else expect(check).toThrow(message);
  });
});
