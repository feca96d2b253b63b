// The VGA: registers, planes, text, DISPI modes, and the pictures that come of it.

import { describe, expect, it } from 'vitest';
import { FakeBus, FakeTimeline } from './fake-board.ts';
import { renderImage } from './framebuffer.ts';
import { Vga } from './vga.ts';
import { VgaPci } from './vga-pci.ts';
import { displayMode } from './vga-state.ts';
import { screenText } from './vga-text.ts';

const MIB = 1 << 20;

function setUp() {
  const bus = new FakeBus();
  const timeline = new FakeTimeline();
  const vga = new Vga(timeline, new Uint8Array(16 * MIB));
  vga.attach(bus);
  const set = (index: number, values: readonly number[], first = 0): void =>
    values.forEach((v, i) => {
      bus.out(index, first + i);
      bus.out(index + 1, v);
    });
  const attributes = (values: readonly number[], first: number): void => {
    bus.in(0x3da);
    values.forEach((v, i) => {
      bus.out(0x3c0, first + i);
      bus.out(0x3c0, v);
    });
  };
  bus.out(0x3c2, 0x67);
  return {
    bus,
    vga,
    timeline,
    set,
    attributes,
    /** The registers of mode 3 (IBM VGA BIOS), with an identity palette. */
    mode3: (): void => {
      set(0x3c4, [3, 0, 3, 0, 2]);
      set(0x3d4, [0x0e], 0x11);
      set(
        0x3d4,
        [
          0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3,
          0xff,
        ],
      );
      set(0x3ce, [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff]);
      attributes(
        Array.from({ length: 16 }, (_, i) => i),
        0,
      );
      attributes([0x0c, 0, 0x0f, 0x08, 0], 0x10);
      bus.out(0x3c0, 0x20);
    },
    /** 16 colours: red in the low bit, up. */
    palette: (): void => {
      bus.out(0x3c8, 0);
      for (let i = 0; i < 256; i++) for (const c of [i & 1 ? 63 : 0, i & 2 ? 63 : 0, i & 4 ? 63 : 0]) bus.out(0x3c9, c);
    },
    planar: (width = 640): void => {
      set(0x3c4, [3, 1, 0x0f, 0, 6]);
      set(0x3ce, [0, 0, 0, 0, 0, 0, 0x05, 0x0f, 0xff]);
      set(0x3d4, [0x0e], 0x11);
      set(0x3d4, [0x5f, width / 8 - 1], 0);
      set(0x3d4, [0x3e], 0x07);
      set(0x3d4, [0x40], 0x09);
      set(0x3d4, [0xdf, width / 16], 0x12);
      set(0x3d4, [0xe3, 0xff], 0x17);
      attributes(
        Array.from({ length: 16 }, (_, i) => i),
        0,
      );
      attributes([1, 0, 0x0f, 0, 0], 0x10);
    },
    dispi: (index: number, value: number): void => {
      bus.out(0x1ce, index, 2);
      bus.out(0x1cf, value, 2);
    },
  };
}

/** A pixel as hexadecimal RRGGBB. */
function pixel(image: ReturnType<typeof renderImage>, x: number, y: number): string {
  const at = (y * image.width + x) * 4;
  return [...image.rgba.subarray(at, at + 3)].map((v) => v.toString(16).padStart(2, '0')).join('');
}

describe('VGA registers', () => {
  it('keep the bits that exist', () => {
    const { bus, set } = setUp();
    set(0x3c4, [0xff, 0xff, 0xff]);
    set(0x3ce, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    const read = (index: number, n: number): number => {
      bus.out(index, n);
      return bus.in(index + 1);
    };
    expect([0, 1, 2].map((n) => read(0x3c4, n))).toEqual([3, 0x3d, 0x0f]);
    expect([3, 4, 5].map((n) => read(0x3ce, n))).toEqual([0x1f, 3, 0x7b]);
  });

  it('answer at the colour or the monochrome ports', () => {
    const { bus } = setUp();
    bus.out(0x3d4, 0x0e);
    expect([bus.in(0x3d4), bus.in(0x3b4)]).toEqual([0x0e, 0xff]);
    bus.out(0x3c2, 0x66);
    expect([bus.in(0x3d4), bus.in(0x3b4)]).toEqual([0xff, 0x0e]);
  });

  it('protect CRTC registers 0 to 7 but for the line compare bit', () => {
    const { bus, set } = setUp();
    set(0x3d4, [0x11, 0, 0, 0, 0, 0, 0, 0]);
    set(0x3d4, [0x80], 0x11);
    set(0x3d4, [0x22], 0);
    set(0x3d4, [0xff], 7);
    bus.out(0x3d4, 0);
    expect(bus.in(0x3d5)).toBe(0x11);
    bus.out(0x3d4, 7);
    expect(bus.in(0x3d5)).toBe(0x10);
  });

  it('turn the attribute flip-flop back when input status 1 is read', () => {
    const { bus } = setUp();
    bus.in(0x3da);
    bus.out(0x3c0, 0x05);
    bus.in(0x3da);
    bus.out(0x3c0, 0x06);
    bus.out(0x3c0, 0x2a);
    bus.in(0x3da);
    bus.out(0x3c0, 0x06);
    expect(bus.in(0x3c1)).toBe(0x2a);
  });

  it('move through the palette by themselves, three components a colour', () => {
    const { bus } = setUp();
    bus.out(0x3c8, 10);
    for (const v of [1, 2, 3, 4, 5, 0xff]) bus.out(0x3c9, v);
    bus.out(0x3c7, 10);
    expect(Array.from({ length: 6 }, () => bus.in(0x3c9))).toEqual([1, 2, 3, 4, 5, 0x3f]);
    expect(bus.in(0x3c7)).toBe(3);
  });

  it('show the retrace by the clock, 70 times a second', () => {
    const { bus, timeline } = setUp();
    let edges = 0;
    let last = 0;
    for (let t = 0; t < 1e9; t += 20_000) {
      timeline.runTo(t);
      const now = bus.in(0x3da) & 8;
      if (now && !last) edges++;
      last = now;
    }
    expect(edges).toBe(70);
  });
});

describe('text mode', () => {
  it('is read from the screen, through the window at 0xB8000', () => {
    const t = setUp();
    t.mode3();
    const text = 'Hello, ░▒▓ é';
    const codes = [...'Hello, '].map((c) => c.charCodeAt(0)).concat(0xb0, 0xb1, 0xb2, 0x20, 0x82);
    for (const [i, c] of codes.entries()) t.bus.write(0xb8000 + 160 + i * 2, c | 0x0700, 2);
    const lines = screenText(t.vga.state, t.vga.video)!;
    expect([lines.length, lines[0], lines[1]]).toEqual([25, '', text]);
    expect(t.bus.read(0xb8000 + 160, 4)).toBe(0x07650748);
    expect(t.bus.read(0xb0000, 1)).toBe(0xff);
    // The start address scrolls.
    t.set(0x3d4, [0, 80], 0x0c);
    expect(screenText(t.vga.state, t.vga.video)![0]).toBe(text);
  });

  it('is drawn with the font in plane 2', () => {
    const t = setUp();
    t.mode3();
    t.palette();
    // As a BIOS loads a font: plane 2, sequential, at 0xA0000; character 0x41 gets one line of a pattern.
    t.set(0x3c4, [3, 0, 4, 0, 6]);
    t.set(0x3ce, [0, 0, 0, 0, 2, 0, 4, 0, 0xff]);
    t.bus.write(0xa0000 + 0x41 * 32 + 3, 0b1010_0001, 1);
    t.set(0x3c4, [3, 0, 3, 0, 2]);
    t.set(0x3ce, [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff]);
    t.set(0x3d4, [0x20], 0x0a);
    t.bus.write(0xb8000, 0x2441, 2);
    const image = renderImage(t.vga.state, t.vga.video);
    expect([image.width, image.height]).toEqual([720, 400]);
    const [ink, paper] = ['0000ff', '00ff00'];
    expect(Array.from({ length: 9 }, (_, x) => pixel(image, x, 3))).toEqual([ink, paper, ink, paper, paper, paper, paper, ink, paper]);
    expect(pixel(image, 0, 2)).toBe(paper);
  });
});

describe('planes', () => {
  it('are written through set/reset, function, bit mask and map mask (write mode 0)', () => {
    const t = setUp();
    t.planar();
    t.bus.write(0xa0000, 0xf0, 1);
    expect([...t.vga.video.subarray(0, 4)]).toEqual([0xf0, 0xf0, 0xf0, 0xf0]);
    // Planes 0 and 1 only; bits 3:0 come from the CPU, the rest from the latch.
    t.set(0x3c4, [3], 2);
    t.set(0x3ce, [0x0f], 8);
    t.bus.read(0xa0000, 1);
    t.bus.write(0xa0000, 0xff, 1);
    expect([...t.vga.video.subarray(0, 4)]).toEqual([0xff, 0xff, 0xf0, 0xf0]);
    // Set/reset on plane 0 writes zeroes; XOR with the latch leaves plane 0 as it was.
    t.set(0x3ce, [0, 1, 0, 0x18], 0);
    t.bus.read(0xa0000, 1);
    t.bus.write(0xa0000, 0xff, 1);
    expect([...t.vga.video.subarray(0, 4)]).toEqual([0xff, 0xf0, 0xf0, 0xf0]);
  });

  it('are copied by write mode 1, coloured by 2, and masked by 3', () => {
    const t = setUp();
    t.planar();
    t.vga.video.set([1, 2, 3, 4], 0);
    t.set(0x3ce, [1], 5);
    t.bus.read(0xa0000, 1);
    t.bus.write(0xa0001, 0, 1);
    expect([...t.vga.video.subarray(4, 8)]).toEqual([1, 2, 3, 4]);
    t.set(0x3ce, [2], 5);
    t.set(0x3ce, [0x80], 8);
    t.bus.read(0xa0002, 1);
    t.bus.write(0xa0002, 0b0101, 1);
    expect([...t.vga.video.subarray(8, 12)]).toEqual([0x80, 0, 0x80, 0]);
    t.set(0x3ce, [3], 5);
    t.set(0x3ce, [0x0a], 0);
    t.bus.read(0xa0003, 1);
    t.bus.write(0xa0003, 0xc0, 1);
    expect([...t.vga.video.subarray(12, 16)]).toEqual([0, 0x80, 0, 0x80]);
  });

  it('are compared with a colour in read mode 1', () => {
    const t = setUp();
    t.planar();
    t.vga.video.set([0b1100, 0b1010, 0, 0], 0);
    t.set(0x3ce, [0b0011, 0, 0, 8], 2);
    t.set(0x3ce, [0x0f], 7);
    expect(t.bus.read(0xa0000, 1)).toBe(0b1000);
    // Plane 1 is not looked at.
    t.set(0x3ce, [0x0d], 7);
    expect(t.bus.read(0xa0000, 1)).toBe(0b1100);
  });

  it('make a picture of 16 colours', () => {
    const t = setUp();
    t.planar();
    t.palette();
    t.vga.video.set([0x80, 0x40, 0xc0, 0], (80 * 2 + 1) * 4);
    expect(displayMode(t.vga.state)).toEqual({ kind: 'planar', width: 640, height: 480 });
    const image = renderImage(t.vga.state, t.vga.video);
    expect([8, 9, 10].map((x) => pixel(image, x, 2))).toEqual(['ff00ff', '00ffff', '000000']);
  });

  it('chained make mode 13h', () => {
    const t = setUp();
    t.planar();
    t.palette();
    t.set(0x3c4, [0x0e], 4);
    t.set(0x3ce, [0x40], 5);
    t.set(0x3d4, [0x41], 0x09);
    t.set(0x3d4, [0x8f, 0x28], 0x12);
    t.set(0x3d4, [0x1f], 0x07);
    t.bus.write(0xa0000 + 320 * 5 + 7, 0x0504, 2);
    expect(displayMode(t.vga.state)).toEqual({ kind: 'linear256', width: 320, height: 200 });
    const image = renderImage(t.vga.state, t.vga.video);
    expect([6, 7, 8].map((x) => pixel(image, x, 5))).toEqual(['000000', '0000ff', 'ff00ff']);
  });
});

describe('DISPI', () => {
  it('says what it can do', () => {
    const t = setUp();
    const read = (n: number): number => {
      t.bus.out(0x1ce, n, 2);
      return t.bus.in(0x1cf, 2);
    };
    expect([read(0), read(10)]).toEqual([0xb0c5, 256]);
    t.dispi(4, 2);
    expect([read(1), read(2), read(3)]).toEqual([16000, 12000, 32]);
  });

  it('sets modes, clears the memory, pans, and shows banks at 0xA0000', () => {
    const t = setUp();
    t.vga.video.fill(0x55, 0, 4 * MIB);
    t.dispi(1, 800);
    t.dispi(2, 600);
    t.dispi(3, 32);
    t.dispi(4, 0x41);
    expect(t.vga.video[800 * 600 * 4 - 1]).toBe(0);
    expect(t.vga.video[800 * 600 * 4]).toBe(0x55);
    t.dispi(5, 2);
    t.bus.write(0xa0004, 0x00112233, 4);
    expect(t.vga.video[0x20004]).toBe(0x33);
    const at = 0x20004 / 4;
    const [x, y] = [at % 800, Math.floor(at / 800)];
    expect(pixel(renderImage(t.vga.state, t.vga.video), x, y)).toBe('112233');
    t.dispi(6, 1600);
    t.dispi(9, 3);
    t.dispi(8, 16);
    const image = renderImage(t.vga.state, t.vga.video);
    expect([image.width, image.height]).toEqual([800, 600]);
    const panned = (at % 1600) - 16;
    expect(pixel(image, panned, Math.floor(at / 1600) - 3)).toBe('112233');
  });

  it.each([
    [15, [0x1f, 0x7c], 'ff00ff'],
    [16, [0xe0, 0x07], '00ff00'],
    [24, [0x10, 0x20, 0x30], '302010'],
    [8, [5], 'ff00ff'],
  ] as const)('draws pixels of %i bits', (bpp, bytes, colour) => {
    const t = setUp();
    t.palette();
    t.dispi(1, 64);
    t.dispi(2, 16);
    t.dispi(3, bpp);
    t.dispi(4, 0x41);
    const size = bytes.length;
    t.vga.video.set(bytes, (64 * 3 + 9) * size);
    expect(pixel(renderImage(t.vga.state, t.vga.video), 9, 3)).toBe(colour);
  });

  it('is reached through BAR 2 as well, like the VGA ports', () => {
    const t = setUp();
    const none = { size: 16 * MIB, show: () => {}, hide: () => {} };
    const card = new VgaPci(t.bus, t.vga, none, undefined);
    card.write(0x18, 4, 0xfebf_0000);
    card.write(0x04, 2, 2);
    expect(t.bus.read(0xfebf_0500, 2)).toBe(0xb0c5);
    t.bus.write(0xfebf_0502, 1024, 2);
    expect(t.vga.state.vbe[1]).toBe(1024);
    t.bus.write(0xfebf_0414, 0x0a, 1);
    t.bus.out(0x3d4, 0x0c);
    expect(t.bus.read(0xfebf_0414, 1)).toBe(0x0c);
    expect([t.bus.read(0xfebf_0600, 4), t.bus.read(0xfebf_0604, 4)]).toEqual([8, 0x1e1e1e1e]);
  });
});
