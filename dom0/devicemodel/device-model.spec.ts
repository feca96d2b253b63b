// The device model with the real devices behind a fake hypervisor: what a guest finds when it only has requests.
import { domid, SHUTDOWN_poweroff, SHUTDOWN_reboot } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { type ConsoleChannel, DomainConsole } from '../consoled/domain-console.ts';
import { Observer } from '../kernel/observe.ts';
import { latencyModel } from '../storage/latency.ts';
import { RawStore } from '../storage/raw-store.ts';
import { MemoryFile, pattern } from '../storage/testing.ts';
import { Network } from '../switch/network.ts';
import type { Packet } from '../switch/port.ts';
import { setUpPci } from '../toolstack/hvm-firmware-pci.ts';
import { createPlatform } from '../xl/device-model-parts.ts';
import { type DeviceModelConfig, startDeviceModel } from './index.ts';
import { FakeHypervisor } from './testing/fake-hypervisor.ts';
import { PLATFORM_BLOCKED, PLATFORM_MAGIC, UNPLUG } from './xen-platform.ts';

const MIB = 2 ** 20;
const MAC = Uint8Array.of(0x00, 0x16, 0x3e, 1, 2, 3);
const IDE_FN = 0x09;
const PLATFORM_FN = 0x10;
const NIC_FN = 0x20;
const disk = (bytes: Uint8Array, model = 'ideal', readonly = false) =>
  new RawStore(new MemoryFile(bytes, 'image', readonly), latencyModel(model, bytes.length / 512)!);

function setUp(more: Partial<DeviceModelConfig> = {}) {
  const xen = new FakeHypervisor(64);
  const lines: string[] = [];
  const network = new Network({ now: () => xen.now, after: xen.timers.after }, new Observer());
  const consoles: DomainConsole[] = [];
  const model = startDeviceModel(
    xen,
    domid(1),
    {
      vcpus: 1,
      ramBelow4G: 64 * MIB,
      ramAbove4G: 0,
      disks: [],
      nics: [],
      boot: 'cd',
      hasSerial: false,
      serialSink: null,
      hasPlatformPci: true,
      videoBios: undefined,
      epoch: 1_767_225_600,
      log: (line) => lines.push(line),
      ...more,
    },
    {
      createPlatform,
      attachPort: network.attach,
      consoled: {
        attach: (_dom, _devid, _name, channel: ConsoleChannel, sink) => {
          const console = new DomainConsole(channel, sink);
          consoles.push(console);
          return console;
        },
      },
    },
  );
  const bars = setUpPci(model.pciAccess);
  const bar = (devfn: number, register: number) => bars.find((b) => b.devfn === devfn && b.register === register)!.base;
  return { xen, model, lines, network, consoles, bars, bar };
}
/** The drive's status once it is not busy. */
const idle = (t: ReturnType<typeof setUp>): number => {
  t.xen.pass(1e6);
  return t.xen.in(0x1f7);
};

describe('the PCI bus', () => {
  it('has the functions of a PIIX3 board where hvmloader and guests look for them', () => {
    const t = setUp({ nics: [{ mac: MAC, bridge: 'xenbr0', name: 'vif1.0-emu' }] });
    const ids = Array.from({ length: 256 }, (_, fn) => [fn, t.xen.config(fn, 0, 4)] as const).filter(([, id]) => id !== 0xffff_ffff);
    expect(ids.map(([fn, id]) => `${fn.toString(16)} ${(id & 0xffff).toString(16)}:${(id >>> 16).toString(16)}`)).toEqual([
      '0 8086:1237',
      '8 8086:7000',
      '9 8086:7010',
      'b 8086:7113',
      '10 5853:1',
      '18 1234:1111',
      '20 10ec:8029',
    ]);
    expect([...t.xen.ranges].filter((r) => r.startsWith('pci'))).toHaveLength(7);
  });

  it('tells Xen of the link routing, and of the ranges of BARs as they move', () => {
    const t = setUp();
    expect(t.xen.links).toEqual([5, 10, 11, 5]);
    const busMaster = t.bar(IDE_FN, 0x20);
    const name = (base: number) => `port 0x${base.toString(16)}-0x${(base + 15).toString(16)}`;
    expect(t.xen.ranges.has(name(busMaster))).toBe(true);
    t.xen.setConfig(IDE_FN, 0x20, 4, 0xd000);
    expect([t.xen.ranges.has(name(busMaster)), t.xen.ranges.has(name(0xd000))]).toEqual([false, true]);
    t.xen.setConfig(0x08, 0x61, 1, 0x80);
    expect(t.xen.links).toEqual([5, 0, 11, 5]);
  });

  it('puts the power management block where ACPI tables say, and S5 switches the domain off', () => {
    const t = setUp();
    expect(t.xen.ranges.has('port 0xb000-0xb03f')).toBe(true);
    t.xen.out(0xb004, 0x2000, 2);
    expect(t.xen.shutdown).toBe(SHUTDOWN_poweroff);
  });

  it.each([
    ['the reset control register', 0xcf9, 0x06],
    ['the keyboard controller', 0x64, 0xfe],
  ])('%s reboots', (_what, port, value) => {
    const t = setUp();
    t.xen.out(port, value);
    expect(t.xen.shutdown).toBe(SHUTDOWN_reboot);
  });
});

describe('an IDE disk on a store of dom0', () => {
  const read = (t: ReturnType<typeof setUp>, lba: number, count: number, at: number): void => {
    const master = t.bar(IDE_FN, 0x20);
    t.xen.poke(0x2000, new Uint8Array(Uint32Array.of(at, (0x8000_0000 | (count * 512)) >>> 0).buffer));
    t.xen.out(master + 4, 0x2000, 4);
    t.xen.out(0x1f2, count);
    t.xen.out(0x1f3, lba);
    t.xen.out(0x1f4, 0);
    t.xen.out(0x1f5, 0);
    t.xen.out(0x1f6, 0xe0);
    t.xen.out(0x1f7, 0xc8);
    t.xen.out(master, 9);
  };

  it('reads sectors by DMA into guest memory and interrupts', () => {
    const image = pattern(64 * 512);
    const t = setUp({ disks: [{ unit: 0, kind: 'disk', store: disk(image), isReadonly: false }] });
    read(t, 5, 3, 0x8ff0);
    t.xen.pass(1e6);
    expect(t.xen.isaLevels.get(14)).toBe(true);
    expect(t.xen.in(t.bar(IDE_FN, 0x20) + 2) & 7).toBe(4);
    expect(t.xen.in(0x1f7)).toBe(0x50);
    expect(t.xen.isaLevels.get(14)).toBe(false);
    expect(t.xen.bytes(0x8ff0, 3 * 512)).toEqual(image.slice(5 * 512, 8 * 512));
  });

  it('is busy for as long as the disk model says', () => {
    const t = setUp({ disks: [{ unit: 0, kind: 'disk', store: disk(pattern(64 * 512), 'nvme'), isReadonly: false }] });
    read(t, 0, 1, 0x8000);
    t.xen.pass(20_000);
    expect(t.xen.in(0x3f6) & 0x80).toBe(0x80);
    t.xen.pass(10e6);
    expect(t.xen.in(0x3f6) & 0x80).toBe(0);
    expect(t.xen.bytes(0x8000, 4)).toEqual(pattern(4));
  });

  it('drops what a reset has made void', () => {
    const t = setUp({ disks: [{ unit: 0, kind: 'disk', store: disk(pattern(64 * 512), 'nvme'), isReadonly: false }] });
    read(t, 0, 1, 0x8000);
    t.xen.pass(20_000);
    t.xen.out(0x3f6, 4);
    t.xen.out(0x3f6, 0);
    t.xen.pass(10e6);
    expect([t.xen.in(0x1f7), t.xen.isaLevels.get(14) ?? false]).toEqual([0x50, false]);
    expect(t.xen.bytes(0x8000, 4)).toEqual(new Uint8Array(4));
  });

  it('writes by PIO, a word at a time with REP OUTSW', () => {
    const file = new MemoryFile(new Uint8Array(16 * 512));
    const t = setUp({ disks: [{ unit: 0, kind: 'disk', store: new RawStore(file, latencyModel('ideal', 16)!), isReadonly: false }] });
    const bytes = pattern(512, 9);
    t.xen.poke(0x9000, bytes);
    t.xen.out(0x1f2, 1);
    t.xen.out(0x1f3, 7);
    t.xen.out(0x1f6, 0xe0);
    t.xen.out(0x1f7, 0x30);
    expect(t.xen.in(0x1f7)).toBe(0x58);
    t.xen.request({ type: 0, isRead: false, addr: 0x1f0, size: 2, count: 256, isPointer: true, data: 0x9000 });
    expect(idle(t)).toBe(0x50);
    expect(file.bytes.slice(7 * 512, 8 * 512)).toEqual(bytes);
  });

  it('fails a command when the medium does, and when it may not be written', async () => {
    const store = disk(pattern(64 * 512));
    store.read = () => {
      throw new Error('EIO');
    };
    const t = setUp({ disks: [{ unit: 0, kind: 'disk', store, isReadonly: true }] });
    t.xen.out(0x1f2, 1);
    t.xen.out(0x1f6, 0xe0);
    const attempt = async (command: number): Promise<number[]> => {
      t.xen.out(0x1f7, command);
      t.xen.pass(5_000);
      await new Promise((done) => setImmediate(done));
      return [idle(t), t.xen.in(0x1f1)];
    };
    // Aborted, and uncorrectable.
    expect([await attempt(0x30), await attempt(0x20)]).toEqual([
      [0x51, 0x04],
      [0x51, 0x40],
    ]);
  });
});

describe('the platform device', () => {
  it('answers the protocol of Linux: magic, version, product, build, magic', () => {
    const t = setUp();
    expect([t.xen.in(0x10, 2), t.xen.in(0x12, 1)]).toEqual([PLATFORM_MAGIC, 1]);
    t.xen.out(0x12, 3, 2);
    t.xen.out(0x10, 1, 4);
    expect(t.xen.in(0x10, 2)).toBe(PLATFORM_MAGIC);
    expect([t.xen.config(PLATFORM_FN, 8, 4) >>> 8, t.xen.config(PLATFORM_FN, 0x3d, 1)]).toEqual([0xff8000, 1]);
  });

  it('refuses drivers on the blacklist', () => {
    const t = setUp();
    t.xen.store.set('/mh/driver-blacklist/linux/7', '');
    t.xen.out(0x12, 3, 2);
    t.xen.out(0x10, 7, 4);
    expect(t.xen.in(0x10, 2)).toBe(PLATFORM_BLOCKED);
    t.xen.out(0x10, 8, 4);
    expect(t.xen.in(0x10, 2)).toBe(PLATFORM_MAGIC);
  });

  const store = () => disk(pattern(16 * 2048));
  const drives = [
    { unit: 0, kind: 'disk', store: store(), isReadonly: false },
    { unit: 1, kind: 'disk', store: store(), isReadonly: false },
    { unit: 3, kind: 'cdrom', store: store(), isReadonly: true },
  ] as const;
  /** The status of the four drives: 0 where there is none. A CD drive's is 0 too, so its signature is looked at. */
  const present = (t: ReturnType<typeof setUp>): string => {
    let found = '';
    for (const base of [0x1f0, 0x170])
      for (const unit of [0xa0, 0xb0]) {
        t.xen.out(base + 6, unit);
        found += t.xen.in(base + 2) === 0 ? '-' : t.xen.in(base + 5) === 0xeb ? 'c' : 'd';
      }
    return found;
  };
  it.each([
    [UNPLUG.ideDisks, '---c', true],
    [UNPLUG.auxIdeDisks, 'd--c', true],
    [UNPLUG.nics, 'dd-c', false],
    [UNPLUG.nvmeDisks, 'dd-c', true],
    [UNPLUG.ideDisks | UNPLUG.nics | UNPLUG.auxIdeDisks, '---c', false],
  ])('unplugs by mask %i', (mask, left, hasNic) => {
    const t = setUp({ disks: drives, nics: [{ mac: MAC, bridge: 'xenbr0', name: 'vif1.0-emu' }] });
    expect([present(t), t.xen.config(NIC_FN, 0, 2), t.network.bridge('xenbr0').ports.length]).toEqual(['dd-c', 0x10ec, 1]);
    t.xen.out(0x10, mask, 2);
    expect([present(t), t.xen.config(NIC_FN, 0, 2) === 0x10ec, t.network.bridge('xenbr0').ports.length === 1]).toEqual([
      left,
      hasNic,
      hasNic,
    ]);
  });

  it('logs lines, and only so many', () => {
    const t = setUp();
    for (const c of 'hello\n') t.xen.out(0x12, c.charCodeAt(0));
    expect(t.lines).toEqual(['hello']);
    for (let i = 0; i < 30_000; i++) t.xen.out(0x12, i % 50 === 49 ? 10 : 65);
    expect(t.lines.length).toBeLessThan(400);
    t.xen.pass(10e9);
    for (const c of '\nagain\n') t.xen.out(0x12, c.charCodeAt(0));
    expect(t.lines.at(-1)).toBe('again');
  });

  it('is not there when it is switched off', () => {
    const t = setUp({ hasPlatformPci: false });
    expect([t.xen.config(PLATFORM_FN, 0, 4), t.xen.in(0x10, 2)]).not.toContain(PLATFORM_MAGIC);
  });
});

describe('a network card on a bridge', () => {
  it('sends to others and receives from them, with checksums filled for it', () => {
    const t = setUp({ nics: [{ mac: MAC, bridge: 'xenbr0', name: 'vif1.0-emu' }] });
    const got: Uint8Array[] = [];
    const other = t.network.attach(
      'xenbr0',
      {
        receive: (p: Packet) => got.push(p.bytes.slice()) > 0,
        flush: () => {},
        accepts: { gso4: true, gso6: true, csum4: true, csum6: true, wantsMulticast: () => true, maxFrame: 1518 },
      },
      'peer',
    );
    const base = t.bar(NIC_FN, 0x10);
    const out = (r: number, v: number, size = 1) => t.xen.out(base + r, v, size);
    for (const [r, v] of [
      [0, 0x21],
      [0x0e, 0x49],
      [0x0c, 4],
      [1, 0x4c],
      [2, 0x80],
      [3, 0x4c],
      [7, 0xff],
      [0x0f, 0x3f],
      [0, 0x61],
    ] as const)
      out(r, v);
    for (const [i, b] of MAC.entries()) out(1 + i, b);
    for (const [r, v] of [
      [7, 0x4d],
      [0, 0x22],
      [8, 0],
      [9, 0x40],
      [10, 64],
      [11, 0],
      [0, 0x12],
    ] as const)
      out(r, v);
    const frame = Uint8Array.from({ length: 64 }, (_, i) => (i < 6 ? 0xff : i < 12 ? MAC[i - 6]! : i));
    t.xen.poke(0xa000, frame);
    // ne2k-pci's block_output with 32-bit accesses.
    t.xen.request({ type: 0, isRead: false, addr: base + 0x10, size: 4, count: 16, isPointer: true, data: 0xa000 });
    for (const [r, v] of [
      [4, 0x40],
      [5, 64],
      [6, 0],
      [0, 0x26],
    ] as const)
      out(r, v);
    expect(got).toEqual([frame]);
    expect(t.xen.intxLevels.get('4.0')).toBe(true);
    out(7, 0x7f);
    expect(t.xen.intxLevels.get('4.0')).toBe(false);
    const reply = Uint8Array.from({ length: 60 }, (_, i) => (i < 6 ? MAC[i]! : i < 12 ? 2 : i));
    other.transmit({ bytes: reply, csumBlank: false, csumValid: true, gso: null, hash: null });
    expect([t.xen.intxLevels.get('4.0'), t.xen.in(base + 7)]).toEqual([true, 1]);
  });
});

describe('COM1', () => {
  it('is a console: what it sends is shown by lines, what is typed arrives with an interrupt', () => {
    const t = setUp({ hasSerial: true });
    const shown: string[] = [];
    t.consoles[0]!.subscribe({ room: () => 1e6, write: (b) => shown.push(new TextDecoder().decode(b)) });
    for (const c of 'login: ') t.xen.out(0x3f8, c.charCodeAt(0));
    expect(shown).toEqual([]);
    t.xen.pass(2e6);
    for (const c of 'hi\n') t.xen.out(0x3f8, c.charCodeAt(0));
    expect(shown).toEqual(['login: ', 'hi\n']);
    t.xen.out(0x3fa, 1);
    t.xen.out(0x3fc, 8);
    t.xen.out(0x3f9, 1);
    const typed = 'x'.repeat(700);
    t.consoles[0]!.type(new TextEncoder().encode(typed));
    let read = '';
    for (let i = 0; i < 20_000 && read.length < typed.length; i++) {
      t.xen.pass(1e6);
      if (t.xen.isaLevels.get(4)) while (t.xen.in(0x3fd) & 1) read += String.fromCharCode(t.xen.in(0x3f8));
    }
    expect(read).toBe(typed);
  });
});

it('CMOS tells the firmware memory and boot order', () => {
  const t = setUp({ boot: 'dc', ramBelow4G: 64 * MIB, vcpus: 2 });
  const cmos = (i: number): number => {
    t.xen.out(0x70, i);
    return t.xen.in(0x71);
  };
  expect([cmos(0x34) | (cmos(0x35) << 8), cmos(0x3d), cmos(0x5f)]).toEqual([(48 * MIB) / 65536, 0x23, 1]);
});

it('the screen is text that requests have put there', () => {
  const t = setUp();
  // Text mode 3, as far as it matters: odd/even addressing, planes 0 and 1, the window at 0xb8000.
  for (const [index, data, port] of [
    [4, 2, 0x3c4],
    [2, 3, 0x3c4],
    [5, 0x10, 0x3ce],
    [6, 0x0e, 0x3ce],
    [8, 0xff, 0x3ce],
  ] as const) {
    t.xen.out(port, index);
    t.xen.out(port + 1, data);
  }
  t.xen.out(0x3c2, 0x67);
  for (const [index, data] of [
    [1, 79],
    [9, 15],
    [0x12, 0x8f],
    [7, 2],
    [0x13, 40],
  ] as const) {
    t.xen.out(0x3d4, index);
    t.xen.out(0x3d5, data);
  }
  for (const [i, c] of [...'SeaBIOS'].entries()) t.xen.write(0xb8000 + 2 * i, c.charCodeAt(0) | 0x0700, 2);
  expect(t.model.platform.screenText()?.[0]).toBe('SeaBIOS');
});

it('lets go of everything when it closes, whatever is under way', () => {
  const t = setUp({
    disks: [{ unit: 0, kind: 'disk', store: disk(pattern(64 * 512), 'nvme'), isReadonly: false }],
    nics: [{ mac: MAC, bridge: 'xenbr0', name: 'vif1.0-emu' }],
    hasSerial: true,
  });
  t.xen.out(0x1f2, 1);
  t.xen.out(0x1f6, 0xe0);
  t.xen.out(0x1f7, 0x20);
  t.xen.pass(20_000);
  t.model.close();
  t.xen.pass(1e9);
  expect([t.xen.isOn, t.xen.boundPorts, t.xen.mapped, t.network.bridge('xenbr0').ports.length]).toEqual([false, 0, 0, 0]);
  // Once more, and what others still have of it, do no harm.
  t.model.close();
  t.consoles[0]!.type(Uint8Array.of(1));
  t.model.platform.key('a', true);
  t.xen.pass(1e9);
});
