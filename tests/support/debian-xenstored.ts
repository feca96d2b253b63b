// Debian's own xenstored (Xen 4.17), running on this host without Xen under xenstored-shim.c: the judge of ours. Its rings are files
// that the daemon has mapped, so they are spoken to as a domain would.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PageView } from '@ringworld/abi';
import { debianPackage, haveApt } from './debian-kernel.ts';

const LIBRARIES = [
  'libxenmisc4.17',
  'libxenstore4',
  'libxenevtchn1',
  'libxengnttab1',
  'libxentoollog1',
  'libxentoolcore1',
  'libxencall1',
  'libxenforeignmemory1',
  'libxendevicemodel1',
];
const libraryPath = (): string => LIBRARIES.map((name) => join(debianPackage(name), 'usr/lib/x86_64-linux-gnu')).join(':');
const VIRQ_PORT = 1;
const DOMAIN_PORT = 1000;

const works = (command: string, args: string[]): boolean => {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

/** Whether this host can have it: apt with Xen 4.17's packages (Debian 12), and a C compiler with Xen's headers. */
export const haveDebianXenstored = (): boolean =>
  haveApt() && works('cc', ['--version']) && existsSync('/usr/include/xenctrl.h') && works('apt-cache', ['show', 'xen-utils-4.17']);

/** A page that is a file. */
function filePage(path: string): PageView & { close(): void } {
  const fd = openSync(path, 'r+');
  const bytes = (offset: number, length: number): Uint8Array => {
    const buffer = new Uint8Array(length);
    readSync(fd, buffer, 0, length, offset);
    return buffer;
  };
  const view = (offset: number, length: number): DataView => new DataView(bytes(offset, length).buffer);
  const put = (offset: number, length: number, fill: (v: DataView) => void): void => {
    const v = new DataView(new ArrayBuffer(length));
    fill(v);
    writeSync(fd, v, 0, length, offset);
  };
  return {
    u8: (o) => view(o, 1).getUint8(0),
    u16: (o) => view(o, 2).getUint16(0, true),
    u32: (o) => view(o, 4).getUint32(0, true),
    u64: (o) => view(o, 8).getBigUint64(0, true),
    setU8: (o, v) => put(o, 1, (d) => d.setUint8(0, v)),
    setU16: (o, v) => put(o, 2, (d) => d.setUint16(0, v, true)),
    setU32: (o, v) => put(o, 4, (d) => d.setUint32(0, v, true)),
    setU64: (o, v) => put(o, 8, (d) => d.setBigUint64(0, v, true)),
    bytes,
    readInto: (o, target) => void readSync(fd, target, 0, target.length, o),
    writeBytes: (o, b) => void writeSync(fd, b, 0, b.length, o),
    close: () => closeSync(fd),
  };
}

export class DebianXenstored {
  private readonly dir = mkdtempSync(join(tmpdir(), 'ringworld-xenstored-'));
  private readonly child: ChildProcess;
  private readonly events: number;
  private readonly pages = new Map<number, ReturnType<typeof filePage>>();
  private output = '';

  constructor() {
    const at = (name: string) => join(this.dir, name);
    const shim = at('shim.so');
    const source = fileURLToPath(new URL('./xenstored-shim.c', import.meta.url));
    execFileSync('cc', ['-shared', '-fPIC', '-O1', '-w', '-o', shim, source, '-ldl']);
    execFileSync('mkfifo', [at('events')]);
    writeFileSync(at('port-0'), '1');
    mkdirSync(at('run'));
    this.addDomain(0);
    // Both ends: so that opening it waits for nobody.
    this.events = openSync(at('events'), 'r+');
    this.child = spawn(join(debianPackage('xen-utils-4.17'), 'usr/lib/xen-4.17/bin/xenstored'), ['-N', '-T', at('trace')], {
      env: {
        ...process.env,
        LD_PRELOAD: shim,
        LD_LIBRARY_PATH: libraryPath(),
        XENSTORED_SHIM: this.dir,
        XENSTORED_RUNDIR: at('run'),
        XENSTORED_ROOTDIR: at('run'),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (text: Buffer) => {
        this.output += text.toString();
      });
  }

  /** Its socket is there. */
  async ready(): Promise<void> {
    for (let i = 0; i < 500 && !existsSync(join(this.dir, 'run', 'socket')); i++) await new Promise((next) => setTimeout(next, 10));
  }

  /** Runs Debian's xenstore(1) on it. */
  xenstore(args: readonly string[]): { readonly code: number | null; readonly stdout: Buffer; readonly stderr: string } {
    const ran = spawnSync(join(debianPackage('xenstore-utils'), 'usr/bin/xenstore'), args, {
      env: { ...process.env, LD_LIBRARY_PATH: libraryPath(), XENSTORED_RUNDIR: join(this.dir, 'run') },
      timeout: 20_000,
    });
    return { code: ran.status, stdout: ran.stdout, stderr: ran.stderr.toString() };
  }

  /** What it has said so far. */
  get said(): string {
    return this.output;
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** How it ended, if it has. */
  get how(): string {
    return `exit code ${this.child.exitCode}, signal ${this.child.signalCode}`;
  }

  /** A running domain with a page for its ring. */
  addDomain(domid: number): void {
    writeFileSync(join(this.dir, `ring-${domid}`), new Uint8Array(4096));
    this.setDomain(domid, 'r');
  }

  /** Running, shut down, dying, or gone. The daemon is told that something has changed. */
  setDomain(domid: number, state: 'r' | 's' | 'd' | null): void {
    const path = join(this.dir, `domain-${domid}`);
    if (state === null) rmSync(path, { force: true });
    else writeFileSync(path, state);
    if (this.pages.size > 0) this.sendPort(VIRQ_PORT);
  }

  page(domid: number): PageView {
    let page = this.pages.get(domid);
    if (page === undefined) {
      page = filePage(join(this.dir, `ring-${domid}`));
      this.pages.set(domid, page);
    }
    return page;
  }

  /** The domain's event. */
  kick(domid: number): void {
    this.sendPort(DOMAIN_PORT + domid);
  }

  close(): void {
    this.child.kill();
    closeSync(this.events);
    for (const page of this.pages.values()) page.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  private sendPort(port: number): void {
    writeSync(this.events, new Uint8Array(Uint32Array.of(port).buffer));
  }
}
