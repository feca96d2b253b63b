// `ringworld demo`, which `npm start` runs: the two built-in guests, and what they did.
import { buildHello32, buildHello64 } from '@ringworld/guests';
import { NO_DEVICES } from '../toolstack/device-config.ts';
import type { DomainConfig } from '../toolstack/xlcfg.ts';
import { uuidOfName } from '../toolstack/xlcfg.ts';
import type { Guest } from './create-options.ts';
import { ConsoleOutput } from './output.ts';
import type { DomainReport, MachineReport } from './report.ts';
import { exitCode, Session } from './session.ts';
import { groups, table } from './tables.ts';
import { EXIT } from './user-error.ts';

const GUESTS = [
  { name: 'hello64', title: 'A 64-bit PV guest', build: buildHello64 },
  { name: 'hello32', title: 'A 32-bit PAE PV guest', build: buildHello32 },
] as const;

const MEMORY_MIB = 16;
const TIMEOUT_MS = 30_000;

export async function demo(_args: string[]): Promise<number> {
  let code: number = EXIT.ok;
  for (const g of GUESTS) {
    const start = performance.now();
    process.stdout.write(`\n${g.title} (${g.name}, ${MEMORY_MIB} MiB, 1 vCPU): its console\n\n`);
    const { domains, machine } = await boot(g.name, g.build());
    const [report] = domains;
    process.stdout.write(`\n${show(report!, { ...machine, hostMs: performance.now() - start })}`);
    code = Math.max(code, exitCode(domains));
  }
  process.stdout.write('\n"ringworld help" lists what else there is.\n');
  return code;
}

async function boot(name: string, kernel: Uint8Array) {
  const session = new Session({
    guests: [demoGuest(name, kernel)],
    cpus: 1,
    deadline: performance.now() + TIMEOUT_MS,
    pace: () => false,
    world: { canWake: () => false, wait: async () => {} },
    outputs: [new ConsoleOutput({ room: () => 4096, write: (bytes) => void process.stdout.write(Buffer.from(bytes)) }, '  | ')],
    log: null,
    note: (line) => void process.stderr.write(`ringworld: ${line}\n`),
  });
  return session.run();
}

/** A kernel as a PV domain, its settings those of an xl.cfg that says little. */
export function demoGuest(name: string, kernel: Uint8Array): Guest {
  const config: DomainConfig = {
    name,
    uuid: uuidOfName(name),
    type: 'pv',
    hvm: null,
    cpuProfile: null,
    hvmVendor: null,
    memoryMiB: MEMORY_MIB,
    maxMemoryMiB: MEMORY_MIB,
    vcpus: 1,
    maxVcpus: 1,
    cpuWeight: null,
    kernel: name,
    ramdisk: null,
    cmdline: '',
    onPoweroff: 'destroy',
    onReboot: 'destroy',
    onWatchdog: 'destroy',
    onCrash: 'destroy',
    onSoftReset: 'destroy',
    maxGrantFrames: null,
    maxMaptrackFrames: null,
    maxEventChannels: null,
    devices: NO_DEVICES,
  };
  return { source: name, config, files: { kernel: { file: name, bytes: kernel }, ramdisk: null } };
}

function show(d: DomainReport, machine: MachineReport): string {
  const indent = (text: string) => text.replace(/^(?=.)/gm, '  ');
  const rows = (counted: Readonly<Record<string, number>>) => Object.entries(counted).map(([name, n]): [string, number] => [name, n]);
  return [
    indent(table(['hypercall', 'count'], rows(d.hypercalls))),
    indent(table(['trap or emulation', 'count'], rows(d.traps))),
    indent(
      table(
        ['ended with', 'virtual cycles', 'virtual time', 'host time'],
        [
          [
            d.exitReason,
            groups(machine.virtualCycles),
            `${(machine.virtualSeconds * 1e3).toFixed(3)} ms`,
            `${machine.hostMs.toFixed(0)} ms`,
          ],
        ],
      ),
    ),
  ].join('\n');
}
