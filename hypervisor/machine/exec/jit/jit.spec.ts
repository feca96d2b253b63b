// Compiled code against what may go wrong with it: code that changes in every way there is, pages that are mapped elsewhere, faults in the
// middle, time, and room. What instructions compute is the conformance suite's affair (machine/host-cpu).

import { describe, expect, it } from 'vitest';
import type { Lin, Maddr } from '../../addresses.ts';
import { RunExit } from '../../cpu-api.ts';
import { RAX, RBX, RCX, RDI, RSI, RSP, STATE } from '../../state.ts';
import { flat64 } from '../flat64.ts';
import { type BackgroundCompiler, type CompileRequest, type CompileResult, serveCompileRequest } from './background.ts';

const EAGER = { engine: 'jit', eager: true } as const;
const eager = () => flat64(undefined, EAGER);

const CODE = 0x10000;
const OTHER = 0x20000;
const UD2 = [0x0f, 0x0b];
const INC_RAX = [0x48, 0xff, 0xc0];
const RET = [0xc3];
const JNZ = 0x75;
const dword = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, (v >>> 24) & 0xff];
const movEaxImm = (v: number): number[] => [0xb8, ...dword(v)];
/** call rel32 from an address. */
const call = (from: number, to: number): number[] => [0xe8, ...dword(to - from - 5)];
const jmp = (from: number, to: number): number[] => [0xe9, ...dword(to - from - 5)];

describe('a loop', () => {
  it('is compiled, and runs as one region', () => {
    const t = eager();
    t.cpu.setReg(RCX, 100_000n);
    // loop: add rax, rcx; dec rcx; jnz loop; ud2
    t.run(CODE, [0x48, 0x01, 0xc8, 0x48, 0xff, 0xc9, JNZ, 0xf8, ...UD2], 1e9);
    expect(t.cpu.reg(RAX)).toBe(5_000_050_000n);
    expect(t.cpu.cycles).toBe(300_001);
    expect(t.machine.engine.jit?.statistics.regions).toBeGreaterThan(0);
  });

  it('stops at every deadline to the instruction', () => {
    const t = eager();
    t.cpu.setReg(RCX, 20n);
    const code = [...INC_RAX, 0x48, 0xff, 0xc9, JNZ, 0xf8, ...UD2];
    t.run(CODE, code, 0);
    for (let deadline = 1; deadline <= 60; deadline++) {
      expect(t.cpu.run(deadline)).toBe(RunExit.deadline);
      expect([t.cpu.cycles, t.cpu.reg(RAX)]).toEqual([deadline, BigInt(Math.floor((deadline + 2) / 3))]);
    }
  });

  it('that never ends by itself ends at the deadline', () => {
    const t = eager();
    expect(t.run(CODE, [0xeb, 0xfe], 12_345)).toBe(RunExit.deadline);
    expect(t.cpu.cycles).toBe(12_345);
  });
});

describe('calls inside a page', () => {
  // call f; call f; ud2 ... f: inc rax; ret
  const f = CODE + 0x40;
  const caller = [...call(CODE, f), ...call(CODE + 5, f), ...UD2];

  it('come back to where each came from', () => {
    const t = eager();
    t.machine.ram.writeBytes(f as Maddr, Uint8Array.from([...INC_RAX, ...RET]));
    for (let n = 1n; n <= 5n; n++) {
      t.run(CODE, caller);
      expect([t.cpu.reg(RAX), t.cpu.rip, t.cpu.cycles]).toEqual([2n * n, CODE + 10, 7]);
    }
  });

  it('come back to where the function says', () => {
    const t = eager();
    // f: inc rax; cmp rax, 8; jb 1f; add qword [rsp], 5; 1: ret. In the eighth call the second call is passed over.
    const body = [...INC_RAX, 0x48, 0x83, 0xf8, 8, 0x72, 5, 0x48, 0x83, 0x04, 0x24, 5, ...RET];
    t.machine.ram.writeBytes(f as Maddr, Uint8Array.from(body));
    for (let n = 0; n < 3; n++) t.run(CODE, caller);
    expect(t.cpu.reg(RAX)).toBe(6n);
    t.machine.ram.writeBytes((CODE + 10) as Maddr, Uint8Array.from([0x90, 0x90, 0x90, 0x90, 0x90, ...UD2]));
    t.cpu.rip = CODE as Lin;
    t.cpu.run(1e6);
    expect([t.cpu.reg(RAX), t.cpu.rip]).toEqual([8n, CODE + 15]);
  });
});

describe('a fault', () => {
  it('in the middle of a region finds registers and flags as after the instruction before', () => {
    const t = eager();
    t.map(0x30000, 0x30000, 5);
    t.cpu.setReg(RBX, 0x2fff8n);
    t.cpu.setReg(RCX, 10n);
    // loop: sub rax, 1; mov [rbx], rax; add rbx, 8; dec rcx; jnz loop
    const code = [0x48, 0x83, 0xe8, 1, 0x48, 0x89, 0x03, 0x48, 0x83, 0xc3, 8, 0x48, 0xff, 0xc9, JNZ, 0xf0];
    expect(t.run(CODE, code)).toBe(RunExit.exception);
    expect([t.cpu.event.vector, t.cpu.event.errorCode, t.cpu.lin(STATE.cr2)]).toEqual([14, 7, 0x30000]);
    expect([t.cpu.rip, t.cpu.reg(RBX), t.cpu.reg(RCX), t.cpu.cycles]).toEqual([CODE + 4, 0x30000n, 9n, 6]);
    expect(t.cpu.reg(RAX)).toBe(0xffff_ffff_ffff_fffen);
    // SUB 1 from -1: negative, no borrow.
    expect(t.cpu.rflags & 0x8d5).toBe(0x80);
  });

  it('on the stack page after checked accesses beside it is not missed', () => {
    const t = eager();
    t.map(0x40000, 0, 0);
    t.cpu.setReg(RSP, 0x40ff0n);
    t.map(0x3f000, 0x3f000);
    t.cpu.setReg(RBX, 0x3fff0n);
    // mov rax,[rbx]; mov rax,[rbx+8]; mov rax,[rbx+0x10]: the third in the next page, which is not there.
    expect(t.run(CODE, [0x48, 0x8b, 0x03, 0x48, 0x8b, 0x43, 8, 0x48, 0x8b, 0x43, 0x10])).toBe(RunExit.exception);
    expect([t.cpu.event.vector, t.cpu.lin(STATE.cr2), t.cpu.cycles]).toEqual([14, 0x40000, 2]);
  });

  it('across the border of two pages, beside a checked access, is exact', () => {
    const t = eager();
    t.map(0x40000, 0x50000);
    t.machine.ram.write32(0x3fffc as Maddr, 0x11111111);
    t.machine.ram.write32(0x50000 as Maddr, 0x22222222);
    t.cpu.setReg(RBX, 0x3fff0n);
    // mov rax,[rbx]; mov rax,[rbx+0xc]
    t.run(CODE, [0x48, 0x8b, 0x03, 0x48, 0x8b, 0x43, 0x0c, ...UD2]);
    expect(t.cpu.reg(RAX)).toBe(0x2222222211111111n);
  });
});

describe('code that changes', () => {
  /** mov eax, 1; ret at OTHER, called from CODE in a loop of `rdi` turns, with a store between: mov [rsi], bl. */
  const loop = (): number[] => {
    const body = [...call(CODE, OTHER), 0x88, 0x1e, 0x48, 0xff, 0xcf];
    return [...body, JNZ, 256 - (body.length + 2), ...UD2];
  };
  const prepare = (t: ReturnType<typeof eager>, turns: bigint): void => {
    t.machine.ram.writeBytes(OTHER as Maddr, Uint8Array.from([...movEaxImm(1), ...RET]));
    t.cpu.setReg(RDI, turns);
    t.cpu.setReg(RBX, 1n);
    t.cpu.setReg(RSI, 0x60000n);
  };

  it('by a store of its own is run as it is written', () => {
    const t = eager();
    prepare(t, 50n);
    t.run(CODE, loop());
    expect(t.cpu.reg(RAX)).toBe(1n);
    // The store hits the immediate of the function that the loop calls.
    t.cpu.setReg(RDI, 2n);
    t.cpu.setReg(RBX, 7n);
    t.cpu.setReg(RSI, BigInt(OTHER + 1));
    t.cpu.rip = CODE as Lin;
    t.cpu.run(1e6);
    expect(t.cpu.reg(RAX)).toBe(7n);
  });

  it('through another linear address of the same frame is noticed', () => {
    const t = eager();
    t.map(0x70000, OTHER);
    prepare(t, 50n);
    t.run(CODE, loop());
    t.cpu.setReg(RDI, 2n);
    t.cpu.setReg(RBX, 9n);
    t.cpu.setReg(RSI, 0x70001n);
    t.cpu.rip = CODE as Lin;
    t.cpu.run(1e6);
    expect(t.cpu.reg(RAX)).toBe(9n);
  });

  it('runs at both of its addresses, and at both when it changes', () => {
    const t = eager();
    t.map(0x70000, OTHER);
    t.machine.ram.writeBytes(OTHER as Maddr, Uint8Array.from([...movEaxImm(5), ...RET]));
    const both = [...call(CODE, OTHER), 0x89, 0xc3, ...call(CODE + 7, 0x70000), ...UD2];
    for (const value of [5, 6]) {
      t.machine.ram.write8((OTHER + 1) as Maddr, value);
      for (let n = 0; n < 3; n++) t.run(CODE, both);
      expect([t.cpu.reg(RAX), t.cpu.reg(RBX)]).toEqual([BigInt(value), BigInt(value)]);
    }
  });

  it('by another CPU is noticed', () => {
    const t = flat64(undefined, { ...EAGER, cpus: 2 });
    const [one, two] = t.machine.cpus as [typeof t.cpu, typeof t.cpu];
    prepare(t, 50n);
    t.run(CODE, loop());
    expect(one.reg(RAX)).toBe(1n);
    two.copyFrom(one);
    two.delivery = 'host';
    two.modeChanged();
    // CPU 1: mov byte [OTHER+1], 0x2a; ud2
    t.machine.ram.writeBytes(0x80000 as Maddr, Uint8Array.from([0xc6, 0x04, 0x25, ...dword(OTHER + 1), 0x2a, ...UD2]));
    two.rip = 0x80000 as Lin;
    expect(two.run(two.cycles + 100)).toBe(RunExit.exception);
    one.setReg(RDI, 1n);
    one.rip = CODE as Lin;
    one.run(1e6);
    expect(one.reg(RAX)).toBe(0x2an);
  });

  it('by a device, or anything else that writes RAM, is noticed', () => {
    const t = eager();
    prepare(t, 50n);
    t.run(CODE, loop());
    t.machine.ram.writeBytes((OTHER + 1) as Maddr, Uint8Array.from([3]));
    t.cpu.setReg(RDI, 1n);
    t.cpu.rip = CODE as Lin;
    t.cpu.run(1e6);
    expect(t.cpu.reg(RAX)).toBe(3n);
  });
});

describe('a page that is mapped elsewhere', () => {
  const FRAME_A = 0x90000;
  const FRAME_B = 0xa0000;
  const LINEAR = 0x28000;
  const start = (t: ReturnType<typeof eager>): number[] => {
    t.machine.ram.writeBytes(FRAME_A as Maddr, Uint8Array.from([...movEaxImm(1), ...jmp(LINEAR + 5, CODE + 0x20)]));
    t.machine.ram.writeBytes(FRAME_B as Maddr, Uint8Array.from([...movEaxImm(2), ...jmp(LINEAR + 5, CODE + 0x20)]));
    t.machine.ram.writeBytes((CODE + 0x20) as Maddr, Uint8Array.from(UD2));
    t.map(LINEAR, FRAME_A);
    return jmp(CODE, LINEAR);
  };

  it('is not run stale after INVLPG', () => {
    const t = eager();
    const code = start(t);
    for (let n = 0; n < 3; n++) t.run(CODE, code);
    expect(t.cpu.reg(RAX)).toBe(1n);
    t.map(LINEAR, FRAME_B);
    t.cpu.invlpg(LINEAR as Lin);
    for (let n = 0; n < 3; n++) {
      t.run(CODE, code);
      expect(t.cpu.reg(RAX)).toBe(2n);
    }
  });

  it('is not run stale in another address space, nor after coming back', () => {
    const t = eager();
    const code = start(t);
    const { ram } = t.machine;
    // A second set of tables: the same but for the page in question.
    for (const [from, to] of [
      [0x1000, 0xb0000],
      [0x2000, 0xb1000],
      [0x3000, 0xb2000],
      [0x4000, 0xb3000],
    ] as const)
      ram.copy(to as Maddr, from as Maddr, 4096);
    ram.write32(0xb0000 as Maddr, 0xb1007);
    ram.write32(0xb1000 as Maddr, 0xb2007);
    ram.write32(0xb2000 as Maddr, 0xb3007);
    ram.write32((0xb3000 + (LINEAR >>> 12) * 8) as Maddr, FRAME_B | 7);
    for (const [root, value] of [
      [0x1000, 1n],
      [0xb0000, 2n],
      [0x1000, 1n],
      [0xb0000, 2n],
    ] as const) {
      t.cpu.loadCr3(root, true);
      for (let n = 0; n < 2; n++) t.run(CODE, code);
      expect(t.cpu.reg(RAX)).toBe(value);
    }
  });

  it('and is gone, faults at its first byte', () => {
    const t = eager();
    const code = start(t);
    for (let n = 0; n < 3; n++) t.run(CODE, code);
    t.map(LINEAR, 0, 0);
    t.cpu.invlpg(LINEAR as Lin);
    expect(t.run(CODE, code)).toBe(RunExit.exception);
    expect([t.cpu.event.vector, t.cpu.event.errorCode & 0x10, t.cpu.rip]).toEqual([14, 0x10, LINEAR]);
  });
});

describe('room', () => {
  it('is bounded: a guest that goes on writing new code has the old thrown away', { timeout: 60_000 }, () => {
    const t = eager();
    const { statistics } = t.machine.engine.jit!;
    let n = 0;
    for (; statistics.evictions === 0 && n < 5000; n++) {
      // Another constant each time, in another place: new code for the JIT.
      t.run(CODE + (n % 200) * 16, [...movEaxImm(n), 0x01, 0xc3, ...UD2]);
      expect(t.cpu.reg(RAX)).toBe(BigInt(n));
    }
    expect(statistics.evictions).toBeGreaterThan(0);
    for (let k = 0; k < 20; k++) {
      t.cpu.setReg(RCX, 1000n);
      t.run(CODE, [...INC_RAX, 0x48, 0xff, 0xc9, JNZ, 0xf8, ...UD2]);
      expect([t.cpu.reg(RCX), t.cpu.cycles]).toEqual([0n, 3001]);
    }
  });
});

describe('compiled beside the guest', () => {
  /** A thread that works when it is told to. The request goes through a copy, as to a thread. */
  class Later implements BackgroundCompiler {
    readonly requests: CompileRequest[] = [];
    private readonly results: CompileResult[] = [];
    get hasResults(): boolean {
      return this.results.length > 0;
    }
    submit(request: CompileRequest): void {
      this.requests.push(structuredClone(request));
    }
    poll(): CompileResult | undefined {
      return this.results.shift();
    }
    work(): void {
      for (const r of this.requests.splice(0)) this.results.push(serveCompileRequest(r));
    }
  }
  /** add rax, rcx; dec rcx; jnz; ud2 */
  const sum = [0x48, 0x01, 0xc8, 0x48, 0xff, 0xc9, JNZ, 0xf8, ...UD2];

  it('a loop is interpreted until its code is there, and counts the same', () => {
    const background = new Later();
    const t = flat64(undefined, { ...EAGER, background });
    for (const isThere of [false, true]) {
      t.cpu.setReg(RAX, 0n);
      t.cpu.setReg(RCX, 1000n);
      if (!isThere) t.run(CODE, sum, 1e9);
      else {
        t.cpu.rip = CODE as Lin;
        t.cpu.cycles = 0;
        t.cpu.run(1e9);
      }
      expect([t.cpu.reg(RAX), t.cpu.cycles]).toEqual([500_500n, 3001]);
      expect((t.machine.engine.jit?.statistics.regions ?? 0) > 0).toBe(isThere);
      background.work();
    }
    // What asked once does not ask again.
    expect(background.requests).toEqual([]);
  });

  it('is not used when the code has changed meanwhile', () => {
    const background = new Later();
    const t = flat64(undefined, { ...EAGER, background });
    t.run(CODE, [...movEaxImm(1), ...UD2]);
    t.machine.ram.writeBytes(CODE as Maddr, Uint8Array.from(movEaxImm(2)));
    background.work();
    t.cpu.rip = CODE as Lin;
    t.cpu.run(1e6);
    expect(t.cpu.reg(RAX)).toBe(2n);
    expect(t.machine.engine.jit?.statistics.regions).toBe(0);
  });
});

describe('a block that the jump cache holds for another address space', () => {
  /** CALL CODE+0x100, which is MOV EAX, n; RET, through a register, so that the jump cache is asked. */
  const caller = [0xff, 0xd3, ...UD2];
  const CALLEE = CODE + 0x1000;
  const ROOT_2 = 0xb0000;
  const twoSpaces = (t: ReturnType<typeof flat64>, other: number): void => {
    const { ram } = t.machine;
    for (let i = 0; i < 4; i++) ram.copy((ROOT_2 + i * 0x1000) as Maddr, (0x1000 + i * 0x1000) as Maddr, 4096);
    ram.write32(ROOT_2 as Maddr, (ROOT_2 + 0x1000) | 7);
    ram.write32((ROOT_2 + 0x1000) as Maddr, (ROOT_2 + 0x2000) | 7);
    ram.write32((ROOT_2 + 0x2000) as Maddr, (ROOT_2 + 0x3000) | 7);
    ram.write32((ROOT_2 + 0x3000 + (CALLEE >>> 12) * 8) as Maddr, other);
    ram.writeBytes(CALLEE as Maddr, Uint8Array.from([...movEaxImm(1), ...RET]));
    ram.writeBytes(0x90000 as Maddr, Uint8Array.from([...movEaxImm(2), ...RET]));
    t.cpu.setReg(RBX, BigInt(CALLEE));
  };
  const runIn = (t: ReturnType<typeof flat64>, root: number): RunExit => {
    // New each time: nothing of the space is known.
    t.cpu.loadCr3(root, false);
    return t.run(CODE, caller);
  };

  it.each([{ engine: 'interp' }, { engine: 'jit', eager: true }] as const)(
    'is run when its page lies in the same frame here ($engine)',
    (o) => {
      const t = flat64(undefined, o);
      twoSpaces(t, CALLEE | 7);
      for (const root of [0x1000, ROOT_2, 0x1000, ROOT_2]) {
        expect([runIn(t, root), t.cpu.event.vector, t.cpu.reg(RAX), t.cpu.cycles]).toEqual([RunExit.exception, 6, 1n, 4]);
      }
    },
  );
  it.each([{ engine: 'interp' }, { engine: 'jit', eager: true }] as const)(
    'is not run when it lies in another, or in none ($engine)',
    (o) => {
      const t = flat64(undefined, o);
      twoSpaces(t, 0x90000 | 7);
      for (const [root, value] of [
        [0x1000, 1n],
        [ROOT_2, 2n],
        [0x1000, 1n],
        [ROOT_2, 2n],
      ] as const) {
        runIn(t, root);
        expect(t.cpu.reg(RAX)).toBe(value);
      }
      t.machine.ram.write32((ROOT_2 + 0x3000 + (CALLEE >>> 12) * 8) as Maddr, 0);
      expect(runIn(t, ROOT_2)).toBe(RunExit.exception);
      expect([t.cpu.event.vector, t.cpu.rip]).toEqual([14, CALLEE]);
    },
  );
});
