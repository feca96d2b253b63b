// Saving domains to files and restoring them (libxl_dom_suspend.c; tools/xl/xl_saverestore.c), and cores of them. The machine goes on meanwhile: a domain is
// written and read a piece at a time.
import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { domid } from '@ringworld/abi';
import { HypercallError } from '../kernel/hypercall.ts';
import { checkNewName, pvControl, ToolstackError, unpauseDomain } from '../toolstack/control.ts';
import { domainInfo } from '../toolstack/domain-info.ts';
import { DomainBuildError } from '../toolstack/errors.ts';
import type { DomainFiles } from '../toolstack/lifecycle.ts';
import { xenVersionOf } from '../toolstack/machine-info.ts';
import { StreamError, StreamReader, streamHead, streamTail } from '../toolstack/migration-stream.ts';
import { type DomainConfig, formatUuid } from '../toolstack/xlcfg.ts';
import { Args } from './host-args.ts';
import { ConsoleHub } from './host-console.ts';
import type { DomainDisks } from './host-disks.ts';
import { type Handlers, residentOf } from './host-handlers.ts';
import type { HostMachine, Resident } from './host-machine.ts';
import { writeCore } from './node-core.ts';
import { readInputFile } from './node-files.ts';
import { ConsoleOutput } from './output.ts';
import { UserError, XlError } from './user-error.ts';

/** Of the configuration in the file. */
const CONFIG_VERSION = 1;
/** How long a guest has to take the request, and then to suspend (libxl's 60 seconds). */
const PATIENCE_MS = 60_000;
const LOOK_AGAIN_MS = 10;

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** The configuration as the domain is now. */
function currentConfig(m: HostMachine, resident: Resident): DomainConfig {
  const { xs } = m.host.toolstack;
  const { config } = resident.guest;
  const dom = resident.live.domid;
  const target = Number(xs.read(`/local/domain/${dom}/memory/target`) ?? config.memoryMiB * 1024);
  const online = xs.directory(`/local/domain/${dom}/cpu`).filter((i) => xs.read(`/local/domain/${dom}/cpu/${i}/availability`) === 'online');
  return { ...config, memoryMiB: Math.ceil(target / 1024), vcpus: Math.max(1, online.length) };
}

/** Asks the guest to suspend and waits until it has. */
async function suspend(m: HostMachine, resident: Resident): Promise<void> {
  const { privcmd, xs } = m.host.toolstack;
  const { live } = resident;
  const node = `/local/domain/${live.domid}/control/shutdown`;
  const ended = () => live.shutdown?.reason ?? null;
  if (ended() !== null) throw new UserError(`domain ${live.domid} has shut down: ${ended()}`);
  if (domainInfo(privcmd, xs, live.domid)?.paused === true)
    throw new UserError(`domain ${live.domid} is paused: its kernel cannot suspend`);
  pvControl(xs, live.domid, 'suspend');
  m.poke();
  let deadline = performance.now() + PATIENCE_MS;
  let isTaken = false;
  while (ended() === null) {
    if (m.residents.get(live.domid)?.live !== live) throw new UserError('the domain has been destroyed');
    if (!isTaken && xs.read(node) !== 'suspend') {
      isTaken = true;
      deadline = performance.now() + PATIENCE_MS;
    }
    if (performance.now() > deadline) {
      if (!isTaken) xs.write(node, '');
      throw new UserError(isTaken ? "guest didn't suspend, timed out" : "guest didn't acknowledge suspend, cancelling request");
    }
    await pause(LOOK_AGAIN_MS);
  }
  if (ended() !== 'suspend') throw new UserError(`the domain has shut down instead of suspending: ${ended()}`);
}

/** Writes the file; returns its size. */
async function write(m: HostMachine, resident: Resident, fd: number): Promise<number> {
  const { toolstack } = m.host;
  const config = currentConfig(m, resident);
  const json = JSON.stringify({ ringworld: CONFIG_VERSION, config: { ...config, uuid: formatUuid(config.uuid) } });
  let size = 0;
  const put = (bytes: Uint8Array) => {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    size += bytes.length;
  };
  put(streamHead(json, xenVersionOf(toolstack.privcmd)));
  for (const bytes of toolstack.save(resident.live)) {
    put(bytes);
    await turn();
    if (m.residents.get(resident.live.domid) !== resident) throw new UserError('the domain has been destroyed');
  }
  put(streamTail());
  return size;
}

function open(file: string, flags: 'r' | 'w'): number {
  try {
    return openSync(file, flags, 0o600);
  } catch (e) {
    const code = (e as NodeJS.ErrnoException).code ?? String(e);
    if (flags === 'w') throw new XlError(`Failed to open temp file ${file} for writing: ${code}`);
    throw new XlError(`cannot open saved domain ${file}: ${code}`);
  }
}

const reasonOf = (e: unknown): string => (e instanceof Error ? e.message : String(e));

function configOf(file: string, json: string): DomainConfig {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new UserError(`${file}: its configuration is no JSON`);
  }
  const saved = typeof value === 'object' && value !== null ? (value as { ringworld?: unknown; config?: Record<string, unknown> }) : {};
  if (saved.ringworld !== CONFIG_VERSION || typeof saved.config?.uuid !== 'string' || !/^[0-9a-f-]{36}$/.test(saved.config.uuid))
    throw new UserError(`${file}: its configuration is of a form that is not known here`);
  const digits = saved.config.uuid.replaceAll('-', '');
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(i * 2, i * 2 + 2), 16));
  return new Args(file, { config: { ...saved.config, uuid } }).config('config');
}

/** For when the domain reboots: a restored one needs its kernel only then. */
const filesLater = (config: DomainConfig): DomainFiles => ({
  get kernel() {
    return { file: config.kernel, bytes: readInputFile(config.kernel, 'kernel') };
  },
  get ramdisk() {
    return config.ramdisk === null ? null : { file: config.ramdisk, bytes: readInputFile(config.ramdisk, 'ramdisk') };
  },
});

export const saveHandlers: Handlers<'save' | 'restore' | 'dumpCore'> = {
  save: async (m, { args }) => {
    const resident = residentOf(m, args);
    const file = args.string('file');
    const after = args.oneOf('after', ['destroy', 'resume', 'pause']);
    const { toolstack } = m.host;
    const fd = open(file, 'w');
    try {
      await suspend(m, resident);
      const bytes = await write(m, resident, fd);
      if (after === 'destroy') m.destroy(resident);
      else {
        if (after === 'pause') m.pauseSuspended(resident);
        toolstack.resume(resident.live);
        m.poke();
      }
      return { bytes };
    } catch (e) {
      unlinkSync(file);
      const isThere = m.residents.get(resident.live.domid) === resident;
      if (isThere && resident.live.shutdown?.reason === 'suspend') {
        toolstack.resume(resident.live);
        m.poke();
      }
      const isKnown = e instanceof UserError || e instanceof DomainBuildError || e instanceof HypercallError;
      const isHosts = e instanceof Error && 'syscall' in e;
      if (isKnown || isHosts) throw new XlError(`${reasonOf(e)}\nFailed to save domain, resuming domain`);
      throw e;
    } finally {
      closeSync(fd);
    }
  },

  dumpCore: (m, { args }) => {
    const { live } = residentOf(m, args);
    try {
      return { bytes: writeCore(m.host.toolstack, live, args.string('file')) };
    } catch (e) {
      if (e instanceof UserError) throw new XlError(`core dump failed: ${e.message}`);
      throw e;
    }
  },

  restore: async (m, { args }) => {
    const file = args.string('file');
    const { toolstack } = m.host;
    const fd = open(file, 'r');
    let disks: DomainDisks | null = null;
    try {
      const image = new StreamReader((count) => {
        const bytes = new Uint8Array(count);
        let done = 0;
        for (let n = 1; done < count && n > 0; done += n) n = readSync(fd, bytes, done, count - done, null);
        return bytes.subarray(0, done);
      });
      const config = configOf(file, image.head());
      checkNewName(toolstack.privcmd, toolstack.xs, config.name);
      disks = await m.openDisks({ config, source: file });
      const hub = new ConsoleHub();
      const output = new ConsoleOutput(hub);
      const steps = toolstack.restore(config, file, image, output);
      for (let step = steps.next(); ; step = steps.next()) {
        if (step.done) {
          const live = step.value;
          m.adopt({ guest: { source: file, config, files: filesLater(config) }, live, hub, output, disks, startedNs: m.now });
          if (!args.flag('paused')) unpauseDomain(toolstack.privcmd, toolstack.xs, domid(live.domid));
          m.poke();
          return { domid: live.domid, name: config.name };
        }
        await turn();
      }
    } catch (e) {
      disks?.close();
      if (e instanceof StreamError) throw new ToolstackError(`${file}: ${e.message}`);
      if (e instanceof Error && 'syscall' in e) throw new UserError(`${file}: cannot be read: ${e.message}`);
      throw e;
    } finally {
      closeSync(fd);
    }
  },
};
