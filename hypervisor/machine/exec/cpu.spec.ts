// The run loop and the code cache: exact time, precise faults, and code that changes under the CPU.

import { describe, expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { RAX, RBX, RCX, RDI, STATE } from '../state.ts';
import { ENGINES, flat64 } from './flat64.ts';

const INC_RAX = [0x48, 0xff, 0xc0];
const DEC_RDI = [0x48, 0xff, 0xcf];
const UD2 = [0x0f, 0x0b];
const CODE = 0x10000;

describe.each(ENGINES)('with $engine, compiled at once: $eager:', (engine) => {
  describe('time', () => {
    it('counts one cycle an instruction, over loops and calls', () => {
      const t = flat64(undefined, engine);
      t.cpu.setReg(RDI, 1000n);
      // loop: inc rax; dec rdi; jnz loop; ud2
      expect(t.run(CODE, [...INC_RAX, ...DEC_RDI, 0x75, 0xf8, ...UD2])).toBe(RunExit.exception);
      expect(t.cpu.event.vector).toBe(6);
      expect(t.cpu.reg(RAX)).toBe(1000n);
      expect(t.cpu.cycles).toBe(3001);
    });

    it('stops at any deadline to the instruction, and goes on as if it had not stopped', () => {
      const t = flat64(undefined, engine);
      const body = [...INC_RAX, ...INC_RAX, ...INC_RAX, ...DEC_RDI, 0x75, 0xf2, ...UD2];
      t.cpu.setReg(RDI, 50n);
      t.run(CODE, body, 0);
      let seen = 0;
      for (let deadline = 1; ; deadline++) {
        const exit = t.cpu.run(deadline);
        if (exit !== RunExit.deadline) break;
        expect(t.cpu.cycles).toBe(deadline);
        seen++;
      }
      expect(seen).toBe(250);
      expect(t.cpu.reg(RAX)).toBe(150n);
    });

    it('is the same when the jump to the next page is one that another address space left', () => {
      const t = flat64(undefined, engine);
      const next = CODE + 0x1000;
      const begin = next + 0x100;
      t.run(next, [...INC_RAX, ...UD2], 0);
      // inc rax at the end of the page runs on into the next one.
      t.run(next - 3, INC_RAX);
      expect(t.cpu.cycles).toBe(3);
      t.cpu.flushTlb();
      // jmp back to it, from the page that it runs on into
      t.run(begin, [0xe9, 0xf8, 0xfe, 0xff, 0xff]);
      expect([t.cpu.rip, t.cpu.reg(RAX), t.cpu.cycles]).toEqual([next + 3, 4n, 4]);
    });
  });

  describe('faults', () => {
    it('leave the instruction undone and RIP at it, in the middle of a block', () => {
      const t = flat64(undefined, engine);
      t.map(0x30000, 0, 0);
      t.cpu.setReg(RBX, 0x30000n);
      // inc rax; add [rbx], rax; inc rax
      expect(t.run(CODE, [...INC_RAX, 0x48, 0x01, 0x03, ...INC_RAX])).toBe(RunExit.exception);
      expect([t.cpu.event.vector, t.cpu.event.errorCode]).toEqual([14, 6]);
      expect(t.cpu.lin(STATE.cr2)).toBe(0x30000);
      expect(t.cpu.rip).toBe(CODE + 3);
      expect(t.cpu.reg(RAX)).toBe(1n);
      expect(t.cpu.cycles).toBe(1);
    });

    it('on the second page of an access across pages name that page, and write nothing', () => {
      const t = flat64(undefined, engine);
      t.map(0x31000, 0x31000, 5);
      t.cpu.setReg(RBX, 0x30ffcn);
      t.cpu.setReg(RAX, -1n & 0xffff_ffff_ffff_ffffn);
      // mov [rbx], rax
      expect(t.run(CODE, [0x48, 0x89, 0x03])).toBe(RunExit.exception);
      expect([t.cpu.event.vector, t.cpu.event.errorCode, t.cpu.lin(STATE.cr2)]).toEqual([14, 7, 0x31000]);
      expect(t.machine.ram.read32(0x30ffc as Maddr)).toBe(0);
    });

    it('for an address that is not canonical are #GP(0), and #SS(0) through the stack', () => {
      const t = flat64(undefined, engine);
      t.cpu.setReg(RBX, 0x8000_0000_0000_0000n);
      t.run(CODE, [0x48, 0x8b, 0x03]);
      expect([t.cpu.event.vector, t.cpu.event.errorCode]).toEqual([13, 0]);
      t.cpu.setReg(4, 0x8000_0000_0000_0000n);
      t.run(CODE, [0x50]);
      expect([t.cpu.event.vector, t.cpu.event.errorCode]).toEqual([12, 0]);
    });

    it('set accessed and dirty bits only by accesses that succeed', () => {
      const t = flat64(undefined, engine);
      t.cpu.setReg(RBX, 0x30000n);
      t.run(CODE, [0x48, 0x8b, 0x03, ...UD2]);
      expect(t.machine.ram.read32((0x4000 + 0x30 * 8) as Maddr) & 0x60).toBe(0x20);
      t.run(CODE + 0x1000, [0x48, 0x89, 0x03, ...UD2]);
      expect(t.machine.ram.read32((0x4000 + 0x30 * 8) as Maddr) & 0x60).toBe(0x60);
    });
  });

  describe('code that changes', () => {
    it('by its own store takes effect at once, also further on in the same block', () => {
      const t = flat64(undefined, engine);
      // mov byte [rip+6], 0xc3 over the byte after next: turns "inc rax; inc rbx" into "inc rax; inc rax"
      const patch = [0xc6, 0x05, 0x05, 0, 0, 0, 0xc0];
      t.run(CODE, [...patch, ...INC_RAX, 0x48, 0xff, 0xc3, ...UD2]);
      expect([t.cpu.reg(RAX), t.cpu.reg(RBX)]).toEqual([2n, 0n]);
    });

    it('by a write from outside is decoded again', () => {
      const t = flat64(undefined, engine);
      t.run(CODE, [...INC_RAX, ...UD2]);
      t.machine.ram.write8((CODE + 2) as Maddr, 0xc3);
      t.cpu.rip = CODE as Lin;
      t.cpu.run(1e6);
      expect([t.cpu.reg(RAX), t.cpu.reg(RBX)]).toEqual([1n, 1n]);
    });

    it('through another mapping of its page takes effect', () => {
      const t = flat64(undefined, engine);
      t.map(0x40000, CODE);
      t.cpu.setReg(RCX, 0x40002n);
      // run once, then patch through the alias and run the loop body again: loop twice
      // start: inc rax; mov byte [rcx], 0xc3; dec rdi; jnz start; ud2
      t.cpu.setReg(RDI, 3n);
      t.run(CODE, [...INC_RAX, 0xc6, 0x01, 0xc3, ...DEC_RDI, 0x75, 0xf5, ...UD2]);
      expect([t.cpu.reg(RAX), t.cpu.reg(RBX)]).toEqual([1n, 2n]);
    });

    it('because its page is mapped elsewhere runs from the new page after INVLPG', () => {
      const t = flat64(undefined, engine);
      t.run(CODE, [...INC_RAX, ...UD2]);
      t.machine.ram.writeBytes(0x50000 as Maddr, Uint8Array.from([0x48, 0xff, 0xc3, ...UD2]));
      t.map(CODE, 0x50000);
      t.cpu.invlpg(CODE as Lin);
      t.cpu.rip = CODE as Lin;
      t.cpu.run(1e6);
      expect([t.cpu.reg(RAX), t.cpu.reg(RBX)]).toEqual([1n, 1n]);
    });

    it('beside data that is written often keeps its decoded form', () => {
      const t = flat64(undefined, engine);
      t.cpu.setReg(RBX, BigInt(CODE + 0x800));
      t.cpu.setReg(RDI, 500n);
      t.run(CODE, [0x48, 0x89, 0x3b, ...DEC_RDI, 0x75, 0xf8, ...UD2]);
      expect(t.machine.ram.read32((CODE + 0x800) as Maddr)).toBe(1);
      expect(t.machine.engine.translator.blocks).toBeLessThan(10);
    });

    it('in the second half of an instruction across two pages is seen, and so is remapping that page', () => {
      const t = flat64(undefined, engine);
      // mov eax, imm32 with the opcode in the last byte of the page
      const at = CODE + 0xfff;
      t.run(at, [0xb8, 1, 0, 0, 0, ...UD2]);
      expect(t.cpu.reg(RAX)).toBe(1n);
      t.machine.ram.write8((CODE + 0x1000) as Maddr, 2);
      t.cpu.rip = at as Lin;
      t.cpu.run(1e6);
      expect(t.cpu.reg(RAX)).toBe(2n);
      t.machine.ram.writeBytes(0x60000 as Maddr, Uint8Array.from([3, 0, 0, 0, ...UD2]));
      t.map(CODE + 0x1000, 0x60000);
      t.cpu.invlpg((CODE + 0x1000) as Lin);
      t.cpu.rip = at as Lin;
      t.cpu.run(1e6);
      expect(t.cpu.reg(RAX)).toBe(3n);
    });
  });

  describe('debug', () => {
    it('traps after each instruction under TF', () => {
      const t = flat64(undefined, engine);
      t.cpu.rflags = 0x302;
      expect(t.run(CODE, [...INC_RAX, ...INC_RAX, ...UD2])).toBe(RunExit.exception);
      expect([t.cpu.event.vector, t.cpu.rip, t.cpu.reg(RAX)]).toEqual([1, CODE + 3, 1n]);
      expect(t.cpu.u32(STATE.dr + 48) & 0x4000).toBe(0x4000);
    });

    it('stops before an instruction with a breakpoint and after a write that is watched', () => {
      const t = flat64(undefined, engine);
      t.cpu.setReg(RBX, 0x30000n);
      t.cpu.setLin(STATE.dr, CODE + 3);
      t.cpu.setLin(STATE.dr + 8, 0x30004);
      // DR0 execute, DR1 write of 4 bytes
      t.cpu.setU32(STATE.dr + 56, 0x5 | (0xd << 20));
      t.run(CODE, [...INC_RAX, ...INC_RAX, 0x89, 0x43, 0x04, ...INC_RAX, ...UD2]);
      expect([t.cpu.event.vector, t.cpu.rip, t.cpu.u32(STATE.dr + 48) & 0xf]).toEqual([1, CODE + 3, 1]);
      t.cpu.rflags = t.cpu.rflags | 0x10000;
      t.cpu.run(1e6);
      expect([t.cpu.event.vector, t.cpu.rip, t.cpu.u32(STATE.dr + 48) & 0xf]).toEqual([1, CODE + 9, 2]);
    });
  });
});
