// Debian's SeaBIOS in an HVM domain, with nothing but ioreqs between it and dom0's device model: it finds its tables and its disk, and starts a
// boot sector, which writes to the screen through the BIOS and to COM1 directly.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { XEN_DOMCTL_unpausedomain } from '@ringworld/abi';
import { afterAll, describe, expect, it } from 'vitest';
import { DomainConsole } from '../dom0/consoled/index.ts';
import { startDeviceModel } from '../dom0/devicemodel/index.ts';
import { Dom0 } from '../dom0/kernel/dom0.ts';
import { latencyModel } from '../dom0/storage/latency.ts';
import { RawStore } from '../dom0/storage/raw-store.ts';
import { MemoryFile } from '../dom0/storage/testing.ts';
import { Network } from '../dom0/switch/network.ts';
import { buildHvmDomain, installFirmware, ramBytes } from '../dom0/toolstack/hvm-builder.ts';
import { createPlatform, hvmAcpi } from '../dom0/xl/device-model-parts.ts';
import { createDom0, createHypervisor, createMachine } from '../hypervisor/index.ts';
import { debianPackage, haveApt } from './support/debian-kernel.ts';
import { ringworld } from './support/ringworld.ts';

const MIB = 2 ** 20;
const RAM = 64 * MIB;
const DOM0_PAGES = 2048;
/** A file of Debian's `seabios`. */
const firmware = (name: string): Uint8Array => new Uint8Array(readFileSync(join(debianPackage('seabios'), 'usr/share/seabios', name)));
const TEXT = 'Hello from sector 0\n';

/** Prints the text behind it through INT 10h and to COM1, and sleeps. */
function bootSector(): Uint8Array {
  const sector = new Uint8Array(512);
  const code = [
    ...[0x31, 0xc0, 0x8e, 0xd8], // xor ax, ax; mov ds, ax
    ...[0xbe, 0x40, 0x7c], // mov si, 0x7c40
    0xac, // lodsb
    ...[0x84, 0xc0, 0x74, 0x0c], // test al, al; jz sleep
    ...[0xb4, 0x0e, 0x31, 0xdb, 0xcd, 0x10], // mov ah, 0x0e; xor bx, bx; int 0x10
    ...[0xba, 0xf8, 0x03, 0xee], // mov dx, 0x3f8; out dx, al
    ...[0xeb, 0xef], // jmp lodsb
    ...[0xfa, 0xf4, 0xeb, 0xfd], // sleep: cli; hlt; jmp hlt
  ];
  sector.set(code);
  sector.set(new TextEncoder().encode(TEXT), 0x40);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

function build(profile: string, isHap: boolean) {
  const hv = createHypervisor({ machine: createMachine({ ramBytes: 160 * MIB, cpus: 1, profile, engine: 'jit' }) });
  const dom0 = new Dom0(createDom0(hv, { pages: DOM0_PAGES }).port, DOM0_PAGES);
  const limits = { memoryMiB: RAM / MIB, vcpus: 1, uuid: new Uint8Array(16) };
  const built = buildHvmDomain(dom0.privcmd, { ...limits, hap: isHap, outOfSync: true, hpet: true });
  const domain = hv.domain(built.domid)!;
  return { hv, dom0, domain, built };
}

function powerOn(profile: string, isHap: boolean) {
  const { hv, dom0, domain, built } = build(profile, isHap);
  const disk = new Uint8Array(MIB);
  disk.set(bootSector());
  const consoles: DomainConsole[] = [];
  const model = startDeviceModel(
    dom0,
    built.domid,
    {
      vcpus: 1,
      ...ramBytes(built.ram),
      disks: [{ unit: 0, kind: 'disk', store: new RawStore(new MemoryFile(disk), latencyModel('ideal', 2048)!), isReadonly: false }],
      nics: [{ mac: Uint8Array.of(0, 0x16, 0x3e, 1, 2, 3), bridge: 'xenbr0', name: 'vif1.0-emu' }],
      boot: 'c',
      hasSerial: true,
      serialSink: null,
      hasPlatformPci: true,
      videoBios: firmware('vgabios-stdvga.bin'),
      epoch: 1_767_225_600,
      log: () => {},
    },
    {
      createPlatform,
      attachPort: new Network(dom0.timers, dom0.observer).attach,
      consoled: {
        attach: (_dom, _devid, _name, channel, sink) => {
          const console = new DomainConsole(channel, sink);
          consoles.push(console);
          return console;
        },
      },
    },
  );
  installFirmware(
    dom0.privcmd,
    built.domid,
    { vcpus: 1, ...ramBytes(built.ram), uuid: new Uint8Array(16), xenVersion: '4.17', cpuSignature: 0x50654, cpuFeatures: 0x201 },
    { bios: firmware('bios-256k.bin'), acpi: hvmAcpi(1) },
    model.pciAccess,
  );
  dom0.privcmd.domctl(XEN_DOMCTL_unpausedomain, built.domid);
  return { hv, domain, model, serial: () => new TextDecoder().decode(consoles[0]!.scrollback()) };
}

describe.skipIf(!haveApt())('SeaBIOS (skipped where the host has no apt)', () => {
  // VT-x without EPT cannot run real mode by itself: those are for the hypervisor's emulation of it.
  it.each([
    ['VT-x with EPT', 'skylake-sp', true],
    ['SVM with nested paging', 'zen', true],
    ['SVM with shadow paging', 'zen', false],
  ] as const)('starts a boot sector from the IDE disk on %s', { timeout: 600_000 }, async (_what, profile, isHap) => {
    const t = powerOn(profile, isHap);
    // Five virtual seconds: half of them the BIOS waits for a key.
    for (let slice = 0; slice < 525 && !t.serial().includes('\n') && t.domain.crashReason === null; slice++) {
      t.hv.run({ untilCycles: t.hv.baseCycles + 20_000_000 });
      await new Promise((done) => setImmediate(done));
    }
    expect(t.domain.crashReason).toBeNull();
    expect(t.serial()).toBe(TEXT);
    expect(t.model.platform.screenText()?.filter((line) => line !== '')).toEqual([
      expect.stringContaining('SeaBIOS'),
      'Press ESC for boot menu.',
      'Booting from Hard Disk...',
      TEXT.trim(),
    ]);
    const log = t.hv.console.text();
    for (const said of [
      'Found Xen hypervisor signature',
      'xen: copy e820',
      'Copying ACPI RSDP',
      'Copying SMBIOS',
      'Copying MPTABLE',
      'ioport 0xb008',
    ])
      expect(log).toContain(said);
  });

  describe('by the command', () => {
    const scratch = mkdtempSync(join(tmpdir(), 'ringworld-hvm-'));
    afterAll(() => rmSync(scratch, { recursive: true, force: true }));
    const config = (...more: string[]): string => {
      const disk = new Uint8Array(MIB);
      disk.set(bootSector());
      writeFileSync(join(scratch, 'boot.img'), disk);
      const file = join(scratch, 'hvm.cfg');
      const lines = [
        ...['name = "h"', 'type = "hvm"', 'memory = 64', 'serial = "pty"', `disk = [ "${join(scratch, 'boot.img')},raw,hda,rw" ]`],
        `firmware = "${join(debianPackage('seabios'), 'usr/share/seabios/bios-256k.bin')}"`,
        ...more,
      ];
      writeFileSync(file, lines.map((l) => `${l}\n`).join(''));
      return file;
    };

    it('COM1 is what is seen; the last CPU that halts switches off', async () => {
      const ran = await ringworld(['create', '-F', '--timeout', '600', config()]);
      expect([ran.stdout, ran.code]).toEqual([TEXT, 0]);
    });
    it.each([
      ['firmware = "/nowhere/bios.bin"', 'firmware: /nowhere/bios.bin cannot be read'],
      ['kernel = "/etc/hostname"', 'kernel= of a domain of type "hvm" is not supported yet'],
    ])('%s is refused', async (line, why) => {
      const ran = await ringworld(['create', '-F', config(line)]);
      expect(ran.stderr).toContain(why);
      expect(ran.code).toBe(1);
    });
  });
});
