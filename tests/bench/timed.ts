// A program of the host's, timed from outside: when it ended, and when each of some texts appeared in what it printed.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';

export interface TimedOptions {
  readonly timeoutSeconds: number;
  /** Once this has appeared the program is ended. */
  readonly until?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Read this file instead of standard output (an emulator's serial port). */
  readonly outputFile?: string;
}

export interface Timed {
  /** From start to end, or to `until`. */
  readonly seconds: number;
  readonly output: string;
  readonly isTimeout: boolean;
  /** Seconds from the start until the output contained `text`; undefined when it never did. */
  at(text: string): number | undefined;
}

/** How often a file is looked at. */
const LOOK_MS = 5;

export function timed(command: string, args: readonly string[], options: TimedOptions): Promise<Timed> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const since = () => (performance.now() - start) / 1000;
    const { outputFile, until } = options;
    const child = spawn(command, args, {
      stdio: ['ignore', outputFile === undefined ? 'pipe' : 'ignore', 'ignore'],
      env: { ...process.env, ...options.env },
    });
    let output = '';
    /** [length of the output, seconds] after each piece. */
    const pieces: [number, number][] = [];
    let isTimeout = false;
    let found: number | undefined;
    const took = (text: string) => {
      output += text;
      pieces.push([output.length, since()]);
      if (until === undefined || found !== undefined || !output.includes(until)) return;
      found = since();
      child.kill('SIGKILL');
    };
    child.stdout?.setEncoding('latin1').on('data', took);
    const reader = outputFile === undefined ? null : follow(outputFile, took);
    const timer = setTimeout(() => {
      isTimeout = true;
      child.kill('SIGKILL');
    }, options.timeoutSeconds * 1000);
    child.on('error', reject).on('close', () => {
      clearTimeout(timer);
      const seconds = found ?? since();
      reader?.end();
      const at = (text: string) => {
        const place = output.indexOf(text);
        return place < 0 ? undefined : pieces.find(([length]) => length >= place + text.length)?.[1];
      };
      resolve({ seconds, output, isTimeout, at });
    });
  });
}

function follow(file: string, took: (text: string) => void): { end(): void } {
  const buffer = Buffer.alloc(65536);
  let fd: number | undefined;
  const look = () => {
    try {
      fd ??= openSync(file, 'r');
    } catch {
      return;
    }
    for (let n = readSync(fd, buffer); n > 0; n = readSync(fd, buffer)) took(buffer.toString('latin1', 0, n));
  };
  const timer = setInterval(look, LOOK_MS);
  return {
    end: () => {
      clearInterval(timer);
      look();
      if (fd !== undefined) closeSync(fd);
    },
  };
}
