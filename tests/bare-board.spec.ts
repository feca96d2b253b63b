// The board from a program's side: devices in memory, interrupts at instruction boundaries, several CPUs, ROM and resets.

import {
  al,
  assembler,
  cl,
  cs,
  dx,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  esp,
  Image,
  mem,
  mem8,
  mem16,
  mem32,
  mem64,
  ss,
} from '@ringworld/guests';
import { type Board, createPc, enterAt } from '@ringworld/hypervisor';
import { describe, expect, it } from 'vitest';
import { IDTR, LAPIC, program } from './support/bare-program.ts';

const DEVICE = 0xd000_0000;

/** Remembers every access; reads give the low byte of their offset in each byte. */
function recorder(board: Board, base = DEVICE) {
  const log: string[] = [];
  board.bus.attachMemory(base, 4096, {
    read(offset, size) {
      log.push(`r${size} ${offset.toString(16)}`);
      return (offset & 0xff) * [0, 1, 0x101, 0, 0x1010101][size]!;
    },
    write(offset, size, value) {
      log.push(`w${size} ${offset.toString(16)}=${value.toString(16)}`);
    },
  });
  return log;
}
const D = { disp: DEVICE | 0 };

describe('a device in memory sees each access once, as it was made', () => {
  type Build = Parameters<typeof program>[0];
  const cases: [string, Build, string[]][] = [
    ['a load', (a) => a.mov(eax, mem(ebx, { disp: 4 })), ['r4 4']],
    ['a store reads nothing', (a) => a.mov(mem(ebx, { disp: 8 }), eax), ['w4 8=77']],
    ['byte and word', (a) => a.mov(al, mem(ebx, { disp: 1 })).mov(mem16(ebx, { disp: 2 }), 0x1234), ['r1 1', 'w2 2=1234']],
    ['read, modify, write', (a) => a.add(mem32(ebx, { disp: 4 }), 1), ['r4 4', 'w4 4=4040405']],
    ['with LOCK', (a) => a.lock().xadd(mem(ebx, { disp: 4 }), eax), ['r4 4', 'w4 4=404047b']],
    ['XCHG', (a) => a.xchg(mem(ebx, { disp: 4 }), eax), ['r4 4', 'w4 4=77']],
    ['CMPXCHG that fails writes back what it read', (a) => a.cmpxchg(mem(ebx, { disp: 4 }), ecx), ['r4 4', 'w4 4=4040404']],
    ['8 bytes are two of 4', (a) => a.cmpxchg8b(mem64(ebx, { disp: 8 })), ['r4 8', 'r4 c', 'w4 8=8080808', 'w4 c=c0c0c0c']],
    ['unaligned is cut at its boundaries', (a) => a.mov(eax, mem(ebx, { disp: 3 })), ['r1 3', 'r2 4', 'r1 6']],
    ['PUSH from it', (a) => a.push(mem32(ebx)), ['r4 0']],
    ['POP to it', (a) => a.push(eax).pop(mem32(ebx)), ['w4 0=77']],
    ['in the middle of a block', (a) => a.inc(eax).mov(mem(ebx), eax).inc(eax).mov(mem(ebx), eax), ['w4 0=78', 'w4 0=79']],
    ['REP STOS', (a) => a.mov(edi, ebx).mov(ecx, 3).rep().stosd(), ['w4 0=77', 'w4 4=77', 'w4 8=77']],
    ['REP MOVS out of it', (a) => a.mov(esi, ebx).mov(edi, 0x20000).mov(ecx, 2).rep().movsd(), ['r4 0', 'r4 4']],
    ['a conditional store that does not happen', (a) => a.cmp(eax, eax).jz('no').mov(mem(ebx), eax).label('no'), []],
  ];
  it.each(cases)('%s', (_what, build, expected) => {
    const p = program((a, image) => {
      a.mov(ebx, DEVICE).mov(eax, 0x77);
      build(a, image);
      a.label('end').hlt();
    });
    const log = recorder(p.board);
    expect(p.board.run()).toEqual({ kind: 'idle' });
    expect(log).toEqual(expected);
    expect(p.board.machine.cpus[0]!.rip).toBe(p.address('end') + 1);
  });

  it('an access from RAM into it is RAM and device, each its own part', () => {
    const p = program((a) => a.mov(mem32(null, { disp: 0x3ffffe }), 0x11223344).hlt());
    const log = recorder(p.board, 0x40_0000);
    p.board.run();
    expect([log, p.read32(0x3ffffc)]).toEqual([['w2 0=1122'], 0x33440000]);
  });

  it('at the exact cycle of the instruction, whatever ran before it in its block', () => {
    const p = program((a) => {
      a.mov(ebx, DEVICE);
      for (const n of [0, 1, 5, 17]) {
        for (let i = 0; i < n; i++) a.inc(eax);
        a.mov(mem(ebx), eax);
      }
      a.hlt();
    });
    const cycles: number[] = [];
    const write = (_o: number, _s: number, _v: number) => void cycles.push(p.board.processors.cycle);
    p.board.bus.attachMemory(DEVICE, 4096, { read: () => 0, write });
    p.board.run();
    const wait = 210; // 100 ns at 2.1 GHz
    expect(cycles).toEqual([1, 3 + wait, 9 + 2 * wait, 27 + 3 * wait]);
  });

  it('in hot loops as well, whichever engine runs them, at the same cycles', () => {
    const ROUNDS = 5000;
    const once = (engine: 'interp' | 'jit') => {
      const p = program(
        (a) => {
          a.mov(ebx, DEVICE)
            .mov(ecx, ROUNDS)
            .label('loop')
            .inc(eax)
            .add(mem32(ebx), 3)
            .mov(edx, mem(ebx, { disp: 4 }));
          a.add(mem(null, { disp: 0x20000 }), edx)
            .push(eax)
            .pop(esi)
            .dec(ecx)
            .jnz('loop')
            .hlt();
        },
        { engine },
      );
      let value = 0;
      let reads = 0;
      let writes = 0;
      p.board.bus.attachMemory(DEVICE, 4096, {
        read: (offset) => {
          reads++;
          return offset === 0 ? value : 2;
        },
        write: (_offset, _size, v) => {
          writes++;
          value = v;
        },
      });
      p.board.run();
      return { value, reads, writes, sum: p.read32(0x20000), cycle: p.board.processors.cycle };
    };
    const interp = once('interp');
    expect(interp).toMatchObject({ value: 3 * ROUNDS, reads: 2 * ROUNDS, writes: ROUNDS, sum: 2 * ROUNDS });
    expect(once('jit')).toEqual(interp);
  });

  it('interrupts come at the same instruction in hot loops, whichever engine runs them', () => {
    const once = (engine: 'interp' | 'jit') => {
      const p = program(
        (a) => {
          a.lidt(mem(null, { disp: IDTR }))
            .mov(ebp, LAPIC)
            .mov(mem32(ebp, { disp: 0xf0 }), 0x1ff)
            .mov(mem32(ebp, { disp: 0x3e0 }), 0xb);
          a.mov(mem32(ebp, { disp: 0x320 }), 0x2_0040)
            .mov(mem32(ebp, { disp: 0x380 }), 97)
            .sti();
          a.label('loop')
            .inc(eax)
            .add(ecx, eax)
            .xor(edx, ecx)
            .cmp(mem32(null, { disp: 0x20000 }), 500)
            .jb('loop')
            .cli()
            .hlt();
          a.label('isr')
            .inc(mem32(null, { disp: 0x20000 }))
            .add(esi, mem(esp))
            .add(edi, edx)
            .mov(mem32(ebp, { disp: 0xb0 }), 0)
            .iretd();
        },
        { engine, gates: { 64: 'isr' } },
      );
      p.board.run({ untilNs: 1e8 });
      const cpu = p.board.machine.cpus[0]!;
      return [p.read32(0x20000), cpu.cycles, ...[0, 1, 2, 6, 7].map((n) => cpu.regLo(n) >>> 0)];
    };
    const interp = once('interp');
    expect(interp[0]).toBe(500);
    expect(once('jit')).toEqual(interp);
  });

  it('reads as ones, and swallows writes, where nothing is', () => {
    const p = program((a) =>
      a
        .mov(mem(null, D), eax)
        .mov(eax, mem(null, D))
        .mov(mem(null, { disp: 0x20000 }), eax)
        .hlt(),
    );
    p.board.run();
    expect(p.read32(0x20000)).toBe(0xffff_ffff);
  });
});

/** Enables the local APIC, loads the IDT, and makes vector 0x40 wait while IF is clear. */
const pendInterrupt = (a: Parameters<Parameters<typeof program>[0]>[0]) =>
  a
    .lidt(mem(null, { disp: IDTR }))
    .mov(ebp, LAPIC)
    .mov(mem32(ebp, { disp: 0xf0 }), 0x1ff)
    .mov(ebx, DEVICE)
    .mov(mem32(ebp, { disp: 0x300 }), 0x4_0040);
/** Stores where it was interrupted, and ends. */
const handler = (a: Parameters<Parameters<typeof program>[0]>[0]) =>
  a
    .label('isr')
    .mov(eax, mem(esp))
    .mov(mem(null, { disp: 0x20000 }), eax)
    .hlt();

describe('an interrupt that waits is taken', () => {
  type Build = Parameters<typeof program>[0];
  const cases: [string, Build][] = [
    ['one instruction after STI (SDM Vol 3A, 6.8.1)', (a) => a.sti().nop().label('here').nop()],
    ['after the HLT that follows STI, which does not sleep', (a) => a.sti().hlt().label('here').nop()],
    ['after a store to a device that follows STI', (a) => a.sti().mov(mem(ebx), eax).label('here').nop()],
    ['after a system instruction that follows STI', (a) => a.sti().clts().label('here').nop()],
    ['after a jump that follows STI, at its target', (a) => a.sti().jmp('here').nop().label('here').nop()],
    ['a second STI shadows nothing', (a) => a.sti().sti().label('here').nop().nop()],
    ['two instructions after a load of SS (6.8.3)', (a) => a.mov(ecx, ss).sti().mov(ss, ecx).nop().label('here').nop()],
    ['at the end of POPF, which has no shadow', (a) => a.push(0x202).popf().label('here').nop()],
    ['not between STI and CLI', (a) => a.sti().cli().nop().nop().sti().nop().label('here').nop()],
  ];
  it.each(cases)('%s', (_what, build) => {
    const p = program(
      (a, image) => {
        pendInterrupt(a);
        build(a, image);
        a.nop().cli().hlt();
        handler(a);
      },
      { gates: { 64: 'isr' } },
    );
    recorder(p.board);
    expect(p.board.run()).toEqual({ kind: 'idle' });
    expect(p.read32(0x20000)).toBe(p.address('here'));
  });

  it('when the device that was written to raises it: before the next instruction', () => {
    const p = program(
      (a) => {
        pendInterrupt(a);
        a.mov(mem32(ebp, { disp: 0xb0 }), 0)
          .mov(mem32(ebp, { disp: 0x80 }), 0xff)
          .sti()
          .nop();
        a.mov(mem32(ebp, { disp: 0x80 }), 0)
          .label('here')
          .nop()
          .hlt();
        handler(a);
      },
      { gates: { 64: 'isr' } },
    );
    p.board.run();
    expect(p.read32(0x20000)).toBe(p.address('here'));
  });

  it('from the 8259s through LINT0, and NMI through LINT1', () => {
    const p = program(
      (a) => {
        a.lidt(mem(null, { disp: IDTR }));
        for (const [port, value] of [
          [0x20, 0x11],
          [0x21, 0x30],
          [0x21, 4],
          [0x21, 1],
          [0x21, 0],
        ] as const)
          a.mov(al, value).out(port, al);
        a.sti().label('wait').hlt().jmp('wait');
        a.label('irq')
          .inc(mem32(null, { disp: 0x20000 }))
          .mov(al, 0x20)
          .out(0x20, al)
          .iretd();
        a.label('nmi')
          .inc(mem32(null, { disp: 0x20004 }))
          .iretd();
      },
      { gates: { 53: 'irq', 2: 'nmi' } },
    );
    const { board } = p;
    const line = board.irq(5);
    board.run();
    for (let i = 0; i < 3; i++) {
      line(true);
      board.run();
      line(false);
      board.nmi();
      board.run();
    }
    expect([p.read32(0x20000), p.read32(0x20004)]).toEqual([3, 3]);
  });
});

describe('time', () => {
  it('that nobody runs in is skipped to the next timer, and passes all the same', () => {
    const p = program(
      (a) => {
        pendInterrupt(a);
        // One-shot of 25,000,000 ticks of the 25 MHz crystal.
        a.mov(mem32(ebp, { disp: 0x3e0 }), 0xb)
          .mov(mem32(ebp, { disp: 0x320 }), 0x41)
          .mov(mem32(ebp, { disp: 0x380 }), 25_000_000);
        a.sti().label('wait').hlt().jmp('wait');
        a.label('isr')
          .mov(mem32(ebp, { disp: 0xb0 }), 0)
          .iretd();
        a.label('timer').cli().hlt();
      },
      { gates: { 64: 'isr', 65: 'timer' } },
    );
    expect(p.board.run()).toEqual({ kind: 'idle' });
    expect(p.board.timeline.now).toBeGreaterThan(1e9);
    expect(p.board.timeline.now).toBeLessThan(1.001e9);
    expect(p.board.machine.cpus[0]!.cycles).toBeGreaterThanOrEqual(2.1e9);
  });

  it('stops where it is told, and a run in pieces is the same run', () => {
    const build: Parameters<typeof program>[0] = (a) =>
      a
        .label('loop')
        .inc(mem32(null, { disp: 0x20000 }))
        .jmp('loop');
    const whole = program(build);
    whole.board.run({ untilNs: 100_000 });
    const pieces = program(build);
    for (let t = 0; t <= 100_000; t += 777) pieces.board.run({ untilNs: t });
    expect(pieces.board.run({ untilNs: 100_000 })).toEqual({ kind: 'limit' });
    expect(pieces.read32(0x20000)).toBe(whole.read32(0x20000));
    expect(pieces.board.processors.cycle).toBe(whole.board.processors.cycle);
  });
});

/** INIT and two start-up IPIs to everybody else, at page 8 (SDM Vol 3A, 9.4.4.1). */
const startOthers = (a: Parameters<Parameters<typeof program>[0]>[0]) =>
  a
    .mov(ebp, LAPIC)
    .mov(mem32(ebp, { disp: 0x300 }), 0xc_4500)
    .mov(mem32(ebp, { disp: 0x300 }), 0xc_4608)
    .mov(mem32(ebp, { disp: 0x300 }), 0xc_4608);
/** 16-bit code for page 8. */
function placeTrampoline(board: Board, build: (a: ReturnType<typeof assembler<16>>) => void): void {
  const image = new Image();
  build(assembler(image, 16));
  board.dma.write(0x8000, image.link(0n).sections[0]!.bytes);
}

describe('several CPUs', () => {
  it('start at the page of the start-up IPI in real mode, once for both of them', () => {
    const p = program(
      (a) =>
        startOthers(a)
          .label('wait')
          .cmp(mem8(null, { disp: 0x7000 }), 3)
          .jnz('wait')
          .hlt(),
      { cpus: 4 },
    );
    placeTrampoline(p.board, (a) =>
      a
        .lock()
        .inc(mem8(null, { disp: 0x7000 }))
        .mov(dx, cs)
        .mov(mem(null, { disp: 0x7002 }), dx)
        .cli()
        .hlt(),
    );
    expect(p.board.run({ untilNs: 1e9 })).toEqual({ kind: 'idle' });
    expect(p.read32(0x7000)).toBe(0x0800_0003);
  });

  it('run the same every time, to the cycle', () => {
    const once = () => {
      const p = program(
        (a) =>
          startOthers(a)
            .mov(ecx, 3000)
            .label('l')
            .lock()
            .inc(mem32(null, { disp: 0x7000 }))
            .dec(ecx)
            .jnz('l')
            .hlt(),
        { cpus: 3 },
      );
      placeTrampoline(p.board, (a) =>
        a
          .mov(cl, 200)
          .label('l')
          .mov(ebx, mem32(null, { disp: 0x7000 }))
          .lock()
          .inc(mem32(null, { disp: 0x7000 }))
          .dec(cl)
          .jnz('l')
          .hlt(),
      );
      p.board.run({ untilNs: 1e9 });
      return [p.read32(0x7000), ...p.board.machine.cpus.flatMap((c) => [c.cycles, c.regLo(3)])];
    };
    expect(once()).toEqual(once());
    expect(once()[0]).toBe(3400);
  });

  it('never see time go back, though they take turns in windows', () => {
    const ROUNDS = 2000;
    // A lock around "read the TSC, compare with the last one read by anybody": what Linux does to distrust it (tsc_sync.c).
    const p = program(
      (a) => {
        startOthers(a)
          .label('loop')
          .xor(ecx, ecx)
          .inc(ecx)
          .label('spin')
          .xchg(mem(null, { disp: 0x7000 }), ecx)
          .test(ecx, ecx)
          .jnz('spin');
        a.rdtsc()
          .cmp(edx, mem(null, { disp: 0x7014 }))
          .jb('warp')
          .ja('fine')
          .cmp(eax, mem(null, { disp: 0x7010 }))
          .jae('fine');
        a.label('warp')
          .inc(mem32(null, { disp: 0x7020 }))
          .label('fine')
          .mov(mem(null, { disp: 0x7010 }), eax)
          .mov(mem(null, { disp: 0x7014 }), edx);
        a.mov(mem32(null, { disp: 0x7000 }), 0)
          .inc(esi)
          .cmp(esi, ROUNDS)
          .jnz('loop')
          .lock()
          .inc(mem32(null, { disp: 0x7030 }))
          .cli()
          .hlt();
      },
      { cpus: 2 },
    );
    placeTrampoline(p.board, (a) => {
      a.label('loop')
        .mov(cl, 1)
        .label('spin')
        .xchg(mem8(null, { disp: 0x7000 }), cl)
        .test(cl, cl)
        .jnz('spin');
      a.rdtsc()
        .cmp(edx, mem(null, { disp: 0x7014 }))
        .jb('warp')
        .ja('fine')
        .cmp(eax, mem(null, { disp: 0x7010 }))
        .jae('fine');
      a.label('warp')
        .inc(mem32(null, { disp: 0x7020 }))
        .label('fine')
        .mov(mem(null, { disp: 0x7010 }), eax)
        .mov(mem(null, { disp: 0x7014 }), edx);
      a.mov(mem8(null, { disp: 0x7000 }), 0)
        .inc(esi)
        .cmp(esi, ROUNDS)
        .jnz('loop')
        .lock()
        .inc(mem32(null, { disp: 0x7030 }))
        .cli()
        .hlt();
    });
    expect(p.board.run({ untilNs: 1e9 })).toEqual({ kind: 'idle' });
    expect([p.read32(0x7030), p.read32(0x7020)]).toEqual([2, 0]);
  });
});

describe('MWAIT (SDM Vol 2B)', () => {
  /** Arms the line at 0x7000. */
  const arm = (a: Parameters<Parameters<typeof program>[0]>[0]) => a.mov(eax, 0x7000).xor(ecx, ecx).xor(edx, edx).monitor().xor(eax, eax);
  it('without an armed line, or after a store to it, does not wait', () => {
    const p = program(
      (a) => {
        a.xor(eax, eax).xor(ecx, ecx).mwait();
        arm(a)
          .inc(mem32(null, { disp: 0x7020 }))
          .mwait();
        arm(a)
          .inc(mem32(null, { disp: 0x7040 }))
          .mwait()
          .label('not')
          .hlt();
      },
      { profile: 'nehalem' },
    );
    expect(p.board.run()).toEqual({ kind: 'idle' });
    expect(p.board.machine.cpus[0]!.rip).toBe(p.address('not'));
  });

  it('wakes when another CPU stores to the line', () => {
    const p = program(
      (a) =>
        startOthers(a)
          .mov(ecx, 100_000)
          .label('d')
          .dec(ecx)
          .jnz('d')
          .mov(mem32(null, { disp: 0x7004 }), 1)
          .hlt(),
      {
        cpus: 2,
        profile: 'nehalem',
      },
    );
    placeTrampoline(p.board, (a) =>
      a
        .cli()
        .mov(eax, 0x7000)
        .xor(ecx, ecx)
        .xor(edx, edx)
        .monitor()
        .xor(eax, eax)
        .mwait()
        .mov(mem8(null, { disp: 0x7100 }), 1)
        .hlt(),
    );
    expect(p.board.run({ untilNs: 1e9 })).toEqual({ kind: 'idle' });
    expect(p.read32(0x7100)).toBe(1);
    expect(p.board.machine.cpus[1]!.cycles).toBeGreaterThan(200_000);
  });

  it.each([
    [0, 'sleeps through'],
    [1, 'wakes for'],
  ])('with ECX %i %s an interrupt that IF holds back', (ecxValue) => {
    const p = program(
      (a) => {
        pendInterrupt(a);
        arm(a)
          .mov(ecx, ecxValue)
          .mwait()
          .mov(mem32(null, { disp: 0x20000 }), 7)
          .hlt();
        a.label('isr').hlt();
      },
      { profile: 'nehalem', gates: { 64: 'isr' } },
    );
    expect(p.board.run()).toEqual({ kind: 'idle' });
    expect(p.read32(0x20000)).toBe(ecxValue * 7);
  });
});

describe('the machine ends', () => {
  const boot = (build: Parameters<typeof program>[0]) => {
    const p = createPc({ ramBytes: 4 << 20, cpus: 1, epoch: 0, engine: 'interp', firmware: bios(build) });
    return p.board.run({ untilNs: 1e6 });
  };
  /** A BIOS of 64 KiB whose reset vector leads to 32-bit code in it. */
  const bios = (build: Parameters<typeof program>[0]): Uint8Array => {
    const image = new Image();
    const a = assembler(image, 32);
    build(a, image);
    const body = image.link(0xffff_0000n).sections[0]!.bytes;
    const rom = new Uint8Array(0x1_0000);
    rom.set(body);
    const start = new Image();
    // GDT at 0xff00, its pointer at 0xfef8: reached through CS, whose base is 0xffff0000 after reset.
    assembler(start, 16)
      .db(0x2e, 0x66, 0x0f, 0x01, 0x16, 0xf8, 0xfe)
      .mov(eax, 0x11)
      .db(0x0f, 0x22, 0xc0)
      .db(0x66, 0xea)
      .dd(0xffff_0000)
      .dw(0x10);
    rom.set(start.link(0n).sections[0]!.bytes, 0xff80);
    rom.set([0xe9, 0x8d, 0xff], 0xfff0);
    const view = new DataView(rom.buffer);
    view.setUint16(0xfef8, 31, true);
    view.setUint32(0xfefa, 0xffff_ff00, true);
    view.setBigUint64(0xff10, 0x00cf_9b00_0000_ffffn, true);
    view.setBigUint64(0xff18, 0x00cf_9300_0000_ffffn, true);
    return rom;
  };
  const data = (a: Parameters<Parameters<typeof program>[0]>[0]) => a.mov(eax, 0x18).db(0x8e, 0xd8).db(0x8e, 0xd0);

  it.each([
    ['with twice the value plus one, at the exit port', (a) => a.mov(al, 0x10).mov(edx, 0xf4).out(dx, al), { kind: 'exit', code: 0x21 }],
    ['by the reset control register', (a) => a.mov(al, 6).mov(edx, 0xcf9).out(dx, al), { kind: 'reset', reason: 'reset control register' }],
    ['by port 0x92', (a) => a.mov(al, 3).out(0x92, al), { kind: 'reset', reason: 'system control port A' }],
    ['by a triple fault', (a) => a.ud2(), { kind: 'reset', reason: 'triple fault' }],
    ['in sleep that no timer ends', (a) => a.cli().hlt(), { kind: 'idle' }],
    ['at the limit while it still runs', (a) => a.label('l').jmp('l'), { kind: 'limit' }],
  ] as [string, Parameters<typeof program>[0], unknown][])('%s', (_what, build, expected) => {
    const end = boot((a, image) => {
      build(a, image);
      a.label('.s').jmp('.s');
    });
    expect(end).toEqual(expected);
  });

  it('in ROM writes are lost; shadowed RAM is read where the chipset says so, and written behind the ROM', () => {
    const p = createPc({
      ramBytes: 4 << 20,
      cpus: 1,
      epoch: 0,
      engine: 'interp',
      firmware: bios((a) => {
        data(a)
          .mov(mem32(null, { disp: 0xf_8000 }), 0x1234)
          .mov(eax, mem(null, { disp: 0xf_8000 }))
          .mov(mem(null, { disp: 0x2_0000 }), eax)
          .hlt();
      }),
    });
    const { board } = p;
    const read32 = (at: number) => new DataView(board.dma.read(at, 4).buffer).getUint32(0, true);
    const again = (readRam: boolean, writeRam: boolean) => {
      board.reset();
      board.memoryMap.setShadow(0xf_0000, 0x1_0000, readRam, writeRam);
      board.run({ untilNs: board.timeline.now + 1e6 });
      return read32(0x2_0000);
    };
    expect(again(false, false)).toBe(0);
    expect(again(true, false)).toBe(0);
    // Reads from ROM, writes to RAM: how a BIOS copies itself.
    expect(again(false, true)).toBe(0);
    expect(again(true, false)).toBe(0x1234);
    expect(again(true, true)).toBe(0x1234);
  });

  it('with gate A20 closed the second mebibyte is the first', () => {
    const p = program((a) => a.mov(mem32(null, { disp: 0x12_0000 }), 0x55).hlt());
    p.board.memoryMap.setA20(false);
    p.board.run();
    expect(p.read32(0x2_0000)).toBe(0x55);
    p.board.memoryMap.setA20(true);
    expect([p.read32(0x2_0000), p.read32(0x12_0000)]).toEqual([0x55, 0]);
  });
});

describe('RAM above 4 GiB', () => {
  it('is where the hole for devices has pushed it, for page tables and data alike', () => {
    const GIB = 2 ** 30;
    const p = program((a) => a.hlt(), { ramBytes: 3 * GIB + (4 << 20) });
    const { board } = p;
    expect(board.memoryMap.ranges).toEqual([
      { base: 0, size: 0xa_0000 },
      { base: 1 << 20, size: 3 * GIB - (1 << 20) },
      { base: 4 * GIB, size: 4 << 20 },
    ]);
    // Tables at 4 GiB: linear 0 to 2 MiB and 1 GiB to 1 GiB + 2 MiB are physical 0 and 4 GiB + 2 MiB.
    const quad = (at: number, v: bigint) => board.dma.write(at, new Uint8Array(BigUint64Array.of(v).buffer));
    const table = (n: number) => 4 * GIB + n * 4096;
    quad(table(0), BigInt(table(1)) | 3n);
    quad(table(1), BigInt(table(2)) | 3n);
    quad(table(1) + 8, BigInt(table(3)) | 3n);
    quad(table(2), 0x83n);
    quad(table(3), BigInt(4 * GIB + (2 << 20)) | 0x83n);
    const image = new Image();
    assembler(image, 64)
      .mov(mem32(null, { disp: GIB + 0x1000 }), 0x1234)
      .hlt();
    board.dma.write(0x1_0000, image.link(0x1_0000n).sections[0]!.bytes);
    enterAt(board, { mode: 'long64', ip: 0x1_0000, sp: 0x8_0000, cr3: table(0), codeSelector: 0x10, dataSelector: 0x18 });
    expect(board.run()).toEqual({ kind: 'idle' });
    expect(p.read32(4 * GIB + (2 << 20) + 0x1000)).toBe(0x1234);
  });
});
