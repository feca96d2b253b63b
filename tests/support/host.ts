// A `ringworld host` of a test's own, in a process of its own, and its user: commands, and terminals that are typed at.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Ran } from './ringworld.ts';

const COMMAND = join(import.meta.dirname, '../../dom0/xl/ringworld.mjs');

/** One terminal at a console. */
export class TestTerminal {
  text = '';
  private readonly child: ChildProcess;
  private seen = 0;
  private changed: () => void = () => {};
  readonly ended: Promise<number | null>;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.text += text;
      this.changed();
    });
    this.ended = new Promise((done) => child.on('close', done));
  }

  /** Waits for text that has come since the last wait; returns all that came up to its end. */
  async until(pattern: RegExp, seconds = 120): Promise<string> {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
      const fresh = this.text.slice(this.seen);
      const m = pattern.exec(fresh);
      if (m !== null) {
        this.seen += m.index + m[0].length;
        return fresh.slice(0, m.index + m[0].length);
      }
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`no ${pattern} in ${seconds} s; the terminal shows:\n${fresh.slice(-2000)}`);
      await new Promise<void>((done) => {
        const timer = setTimeout(done, Math.min(left, 1000));
        this.changed = () => {
          clearTimeout(timer);
          done();
        };
      });
    }
  }

  /** Types a line to the guest's shell and returns what it printed before the next prompt. */
  async shell(line: string, seconds = 120): Promise<string> {
    this.type(`${line}; echo do''ne\n`);
    return (await this.until(/\ndone\r?\n/, seconds)).replace(/^[\s\S]*?; echo do''ne\r*\n/, '').replace(/done\r?\n$/, '');
  }

  type(text: string): void {
    this.child.stdin?.write(text);
  }

  leave(): void {
    this.child.kill();
  }
}

export class TestHost {
  readonly socket: string;
  private readonly folder: string;
  private readonly env: NodeJS.ProcessEnv;

  constructor(folder: string, name = 'host') {
    this.folder = folder;
    this.socket = join(folder, `${name}.sock`);
    this.env = { ...process.env, RINGWORLD_SOCKET: this.socket };
  }

  run(...args: string[]): Promise<Ran> {
    return new Promise((done) => {
      const options = { cwd: this.folder, env: this.env, timeout: 300_000, maxBuffer: 1 << 26 };
      const child = execFile(process.execPath, [COMMAND, ...args], options, (_, stdout, stderr) => {
        done({ code: child.exitCode, stdout, stderr });
      });
      child.stdin?.end();
    });
  }

  /** Must succeed. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    if (code !== 0) throw new Error(`ringworld ${args.join(' ')}: exit code ${code}: ${stderr}`);
    return stdout;
  }

  terminal(domain: string, ...args: string[]): TestTerminal {
    const all = args.length > 0 ? args : ['console', domain];
    return new TestTerminal(
      spawn(process.execPath, [COMMAND, ...all], { cwd: this.folder, env: this.env, stdio: ['pipe', 'pipe', 'inherit'] }),
    );
  }

  start(...args: string[]): Promise<string> {
    return this.ok('host', '--daemon', ...args);
  }

  /** Whatever state it is in. */
  async end(): Promise<void> {
    await this.run('host', '--stop');
  }
}

const text = (s: string): Uint8Array => new TextEncoder().encode(s);
/** What the kernel starts when the toolstack asks it to end: the initramfs has no init that would. */
export const POWER_COMMANDS: Readonly<Record<string, Uint8Array>> = {
  'sbin/poweroff': text('#!/bin/sh\nexec /bin/busybox poweroff -f\n'),
  'sbin/reboot': text('#!/bin/sh\nexec /bin/busybox reboot -f\n'),
};
