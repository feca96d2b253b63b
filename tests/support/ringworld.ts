// The command line as a user runs it: a process of its own, its output collected, answers typed when a text has appeared.

import { spawn } from 'node:child_process';
import { join } from 'node:path';

const COMMAND = join(import.meta.dirname, '../../dom0/xl/ringworld.mjs');

export interface Typed {
  /** Once this has appeared in what was printed since the last answer... */
  readonly after: string;
  /** ...this is typed. */
  readonly type: string;
}

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** No test meets a host that the developer has running. */
const NO_HOST = { RINGWORLD_SOCKET: '/nonexistent/ringworld' };

/** Runs `ringworld ARGS` to its end. */
export function ringworld(args: readonly string[], typed: readonly Typed[] = []): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...NO_HOST } });
    const waiting = [...typed];
    let stdout = '';
    let stderr = '';
    let seen = 0;
    if (waiting.length === 0) child.stdin.end();
    child.stdin.on('error', () => {});
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      const [next] = waiting;
      if (next === undefined || !stdout.slice(seen).includes(next.after)) return;
      seen = stdout.length;
      waiting.shift();
      child.stdin.write(next.type);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject).on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
