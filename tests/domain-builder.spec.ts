// The domain builder and the hypervisor together: a kernel of a few instructions, built, unpaused, run until it powers itself off
// through its hypercall page.
import {
  domid,
  type StructOf,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_unpausedomain,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownshift,
  xen_domctl_getdomaininfo,
} from '@ringworld/abi';
import { buildPvDomain, DomainBuildError, decompressorsWith, gzipNode, Hypercalls, Privcmd } from '@ringworld/dom0';
import { createDom0, createHypervisor, createMachine } from '@ringworld/hypervisor';
import { describe, expect, it } from 'vitest';
import { tinyElf } from '../dom0/toolstack/testing/tiny-elf.ts';

const DOM0_PAGES = 512;
const SHUTDOWN_poweroff = 0;
const SHUTDOWN_crash = 3;

function powerOn(mib: number) {
  const machine = createMachine({ ramBytes: mib << 20, cpus: 1 });
  const hv = createHypervisor({ machine });
  const { port } = createDom0(hv, { pages: DOM0_PAGES });
  const privcmd = new Privcmd(new Hypercalls(port, DOM0_PAGES));
  const info = (dom: number): StructOf<typeof xen_domctl_getdomaininfo.fields> =>
    privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, domid(dom), xen_domctl_getdomaininfo, {}).out;
  return { hv, privcmd, info };
}

/** sched_op(SCHEDOP_shutdown, &reason) by a call into the hypercall page, which lies a page behind the code. */
function shutdownCode(bits: 32 | 64, reason: number, loadedAt: number): Uint8Array {
  const word = (n: number) => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >>> 24) & 0xff];
  const before =
    bits === 64
      ? // mov edi, 2; lea rsi, [rip + 5]
        [0xbf, ...word(2), 0x48, 0x8d, 0x35, ...word(5)]
      : // mov ebx, 2; mov ecx, &reason
        [0xbb, ...word(2), 0xb9, ...word(loadedAt + 15)];
  const call = [0xe8, ...word(4096 + 29 * 32 - (before.length + 5))];
  const image = new Uint8Array(8192);
  image.set([...before, ...call, ...word(reason)]);
  return image;
}

const notes = { XEN_VERSION: 'xen-3.0', GUEST_OS: 'test', LOADER: 'generic', PAE_MODE: 'yes' };
const kernels = {
  64: { base: -0x80000000, at: -0x7ff00000 },
  32: { base: 0xc0000000, at: 0xc0100000 },
};

describe('a domain built for the real hypervisor', () => {
  for (const bits of [64, 32] as const) {
    for (const [what, reason] of [
      ['powers off', SHUTDOWN_poweroff],
      ['crashes', SHUTDOWN_crash],
    ] as const) {
      it(`of ${bits} bits starts at its entry point and ${what} through its hypercall page`, () => {
        const { base, at } = kernels[bits];
        const bytes = tinyElf({
          bits,
          segments: [{ paddr: 0x100000, vaddr: at, data: shutdownCode(bits, reason, at) }],
          notes: { ...notes, VIRT_BASE: base, ENTRY: at, HYPERCALL_PAGE: at + 4096 },
        });
        const { hv, privcmd, info } = powerOn(64);
        const built = buildPvDomain(
          privcmd,
          { kernel: { file: 'tiny', bytes }, cmdline: '', memoryMiB: 16, vcpus: 1, uuid: new Uint8Array(16) },
          decompressorsWith(gzipNode),
        );
        expect(info(built.domid)).toMatchObject({ tot_pages: 4096, max_vcpu_id: 0 });
        privcmd.domctl(XEN_DOMCTL_unpausedomain, built.domid);
        hv.run({ untilCycles: 10_000_000 });
        const { flags } = info(built.domid);
        expect(flags & XEN_DOMINF_shutdown).not.toBe(0);
        expect((flags >> XEN_DOMINF_shutdownshift) & 0xff).toBe(reason);
      });
    }
  }

  it('that gets too little memory leaves nothing behind', () => {
    const { privcmd, info } = powerOn(32);
    const bytes = tinyElf({
      bits: 64,
      segments: [{ paddr: 0x100000, vaddr: kernels[64].at, data: new Uint8Array(64) }],
      notes: { ...notes, VIRT_BASE: kernels[64].base, ENTRY: kernels[64].at },
    });
    const spec = { kernel: { file: 'tiny', bytes }, cmdline: '', memoryMiB: 64, vcpus: 1, uuid: new Uint8Array(16) };
    expect(() => buildPvDomain(privcmd, spec, decompressorsWith(gzipNode))).toThrow(DomainBuildError);
    expect(() => buildPvDomain(privcmd, spec, decompressorsWith(gzipNode))).toThrow(
      /^memory: the machine has only \d+ MiB free of the 64 MiB asked for$/,
    );
    expect(() => info(1)).toThrow(/ESRCH/);
    buildPvDomain(privcmd, { ...spec, memoryMiB: 16 }, decompressorsWith(gzipNode));
  });
});
