// Controller, keyboard and mouse against the IBM PS/2 Technical Reference, in the sequences of SeaBIOS (src/hw/ps2port.c) and of Linux
// (drivers/input/serio/i8042.c, keyboard/atkbd.c, mouse/psmouse-base.c).

import { describe, expect, it } from 'vitest';
import { FakeBus, FakeLine, FakeTimeline } from './fake-board.ts';
import { Ps2Controller } from './ps2.ts';
import { KEYS, keyBytes, keysOfCharacter, translateToSet1 } from './ps2-keys.ts';
import { BUTTON } from './ps2-mouse.ts';

const MS = 1e6;

function board() {
  const timeline = new FakeTimeline();
  const irq1 = new FakeLine(timeline);
  const irq12 = new FakeLine(timeline);
  const bus = new FakeBus();
  const log: string[] = [];
  const ps2 = new Ps2Controller({
    timeline,
    irq1: irq1.drive,
    irq12: irq12.drive,
    reset: () => log.push('reset'),
    a20: (open) => log.push(`a20 ${open}`),
    leds: (leds) => log.push(`leds ${leds}`),
  });
  ps2.attach(bus);
  const status = () => bus.in(0x64);
  const command = (c: number, ...parameters: number[]) => {
    bus.out(0x64, c);
    for (const p of parameters) bus.out(0x60, p);
  };
  /** All bytes that come within 5 ms of each other, in hexadecimal; the mouse's with an m. */
  const drain = () => {
    const bytes: string[] = [];
    for (let waited = 0; waited < 5; waited++) {
      while (status() & 1) {
        const aux = (status() & 0x20) !== 0;
        bytes.push(bus.in(0x60).toString(16).padStart(2, '0') + (aux ? 'm' : ''));
        waited = 0;
      }
      timeline.pass(MS);
    }
    return bytes.join(' ');
  };
  const talk =
    (send: (byte: number) => void) =>
    (...bytes: number[]) =>
      bytes
        .map((b) => {
          send(b);
          return drain();
        })
        .join(', ');
  const keyboard = talk((b) => bus.out(0x60, b));
  const mouse = talk((b) => command(0xd4, b));
  return { timeline, irq1, irq12, bus, ps2, log, status, command, drain, keyboard, mouse };
}
/** As SeaBIOS leaves it, with the mouse on as well. */
function ready() {
  const b = board();
  b.ps2.leaveAsFirmwareDoes();
  b.command(0x60, 0x47);
  return b;
}

describe('the controller', () => {
  it.each<[string, number[], string]>([
    ['self-test', [0xaa], '55'],
    ['keyboard interface test', [0xab], '00'],
    ['mouse interface test', [0xa9], '00'],
    ['command byte', [0x20], '03'],
    ['command byte written', [0x60, 0x65, 0x20], '65'],
    ['RAM byte 17', [0x71, 0x5a, 0x31], '5a'],
    ['mouse off', [0xa7, 0x20], '23'],
    ['mouse on', [0xa7, 0xa8, 0x20], '03'],
    ['keyboard off', [0xad, 0x20], '13'],
    ['keyboard on', [0xad, 0xae, 0x20], '03'],
    ['no password', [0xa4], 'f1'],
    ['output port: A20 open, not in reset', [0xd0], 'cf'],
    ['output port with A20 closed', [0xdd, 0xd0], 'cd'],
    ['a byte through the keyboard’s buffer', [0xd2, 0x77], '77'],
    ['a byte through the mouse’s buffer, as Linux loops it', [0xd3, 0x5a], '5am'],
  ])('%s', (_name, bytes, answer) => {
    const b = board();
    const takesParameter = (c: number) => (c >= 0x60 && c < 0x80) || (c >= 0xd1 && c <= 0xd4);
    for (let i = 0; i < bytes.length; i++) {
      b.bus.out(0x64, bytes[i]!);
      if (takesParameter(bytes[i]!)) b.bus.out(0x60, bytes[++i]!);
    }
    expect(b.drain()).toBe(answer);
  });

  it('status says who wrote last, whether it is full, for whom, and that it was tested', () => {
    const b = board();
    expect(b.status()).toBe(0x18);
    b.command(0xaa);
    expect(b.status()).toBe(0x1d);
    b.bus.in(0x60);
    b.command(0xd3, 0x12);
    expect(b.status()).toBe(0x35);
    b.bus.in(0x60);
    expect(b.status()).toBe(0x14);
  });

  it('its interrupts follow buffer and command byte', () => {
    const b = board();
    b.command(0x60, 0x00);
    b.command(0xd3, 0x12);
    expect([b.irq1.level, b.irq12.level]).toEqual([false, false]);
    b.bus.in(0x60);
    b.command(0x60, 0x02);
    b.command(0xd3, 0xa5);
    expect([b.irq1.level, b.irq12.level]).toEqual([false, true]);
    b.bus.in(0x60);
    expect(b.irq12.level).toBe(false);
    b.command(0x60, 0x01);
    b.command(0xd2, 0x12);
    expect([b.irq1.level, b.irq12.level]).toEqual([true, false]);
  });

  it.each<[string, number[], string[]]>([
    ['pulse', [0xfe], ['reset']],
    ['pulse of another bit', [0xf1], []],
    ['output port bit 0 low', [0xd1, 0x02], ['a20 true', 'reset']],
    ['A20 closed by output port', [0xd1, 0xcd], ['a20 false']],
    ['A20 opened', [0xdf], ['a20 true']],
  ])('reset and A20: %s', (_name, [c, ...parameters], log) => {
    const b = board();
    b.command(c!, ...parameters);
    expect(b.log).toEqual(log);
  });

  it('a disabled wire holds its bytes, a byte in the buffer stays', () => {
    const b = ready();
    b.command(0xad);
    b.ps2.keyboard.key('a', true);
    b.ps2.keyboard.key('a', false);
    expect(b.drain()).toBe('');
    b.command(0xae);
    expect(b.drain()).toBe('1e 9e');
  });
});

describe('the keyboard', () => {
  it('comes up as SeaBIOS brings it up', () => {
    const b = board();
    b.command(0xaa);
    expect(b.drain()).toBe('55');
    b.irq1.rises.length = 0;
    b.command(0x60, 0x30);
    expect(b.drain()).toBe('');
    b.command(0x60, 0x20);
    expect(b.keyboard(0xff, 0xf5, 0xf0, 0x02, 0xf4)).toBe('fa aa, fa, fa, fa, fa');
    expect(b.irq1.rises).toEqual([]);
  });

  it.each<[string, number[], string]>([
    ['identifies itself', [0xf2], 'fa ab 83'],
    ['echoes', [0xee], 'ee'],
    ['sets its lamps', [0xed, 0x07], 'fa, fa'],
    ['sets its rate', [0xf3, 0x20], 'fa, fa'],
    ['says its set', [0xf0, 0x00], 'fa, fa 02'],
    ['changes its set', [0xf0, 0x03, 0xf0, 0x00], 'fa, fa, fa, fa 03'],
    ['has no fourth set', [0xf0, 0x04], 'fa, fe'],
    ['takes a command in place of a parameter', [0xed, 0xf2], 'fa, fa ab 83'],
    ['repeats itself', [0xee, 0xfe], 'ee, ee'],
    ['refuses what it does not know', [0x12, 0xef], 'fe, fe'],
    ['takes note of key types', [0xf8, 0xfc, 0x1c], 'fa, fa, fa'],
  ])('%s', (_name, bytes, answers) => {
    const b = board();
    expect(b.keyboard(...bytes)).toBe(answers);
  });

  it('under translation its identifier reads as Linux expects it', () => {
    const b = ready();
    expect(b.keyboard(0xf2)).toBe('fa ab 41');
  });

  it('sets 1 and 2 agree for every key: what the controller translates is what set 1 says', () => {
    for (const [name, key] of KEYS) {
      const make = [...(key.set2 > 0xff ? [0xe0] : []), translateToSet1(key.set2 & 0xff)];
      expect([name, keyBytes(name, true, 1)]).toEqual([name, make]);
    }
    for (const set of ['set1', 'set2', 'set3'] as const) expect(new Set([...KEYS.values()].map((k) => k[set])).size).toBe(KEYS.size);
  });

  it.each<[string, string[], string]>([
    ['a letter', ['a'], '1e 9e'],
    ['a grey key', ['up'], 'e0 48 e0 c8'],
    ['F7, whose code in set 2 is above 0x80', ['f7'], '41 c1'],
    ['three keys at once', ['ctrl', 'alt', 'delete'], '1d 38 e0 53 e0 d3 b8 9d'],
    ['Print Screen', ['print'], 'e0 2a e0 37 e0 b7 e0 aa'],
    ['Pause', ['pause'], 'e1 1d 45 e1 9d c5'],
  ])('translates %s', (_name, keys, codes) => {
    const b = ready();
    expect(b.ps2.keyboard.chord(keys)).toBe(true);
    expect(b.drain()).toBe(codes);
  });

  it.each<[number, string]>([
    [2, '1c f0 1c e0 75 e0 f0 75'],
    [1, '1e 9e e0 48 e0 c8'],
    [3, '1c f0 1c 63 f0 63'],
  ])('sends set %i untranslated', (set, codes) => {
    const b = board();
    b.keyboard(0xf0, set);
    b.ps2.keyboard.chord(['a']);
    b.ps2.keyboard.chord(['up']);
    expect(b.drain()).toBe(codes);
  });

  it('types much more than its buffer holds, each byte an interrupt of its own', () => {
    const b = ready();
    const text = 'The quick brown fox; "jumps" over\n{13} lazy dogs~';
    expect(b.ps2.keyboard.type(`${text}ü`)).toBe('ü');
    const back = new Map([...text].map((c) => [keysOfCharacter(c)!.join('+'), c]));
    let shift = false;
    let typed = '';
    for (const code of b
      .drain()
      .split(' ')
      .map((c) => Number.parseInt(c, 16))) {
      if ((code & 0x7f) === 0x2a) shift = code < 0x80;
      else if (code < 0x80) typed += back.get(`${shift ? 'shift+' : ''}${[...KEYS].find(([, k]) => k.set1 === code)![0]}`);
    }
    expect(typed).toBe(text);
    expect(b.irq1.rises.length).toBeGreaterThan(2 * text.length);
  });

  it('repeats a key that is held: after half a second, 10.9 times a second', () => {
    const b = ready();
    const start = b.timeline.now;
    b.ps2.keyboard.key('a', true);
    const times: number[] = [];
    while (b.timeline.now < start + 1000 * MS) {
      b.timeline.pass(MS);
      if (b.status() & 1 && b.bus.in(0x60) === 0x1e) times.push(Math.floor((b.timeline.now - start) / MS));
    }
    expect(times).toEqual([1, 501, 592, 684, 776, 868, 959]);
    b.ps2.keyboard.key('a', false);
    expect(b.drain()).toBe('9e');
    b.timeline.pass(1000 * MS);
    expect(b.drain()).toBe('');
  });

  it('a keyboard that does not scan loses what is typed; a name that is no key’s is refused', () => {
    const b = ready();
    b.keyboard(0xf5);
    b.ps2.keyboard.chord(['a']);
    b.keyboard(0xf4);
    b.ps2.keyboard.chord(['b']);
    expect([b.drain(), b.ps2.keyboard.key('any', true)]).toEqual(['30 b0', false]);
  });

  it('shows its lamps', () => {
    const b = ready();
    b.keyboard(0xed, 0x05);
    expect(b.log).toEqual(['leds 5']);
  });
});

describe('the mouse', () => {
  it.each<[string, number[], string]>([
    ['resets', [0xff], 'fam aam 00m'],
    ['identifies itself', [0xf2], 'fam 00m'],
    ['knocked on becomes an IntelliMouse', [0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2], 'fam, fam, fam, fam, fam, fam, fam 03m'],
    ['knocked on otherwise an Explorer', [0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2], 'fam, fam, fam, fam, fam, fam, fam 04m'],
    ['says its state', [0xe8, 3, 0xf3, 40, 0xf4, 0xe7, 0xe9], 'fam, fam, fam, fam, fam, fam, fam 30m 03m 28m'],
    ['refuses a resolution', [0xe8, 4], 'fam, fem'],
    ['echoes in wrap mode', [0xee, 0x12, 0xf2, 0xec, 0xf2], 'fam, 12m, f2m, fam, fam 00m'],
    ['refuses what it does not know', [0x77], 'fem'],
  ])('%s', (_name, bytes, answers) => {
    const b = ready();
    expect(b.mouse(...bytes)).toBe(answers);
  });

  it.each<[string, [number, number, number?, number?], number[], string]>([
    ['right and up', [5, 3], [], '08 05 03'],
    ['left and down', [-5, -3], [], '38 fb fd'],
    ['a button', [0, 0, 0, BUTTON.LEFT | BUTTON.MIDDLE], [], '0d 00 00'],
    ['far, in two packets', [300, 0], [], '08 ff 00 08 2d 00'],
    ['2:1', [4, -5], [0xe7], '28 06 f7'],
    ['the wheel', [0, 0, -1], [0xf3, 200, 0xf3, 100, 0xf3, 80], '08 00 00 ff'],
    ['the fourth button', [0, 0, 2, BUTTON.SIDE], [0xf3, 200, 0xf3, 200, 0xf3, 80], '08 00 00 12'],
  ])('reports %s', (_name, movement, setup, packets) => {
    const b = ready();
    b.mouse(...setup, 0xf4);
    b.irq12.rises.length = 0;
    b.ps2.mouse.move(...movement);
    expect(b.drain().replaceAll('m', '')).toBe(packets);
    expect(b.irq12.rises.length).toBe(packets.split(' ').length);
  });

  it('reports nothing until it is enabled, and in remote mode when asked', () => {
    const b = ready();
    b.ps2.mouse.move(1, 1);
    expect(b.drain()).toBe('');
    b.mouse(0xf4, 0xf0);
    b.ps2.mouse.move(2, 0);
    expect(b.drain()).toBe('');
    expect(b.mouse(0xeb)).toBe('fam 08m 02m 00m');
  });
});

it('goes on after its state was replaced by a copy', () => {
  const [a, b] = [ready(), ready()];
  a.ps2.keyboard.type('hello');
  b.ps2.state = structuredClone(a.ps2.state);
  b.ps2.keyboard.state = structuredClone(a.ps2.keyboard.state);
  b.ps2.mouse.state = structuredClone(a.ps2.mouse.state);
  b.ps2.resume();
  expect(b.drain()).toBe(a.drain());
});
