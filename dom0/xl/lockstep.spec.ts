// The lockstep itself: engines that agree, and engines that were broken on purpose, whose first wrong instruction must be found.
import { buildHello64 } from '@ringworld/guests';
import {
  CS,
  createMachine,
  type EmulatedCpu,
  type EngineKind,
  type Lin,
  type Maddr,
  RAX,
  RCX,
  RSP,
  SS,
  STATE,
} from '@ringworld/hypervisor/machine';
import { describe, expect, test } from 'vitest';
import { demoGuest } from './demo.ts';
import { Lockstep, type LockstepEnd, type MakeTwin, STUCK, type Twin } from './lockstep.ts';
import { domainTwins } from './lockstep-domains.ts';
import { lockstepReport } from './lockstep-report.ts';

const ALL = 0xffff_ffff;
const R15 = 15;
const CODE = 0x10000;
// 0: inc rax; 3: add rax,rcx; 6: mov [0x20000],rax; e: dec rcx; 11: jnz 0; 13: jmp 13
const LOOP = [
  ...[0x48, 0xff, 0xc0, 0x48, 0x01, 0xc8, 0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00],
  ...[0x48, 0xff, 0xc9, 0x75, 0xed, 0xeb, 0xfe],
];
const ROUNDS = 20_000;

/** A CPU at LOOP, and nothing else. */
function bareTwin(engine: EngineKind, ready: (cpu: EmulatedCpu) => void): Twin {
  const machine = createMachine({ ramBytes: 4 << 20, cpus: 1, contexts: 0, engine });
  const cpu = machine.cpus[0]!;
  const put = (at: number, v: number) => machine.ram.write32(at as Maddr, v);
  put(0x1000, 0x2007);
  put(0x2000, 0x3007);
  put(0x3000, 0x87);
  machine.ram.writeBytes(CODE as Maddr, Uint8Array.from(LOOP));
  cpu.setU32(STATE.cr0, 0x8001_0033);
  cpu.setU32(STATE.cr4, 0x620);
  cpu.setU32(STATE.efer, 0xd01);
  cpu.setLin(STATE.cr3, 0x1000);
  cpu.setSegment(CS, 0xe033, 0xa0fb, ALL, 0);
  cpu.setSegment(SS, 0xe02b, 0xc0f3, ALL, 0);
  cpu.setU32(STATE.cpl, 3);
  cpu.delivery = 'host';
  cpu.modeChanged();
  cpu.rip = CODE as Lin;
  cpu.setReg(RCX, BigInt(ROUNDS));
  ready(cpu);
  return {
    machine,
    get cycles() {
      return cpu.cycles;
    },
    get next() {
      return cpu.cycles;
    },
    contexts: () => new Map(),
    type: (bytes) => cpu.setReg(RSP, BigInt(bytes.length)),
    advance: async (to) => {
      cpu.run(to);
      return cpu.cycles >= 6 * ROUNDS ? 'over' : null;
    },
  };
}

/** Makes `wrong` of the state once a CPU has come to a cycle, as an engine would that gets that instruction wrong. */
function breakAt(cpu: EmulatedCpu, cycle: number, wrong: (cpu: EmulatedCpu) => void): void {
  const run = cpu.run.bind(cpu);
  cpu.run = (deadline) => {
    if (cpu.cycles >= cycle || deadline < cycle) return run(deadline);
    const exit = run(cycle);
    if (cpu.cycles < cycle) return exit;
    wrong(cpu);
    return cpu.cycles < deadline && exit === 0 ? run(deadline) : exit;
  };
}
const twinsBrokenAt =
  (cycle: number, wrong: (cpu: EmulatedCpu) => void): MakeTwin =>
  (engine) =>
    bareTwin(engine, (cpu) => {
      if (engine === 'jit') breakAt(cpu, cycle, wrong);
    });
const invertAf = (cpu: EmulatedCpu): void => {
  cpu.rflags ^= 0x10;
};
const loseTime = (cpu: EmulatedCpu): void => {
  cpu.cycles += 1;
};
const lockstep = (make: MakeTwin, more: Partial<ConstructorParameters<typeof Lockstep>[0]> = {}): Promise<LockstepEnd> =>
  new Lockstep({ make, deadline: Number.POSITIVE_INFINITY, say: () => {}, window: 10_000, ramEvery: 4, ...more }).run();
function differing(end: LockstepEnd): Extract<LockstepEnd, { kind: 'differs' }> {
  if (end.kind !== 'differs') throw new Error(`the lockstep ended with ${end.kind}`);
  return end;
}

test('engines that agree are followed to the end', async () => {
  expect(await lockstep((engine) => bareTwin(engine, () => {}))).toMatchObject({ kind: 'same', how: 'over', cycles: 6 * ROUNDS });
});

describe('an engine with one wrong result is caught at that instruction', () => {
  // Five instructions a round: cycle 50_002 is past the ADD of round 10_000.
  const CYCLE = 50_002;

  test('in a register', async () => {
    const end = differing(await lockstep(twinsBrokenAt(CYCLE, (cpu) => cpu.setReg(RAX, cpu.reg(RAX) ^ 1n))));
    expect([end.from, end.to]).toEqual([CYCLE - 1, CYCLE]);
    expect(end.steps.map((s) => s.text)).toEqual(['add rax, rcx']);
    expect(end.differences.contexts).toMatchObject([{ context: 'cpu0', fields: [{ field: 'rax' }] }]);
    const text = lockstepReport(end, () => 'loop+0x3');
    expect(text).toMatch(/field +interpreter +JIT\n +cpu0 rax +[0-9a-f]{16} +[0-9a-f]{16}\n/);
    expect(text).toMatch(/50001 +cpu0 +0000000000010003 <loop\+0x3> +add rax, rcx +<- last to write rax\n/);
  });

  test('in a flag, which the next instruction overwrites', async () => {
    const end = differing(await lockstep(twinsBrokenAt(50_000, invertAf)));
    expect([end.from, end.to]).toEqual([49_999, 50_000]);
    expect(end.differences.contexts[0]!.fields.map((f) => f.field)).toEqual(['rflags']);
  });

  test('in memory, which is compared now and then only', async () => {
    const end = differing(await lockstep(twinsBrokenAt(CYCLE, (cpu) => cpu.ram.write32(0x30000 as Maddr, 5))));
    expect([end.from, end.to]).toEqual([CYCLE - 1, CYCLE]);
    expect(end.differences).toMatchObject({ contexts: [], ram: { count: 1, first: [{ at: 0x30000, a: 0, b: 5 }] } });
    expect(lockstepReport(end, () => null)).toMatch(/memory 000030000 +00000000 +00000005/);
  });

  test('in the count of cycles', async () => {
    const end = differing(await lockstep(twinsBrokenAt(CYCLE, loseTime)));
    expect(end.from).toBe(CYCLE - 1);
    expect(end.differences.cycles).not.toBeNull();
  });

  test('where it shows only in windows that are long enough, the window is told with all that ran in it', async () => {
    const make: MakeTwin = (engine) =>
      bareTwin(engine, (cpu) => {
        const run = cpu.run.bind(cpu);
        // Wrong once it may run 300 cycles at a stretch.
        cpu.run = (deadline) => {
          const isLong = engine === 'jit' && cpu.cycles < CYCLE && deadline >= CYCLE && deadline - cpu.cycles >= 300;
          const exit = run(deadline);
          if (isLong) cpu.setReg(RAX, 7n);
          return exit;
        };
      });
    const end = differing(await lockstep(make));
    expect(end.from).toBeLessThan(CYCLE);
    expect(end.to).toBeGreaterThanOrEqual(CYCLE);
    expect(end.to - end.from).toBeLessThanOrEqual(10_000 / 32 + 1);
    expect(end.steps).toHaveLength(end.to - end.from);
    expect(lockstepReport(end, () => null)).toContain('<- last to write rax');
  });
});

test('what was typed is typed again at the same cycle when the run is repeated', async () => {
  const keys = [null, null, new Uint8Array(3), null, new Uint8Array(9)];
  let asked = 0;
  const end = differing(
    await lockstep(
      twinsBrokenAt(60_001, (cpu) => cpu.setReg(RSP, 1n)),
      { typed: () => keys[asked++] ?? null },
    ),
  );
  expect(end.differences.contexts[0]!.fields).toEqual([{ field: 'rsp', a: '0000000000000009', b: '0000000000000001' }]);
  expect([end.from, end.to]).toEqual([60_000, 60_001]);
});

test('twins that wait for input end when none can come', async () => {
  const make: MakeTwin = (engine) => ({ ...bareTwin(engine, () => {}), cycles: 0, next: 0, advance: async () => STUCK });
  expect(await lockstep(make)).toMatchObject({ kind: 'same', how: 'stuck' });
});

describe('a PV domain', () => {
  const twins = (broken?: (cpu: EmulatedCpu) => void) => {
    let output = '';
    const make = domainTwins({
      guests: [demoGuest('hello64', buildHello64())],
      cpus: 1,
      note: () => {},
      write: (bytes) => {
        output += new TextDecoder().decode(bytes);
      },
    });
    const broke: MakeTwin = (engine, isShown) => {
      const twin = make(engine, isShown);
      if (engine === 'jit') broken?.(twin.machine.cpus[0]!);
      return twin;
    };
    return { make: broke, output: () => output };
  };

  test('runs to its end in both engines, its console shown once', async () => {
    const { make, output } = twins();
    const end = await lockstep(make);
    expect(end).toMatchObject({ kind: 'same' });

    expect(output().match(/hello from pv64/g)).toHaveLength(1);
  });

  test('is stopped where its engines differ, and is not shown again by the search', async () => {
    const { make, output } = twins((cpu) => breakAt(cpu, 6_123, (c) => c.setReg(R15, c.reg(R15) ^ 0x100n)));
    const end = differing(await lockstep(make));
    expect(end.to - end.from).toBe(1);
    expect(end.steps).toHaveLength(1);
    expect((output().match(/hello from pv64/g) ?? []).length).toBeLessThanOrEqual(1);
  });
});
