// Frame buffer, keyboard and PNG against frontends that tell the truth, and against ones that do not.
import { inflateSync } from 'node:zlib';
import {
  XEN_IO_PROTO_ABI_X86_32,
  XENFB_OUT_RING_OFFS,
  XENKBD_IN_RING_LEN,
  XENKBD_IN_RING_OFFS,
  xenfb_out_event,
  xenfb_page,
  xenkbd_in_event,
} from '@ringworld/abi';
import { beforeEach, describe, expect, test } from 'vitest';
import { FakeHost, FakeNode } from '../p9back/testing/fake-host.ts';
import { seeded } from '../p9back/testing/fuzz.ts';
import { pngOf } from '../xl/node-png.ts';
import { type Area, FbDevice } from './fbback.ts';
import { KbdDevice } from './kbdback.ts';
import { keyCode } from './keys.ts';
import { geometryFault } from './picture.ts';
import { crc32 } from './png.ts';

const SHARED = 10;
const DIRECTORY = 20;
const PIXELS = 1000;
let host: FakeHost;
let node: FakeNode;
let device: FbDevice;

/** A frame buffer of `pages` pages as Linux shares it. */
function frameBuffer(
  fields: Partial<Record<'width' | 'height' | 'line_length' | 'mem_length' | 'depth', number>> = {},
  abi: 'x86_64' | 'x86_32' = 'x86_64',
) {
  const entry = abi === 'x86_64' ? 8 : 4;
  const all = { width: 64, height: 48, line_length: 256, mem_length: 64 * 48 * 4, depth: 32, ...fields };
  const pd = new Array<number>(256).fill(0);
  const pages = Math.min(4096, Math.ceil(all.mem_length / 4096));
  for (let i = 0; i < pages; i++) {
    const directory = Math.floor((i * entry) / 4096);
    pd[directory] = DIRECTORY + directory;
    const at = (i * entry) % 4096;
    host.page(DIRECTORY + directory).setU32(at, PIXELS + i);
  }
  const at = { in_cons: 0, in_prod: 0, out_cons: 0, out_prod: 0 };
  host.page(SHARED).writeBytes(0, xenfb_page.encode(abi, { ...at, ...all, pd }));
}
function setPixel(x: number, y: number, bytes: number[], stride = 256): void {
  const at = y * stride + x * bytes.length;
  for (const [i, b] of bytes.entries()) host.page(PIXELS + ((at + i) >> 12)).setU8((at + i) & 4095, b);
}
function send(...events: Parameters<typeof xenfb_out_event.encode>[1][]): void {
  const page = host.page(SHARED);
  for (const e of events) {
    const prod = page.u32(12);
    page.writeBytes(XENFB_OUT_RING_OFFS + (prod % 51) * 40, xenfb_out_event.encode('x86_64', e));
    page.setU32(12, (prod + 1) >>> 0);
  }
  host.kick();
}
const resize = (width: number, height: number, stride: number, depth = 32, offset = 0) => ({
  resize: { type: 3, width, height, stride, depth, offset },
});

beforeEach(() => {
  host = new FakeHost();
  node = new FakeNode('vfb', {}, { 'page-ref': String(SHARED), 'event-channel': '5', 'feature-update': '1', protocol: 'x86_64-abi' });
  device = new FbDevice(host, node, () => {});
  node.onFatal = () => device.disconnect();
  frameBuffer();
});

describe('a frame buffer', () => {
  test('shows its pixels, asks for updates, and tells what has changed', () => {
    device.connect();
    expect(node.back).toMatchObject({ 'feature-resize': '1', 'request-update': '1' });
    setPixel(63, 47, [1, 2, 3, 0]);
    setPixel(5, 20, [10, 20, 30, 99]);
    const picture = device.picture()!;
    expect([picture.width, picture.height]).toEqual([64, 48]);
    expect([...picture.rgb.subarray((47 * 64 + 63) * 3)]).toEqual([3, 2, 1]);
    expect([...picture.rgb.subarray((20 * 64 + 5) * 3, (20 * 64 + 6) * 3)]).toEqual([30, 20, 10]);
    const areas: Area[] = [];
    device.subscribe((a) => areas.push(a));
    send({ update: { type: 2, x: -5, y: 40, width: 20, height: 100 } }, { update: { type: 2, x: 64, y: 0, width: 1, height: 1 } });
    expect(areas).toEqual([{ x: 0, y: 40, width: 15, height: 8 }]);
  });

  test('of a 32-bit guest has shorter entries in its directory', () => {
    node.front.protocol = XEN_IO_PROTO_ABI_X86_32;
    frameBuffer({}, 'x86_32');
    device.connect();
    setPixel(0, 0, [7, 8, 9, 0]);
    expect([...device.picture()!.rgb.subarray(0, 3)]).toEqual([9, 8, 7]);
  });

  test.each([
    [16, [0x1f, 0xf8], [255, 0, 255]],
    [16, [0xe0, 0x07], [0, 255, 0]],
    [8, [0xe3], [255, 0, 255]],
    [24, [1, 2, 3], [3, 2, 1]],
  ])('of %i bits a pixel: %j is %j', (depth, bytes, rgb) => {
    frameBuffer({ depth });
    device.connect();
    setPixel(1, 0, bytes);
    expect([...device.picture()!.rgb.subarray(3, 6)]).toEqual(rgb);
  });

  test('follows a resize within its memory', () => {
    device.connect();
    send(resize(32, 40, 128, 32, 512));
    expect(device.geometry).toEqual({ width: 32, height: 40, stride: 128, depth: 32, offset: 512 });
    expect(device.picture()?.rgb.length).toBe(32 * 40 * 3);
  });
});

describe('a frame buffer is refused, and nothing stays mapped, when', () => {
  test.each<[string, () => void]>([
    ['the shared page is not the domain’s own', () => host.bad.add(SHARED)],
    ['a directory is not', () => host.bad.add(DIRECTORY)],
    ['a page of pixels is not', () => host.bad.add(PIXELS + 2)],
    ['the directory points anywhere', () => host.page(SHARED).setU64(xenfb_page.offset('pd', 'x86_64'), 0xffffffffffffffffn)],
    ['the port is not for dom0', () => host.bad.add(5)],
    ['it has no memory', () => frameBuffer({ mem_length: 0 })],
    ['it has 4 GiB', () => frameBuffer({ mem_length: 0xffffffff })],
    ['it is wider than its rows', () => frameBuffer({ width: 65 })],
    ['it is higher than its memory', () => frameBuffer({ height: 49 })],
    ['its width is negative', () => frameBuffer({ width: -64 })],
    ['its rows are 4 GiB apart', () => frameBuffer({ line_length: 0xfffffff0 })],
    ['a pixel has 7 bits', () => frameBuffer({ depth: 7 })],
    ['it speaks another protocol', () => (node.front.protocol = 'arm-abi')],
  ])('%s', (_, spoil) => {
    host.bad.add(2 ** 64);
    spoil();
    expect(() => device.connect()).toThrow();
    expect([host.mapped, host.bound]).toEqual([0, 0]);
    expect(device.picture()).toBeNull();
  });
});

test.each([
  ['out_prod too far ahead', () => host.page(SHARED).setU32(12, 52)],
  ['a resize beyond the memory', () => send(resize(64, 49, 256))],
  ['a resize with a negative offset', () => send(resize(64, 48, 256, 32, -4))],
  ['a resize to nothing', () => send(resize(0, 0, 0))],
])('the frame buffer is shut after %s', (_, lie) => {
  device.connect();
  lie();
  host.kick();
  expect(node.failure).not.toBeNull();
  expect([host.mapped, host.bound]).toEqual([0, 0]);
  host.kick();
});

test('a geometry that was accepted can be read whole, whatever it is', () => {
  const rng = seeded(5);
  let accepted = 0;
  for (let i = 0; i < 3000; i++) {
    const any = (most: number) => (rng(4) === 0 ? rng(0x100000000) | 0 : rng(most));
    frameBuffer();
    device.connect();
    const g = { width: any(80), height: any(60), stride: any(300), offset: any(2000), depth: [8, 16, 24, 32, any(40)][rng(5)]! };
    send({ resize: { type: 3, ...g } });
    const fault = geometryFault(g, 64 * 48 * 4);
    expect(node.failure === null).toBe(fault === null);
    if (fault === null) {
      accepted++;
      expect(device.picture()?.rgb.length).toBe(g.width * g.height * 3);
    }
    device.disconnect();
    node.failure = null;
  }
  expect(accepted).toBeGreaterThan(100);
});

describe('a keyboard', () => {
  const page = () => host.page(SHARED);
  let keyboard: KbdDevice;
  beforeEach(() => {
    for (let i = 0; i < 16; i += 4) page().setU32(i, 0);
    node = new FakeNode(
      'vkbd',
      { width: '640', height: '400' },
      { 'page-gref': String(SHARED), 'event-channel': '5', 'request-abs-pointer': '1' },
    );
    keyboard = new KbdDevice(host, node, () => {});
    node.onFatal = () => keyboard.disconnect();
  });
  const read = () => {
    const events: { type: number; key: { pressed: number; keycode: number }; pos: { abs_x: number; abs_y: number } }[] = [];
    for (let cons = page().u32(0); cons !== page().u32(4); cons++) {
      events.push(xenkbd_in_event.decode('x86_64', page().bytes(XENKBD_IN_RING_OFFS + (cons % XENKBD_IN_RING_LEN) * 40, 40)));
      page().setU32(0, cons + 1);
    }
    return events;
  };

  test('delivers keys and positions in order, also when more come than the ring holds', () => {
    keyboard.connect();
    for (let i = 0; i < 200; i++) keyboard.key(i, true);
    const codes: number[] = [];
    for (let round = 0; round < 10; round++) {
      codes.push(...read().map((e) => e.key.keycode));
      host.kick();
    }
    expect(codes).toEqual(Array.from({ length: 200 }, (_, i) => i));
    keyboard.position(320, 200);
    expect(read().map((e) => [e.type, e.pos.abs_x, e.pos.abs_y])).toEqual([[4, 320, 200]]);
    node.front['request-raw-pointer'] = '1';
    keyboard.position(639, 0);
    expect(read().map((e) => e.pos.abs_x)).toEqual([0x7fff]);
    delete node.front['request-abs-pointer'];
    keyboard.position(1, 1);
    expect(read()).toEqual([]);
  });

  test('touches only who asked for it', () => {
    keyboard.connect();
    keyboard.touch('down', 0, 5, 6);
    expect(read()).toEqual([]);
    node.back['feature-multi-touch'] = '1';
    node.front['request-multi-touch'] = '1';
    keyboard.touch('down', 3, 5, 6);
    expect([...page().bytes(XENKBD_IN_RING_OFFS, 16)]).toEqual([5, 0, 3, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0]);
  });

  test('a guest that does not read makes nothing grow; one that lies loses the device', () => {
    keyboard.connect();
    for (let i = 0; i < 5000; i++) keyboard.key(30, true);
    expect(page().u32(4)).toBe(XENKBD_IN_RING_LEN);
    page().setU32(0, 1000);
    host.kick();
    expect(node.failure).toMatch(/in_cons/);
    expect([host.mapped, host.bound]).toEqual([0, 0]);
    keyboard.key(30, true);
  });

  test('of an old frontend has its page by frame number', () => {
    node.front['page-ref'] = node.front['page-gref']!;
    delete node.front['page-gref'];
    keyboard.connect();
    keyboard.key(30, true);
    expect(read().length).toBe(1);
  });
});

test('PNG files are what the format says', () => {
  const rgb = Uint8Array.from({ length: 3 * 2 * 3 }, (_, i) => i * 13);
  const png = pngOf({ width: 3, height: 2, rgb });
  const view = new DataView(png.buffer, png.byteOffset);
  expect([view.getUint32(8), view.getUint32(16), view.getUint32(20)]).toEqual([13, 3, 2]);
  const length = view.getUint32(33);
  const rows = inflateSync(png.subarray(41, 41 + length));
  expect(rows.length).toBe(2 * 10);
  expect([...rows.subarray(1, 10)]).toEqual([...rgb.subarray(0, 9)]);
  expect(view.getUint32(41 + length)).toBe(crc32(png.subarray(37, 41 + length)));
  // The check value of CRC-32/ISO-HDLC.
  expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
});

test('keys have the numbers of Linux', () => {
  expect(['KEY_A', 'esc', 'ENTER', 'KEY_LEFTCTRL', 'F12', '5', 'SPACE', 'KPDOT', 'DELETE', '272', 'nothing'].map(keyCode)).toEqual([
    30,
    1,
    28,
    29,
    88,
    6,
    57,
    83,
    111,
    272,
    null,
  ]);
});
