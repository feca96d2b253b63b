// The frame of every containment spec: a machine with two CPUs, a puppet to do wild things and a bystander of the other width, which must
// have noticed nothing in the end.
import { __HYPERVISOR_sched_op, __HYPERVISOR_xen_version, SCHEDOP_shutdown, SHUTDOWN_poweroff } from '@ringworld/abi';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { Bits } from './puppet-kernel.ts';
import { type Puppet, World } from './world.ts';

const PATTERN = Array.from({ length: 512 }, (_, i) => (BigInt(i) * 0x9e3779b97f4a7c15n) & 0xffff_ffff_ffff_ffffn);

export interface Group {
  readonly bits: Bits;
  readonly world: World;
  /** A puppet that lives: the last one, or a new one when that crashed. */
  puppet(): Puppet;
  readonly bystander: Puppet;
}

/** Describes the same acts for 64-bit and 32-bit guests. */
export function forBothGuests(what: string, acts: (g: Group) => void): void {
  describe.each([64, 32] as const)(`${what}, %i bits`, (bits) => {
    let world: World;
    let puppet: Puppet | undefined;
    let bystander: Puppet;
    let page = 0;

    beforeAll(() => {
      world = new World();
      bystander = world.puppet(bits === 64 ? 32 : 64);
      page = bystander.put(bystander.page(), PATTERN);
      world.runFor(1_000_000);
    });

    acts({
      bits,
      get world() {
        return world;
      },
      get bystander() {
        return bystander;
      },
      puppet() {
        if (puppet !== undefined && !puppet.isAlive) {
          world.destroy(puppet);
          world.audit();
          puppet = undefined;
        }
        puppet ??= world.puppet(bits);
        return puppet;
      },
    });

    // The well-behaved domain beside has kept its memory and its CPU, and ends as it wants to.
    afterAll(() => {
      const idled = bystander.read32(bystander.address('idle_turns'));
      world.runFor(1_000_000);
      expect(bystander.read32(bystander.address('idle_turns'))).toBeGreaterThan(idled);
      expect(bystander.call(__HYPERVISOR_xen_version, 0, 0)).toBe(0x4_0011);
      for (const [i, word] of PATTERN.entries()) expect(bystander.read64(page + i * 8)).toBe(word);
      const reason = bystander.put(bystander.page(), [SHUTDOWN_poweroff]);
      bystander.call(__HYPERVISOR_sched_op, SCHEDOP_shutdown, reason);
      expect(bystander.domain.shutdownCode).toBe(SHUTDOWN_poweroff);
    });
  });
}
