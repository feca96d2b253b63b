// The commands that talk to a host: each is loaded when it is asked for.
import type { HostCommand, Usage } from './options.ts';

interface Loaded {
  readonly usage: Usage;
  readonly run: HostCommand;
}

const list = () => import('./list.ts');
const control = () => import('./control.ts');
const cpus = () => import('./cpus.ts');
const memory = () => import('./memory.ts');
const machine = () => import('./machine.ts');
const devices = () => import('./devices.ts');
const attach = () => import('./attach.ts');
const save = () => import('./save.ts');
const screen = () => import('./screen.ts');

export const HOST_COMMANDS: Readonly<Record<string, () => Promise<Loaded>>> = {
  list: async () => (await list()).list,
  'vm-list': async () => (await list()).vmList,
  domid: async () => (await list()).domid,
  domname: async () => (await list()).domname,
  uptime: async () => (await list()).uptime,
  console: async () => (await import('./console.ts')).console,
  destroy: async () => (await control()).destroy,
  pause: async () => (await control()).pause,
  unpause: async () => (await control()).unpause,
  rename: async () => (await control()).rename,
  'dump-core': async () => (await control()).dumpCore,
  shutdown: async () => (await control()).shutdown,
  reboot: async () => (await control()).reboot,
  sysrq: async () => (await control()).sysrq,
  trigger: async () => (await control()).trigger,
  'vcpu-list': async () => (await cpus()).vcpuList,
  'vcpu-set': async () => (await cpus()).vcpuSet,
  'vcpu-pin': async () => (await cpus()).vcpuPin,
  'sched-credit': async () => (await cpus()).schedCredit,
  'mem-set': async () => (await memory()).memSet,
  'mem-max': async () => (await memory()).memMax,
  info: async () => (await machine()).info,
  dmesg: async () => (await machine()).dmesg,
  top: async () => (await import('./top.ts')).top,
  'block-attach': async () => (await attach()).blockAttach,
  'block-list': async () => (await devices()).blockList,
  'block-detach': async () => (await devices()).blockDetach,
  'network-attach': async () => (await attach()).networkAttach,
  'network-list': async () => (await devices()).networkList,
  'network-detach': async () => (await devices()).networkDetach,
  net: async () => (await import('./net.ts')).net,
  trace: async () => (await import('./trace.ts')).trace,
  dump: async () => (await import('./trace.ts')).dump,
  xenstore: async () => (await import('./xenstore.ts')).xenstore,
  save: async () => (await save()).save,
  restore: async () => (await save()).restore,
  screenshot: async () => (await screen()).screenshot,
  'send-key': async () => (await screen()).sendKey,
};

/** Runs one of them; the text of -h goes to standard output. */
export async function runHostCommand(name: string, args: string[]): Promise<number> {
  const { ENVIRONMENT, HelpAsked } = await import('./options.ts');
  const { run } = await HOST_COMMANDS[name]!();
  try {
    return await run(args, ENVIRONMENT);
  } catch (e) {
    if (!(e instanceof HelpAsked)) throw e;
    ENVIRONMENT.out(e.message);
    return 0;
  }
}
