// Which processor the machine has: its CPUID profile, as the domains' settings (cpu_profile, hvm_vendor) and types ask for it. A machine of the
// command's own is made to fit; a host has one already, and says so when it does not.
import type { Machine } from '@ringworld/hypervisor';
import type { DomainConfig } from '../toolstack/xlcfg.ts';
import type { HvmVendor } from '../toolstack/xlcfg-hvm.ts';
import { UserError } from './user-error.ts';

/** What a domain with hardware virtualization gets where nothing is said: everything that either extension has. */
const FULL: Readonly<Record<HvmVendor, string>> = { vmx: 'skylake-sp', svm: 'zen' };
const NAMES: Readonly<Record<HvmVendor, string>> = { vmx: 'VT-x (hvm_vendor="vmx")', svm: 'SVM (hvm_vendor="svm")' };

type Wish = Pick<DomainConfig, 'name' | 'type' | 'cpuProfile' | 'hvmVendor'>;

/** The profile for a machine with these domains; undefined: the machine's default one. Throws UserError when they contradict each other. */
export function profileFor(domains: readonly Wish[]): string | undefined {
  const profiles = new Map(domains.flatMap((d) => (d.cpuProfile === null ? [] : [[d.cpuProfile, d.name] as const])));
  const vendors = new Map(domains.flatMap((d) => (d.hvmVendor === null ? [] : [[d.hvmVendor, d.name] as const])));
  for (const [key, wishes] of [
    ['cpu_profile', profiles],
    ['hvm_vendor', vendors],
  ] as const)
    if (wishes.size > 1)
      throw new UserError(
        `${key}: one machine has one kind of processor, and ${[...wishes].map(([v, n]) => `${n} wants "${v}"`).join(', ')}`,
      );
  const [profile] = profiles.keys();
  if (profile !== undefined) return profile;
  const [vendor] = vendors.keys();
  if (vendor !== undefined) return FULL[vendor];
  return domains.some((d) => d.type !== 'pv') ? FULL.vmx : undefined;
}

/** Throws UserError when the domain cannot run on this machine. `remedy` ends the message. */
export function checkProcessor(profile: Machine['profile'], domain: Wish, remedy = ''): void {
  const { name, features } = profile;
  const fail = (reason: string): never => {
    throw new UserError(`${domain.name}: ${reason}${remedy}`);
  };
  if (domain.cpuProfile !== null && domain.cpuProfile !== name)
    fail(`cpu_profile is "${domain.cpuProfile}", and the machine's processors are ${name}`);
  if (domain.hvmVendor !== null && !features.has(domain.hvmVendor))
    fail(`the machine's processors (${name}) have no ${NAMES[domain.hvmVendor]}`);
  if (domain.type !== 'pv' && !features.has('vmx') && !features.has('svm'))
    fail(`type is "${domain.type}", and the machine's processors (${name}) have no hardware virtualization`);
}
