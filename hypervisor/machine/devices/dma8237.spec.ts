// The DMA controllers against Intel's data sheet 231466 (register codes, first/last flip-flop), and the emulator-only ports against what
// Bochs, SeaBIOS and QEMU say of them.

import { expect, it } from 'vitest';
import { createDebugExit, createDebugPort } from './debug-port.ts';
import { Dma8237 } from './dma8237.ts';
import { FakeBus } from './fake-board.ts';

function dma() {
  const bus = new FakeBus();
  const device = new Dma8237();
  device.attach(bus);
  return { bus, device };
}

it.each([
  ['first', 0x02, 0x0c],
  ['second', 0xc4, 0xd8],
])('the %s controller’s address is two bytes through one port', (_name, port, clear) => {
  const { bus } = dma();
  bus.out(clear, 0);
  bus.out(port, 0x34);
  bus.out(port, 0x12);
  expect([bus.in(port), bus.in(port)]).toEqual([0x34, 0x12]);
  bus.in(port);
  bus.out(clear, 0);
  expect(bus.in(port)).toBe(0x34);
});

it('masks channel by channel, all at once, and by master clear', () => {
  const { bus } = dma();
  expect(bus.in(0x0f)).toBe(0xff);
  bus.out(0x0a, 0x02);
  expect(bus.in(0x0f)).toBe(0xfb);
  bus.out(0x0e, 0);
  bus.out(0x0a, 0x05);
  expect(bus.in(0x0f)).toBe(0xf2);
  bus.out(0x0d, 0);
  expect(bus.in(0x0f)).toBe(0xff);
});

it('page registers read back, the spare ones as well', () => {
  const { bus } = dma();
  for (let port = 0x80; port < 0x90; port++) bus.out(port, port ^ 0x5a);
  for (let port = 0x80; port < 0x90; port++) expect(bus.in(port)).toBe(port ^ 0x5a);
});

it.each([0xe9, 0x402])('port %i is there and writes text', (port) => {
  const bus = new FakeBus();
  let text = '';
  createDebugPort(port, (byte) => {
    text += String.fromCharCode(byte);
  }).attach(bus);
  expect(bus.in(port)).toBe(0xe9);
  for (const c of 'ok') bus.out(port, c.charCodeAt(0));
  expect(text).toBe('ok');
});

it.each([
  [0, 1],
  [1, 3],
  [0x31, 0x63],
])('writing %i to the exit port ends with %i', (value, code) => {
  const bus = new FakeBus();
  let got = -1;
  createDebugExit((c) => {
    got = c;
  }).attach(bus);
  bus.out(0xf4, value, 4);
  expect(got).toBe(code);
});
