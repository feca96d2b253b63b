// What the host does for each call on a domain or on the machine. Each handler runs between two slices of the machine's time.
import { type Domid, domid } from '@ringworld/abi';
import { HypercallError } from '../kernel/hypercall.ts';
import { setMaxMemory, setMemoryTarget } from '../toolstack/balloon.ts';
import {
  creditOf,
  pauseDomain,
  pinVcpu,
  pvControl,
  sendSysrq,
  sendTrigger,
  setCredit,
  setVcpus,
  ToolstackError,
  unpauseDomain,
} from '../toolstack/control.ts';
import { type DomainInfo, domainByQualifier, listDomains, listVcpus } from '../toolstack/domain-info.ts';
import { machineInfo, readXenConsole } from '../toolstack/machine-info.ts';
import type { Args } from './host-args.ts';
import type { CallName, DomainStatus, HostCalls } from './host-calls.ts';
import { channelCall } from './host-handlers-channels.ts';
import { deviceHandlers } from './host-handlers-devices.ts';
import { netHandlers } from './host-handlers-net.ts';
import { saveHandlers } from './host-handlers-save.ts';
import { screenHandlers } from './host-handlers-screens.ts';
import { traceHandlers } from './host-handlers-trace.ts';
import { xenstoreHandlers } from './host-handlers-xenstore.ts';
import type { HostMachine, Resident } from './host-machine.ts';
import { UserError, XlError } from './user-error.ts';

/** A call that has come: its arguments, and the way back. */
export interface Call {
  readonly args: Args;
  /** Sends something before the reply. */
  emit(value: unknown): void;
  /** How much may be sent without piling up. */
  room(): number;
  /** What the client sends to this call from now on. */
  onInput(handler: (bytes: Uint8Array) => void): void;
  /** Asks the client to wait with more input, until the returned function is called. */
  holdInput(): () => void;
  /** The client took the call back, or is gone. */
  onCancel(handler: () => void): void;
}

export type Handler<K extends CallName> = (m: HostMachine, call: Call) => HostCalls[K]['reply'] | Promise<HostCalls[K]['reply']>;
export type Handlers<K extends CallName> = { readonly [N in K]: Handler<N> };

/** The domain that the argument `domain` names. */
export function domainOf(m: HostMachine, args: Args): DomainInfo {
  const text = args.string('domain');
  const { privcmd, xs } = m.host.toolstack;
  const found = domainByQualifier(privcmd, xs, text);
  // ERROR_INVAL of libxl.
  if (found === null) throw new XlError(`${text} is an invalid domain identifier (rc=-6)`);
  return found;
}

/** The same, and it must be a guest. */
export function guestOf(m: HostMachine, args: Args): DomainInfo & { readonly domid: Domid } {
  const info = domainOf(m, args);
  if (info.domid === 0) throw new UserError(`domain 0 is the machine's own: it cannot be changed, and ends with the host`);
  return { ...info, domid: domid(info.domid) };
}

export function residentOf(m: HostMachine, args: Args): Resident {
  const { domid: dom, name } = guestOf(m, args);
  const resident = m.residents.get(dom);
  if (resident === undefined) throw new UserError(`${name} (domain ${dom}) is dying`);
  return resident;
}

/** Xen's refusals are the user's to know. */
export function attempt<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (e) {
    if (e instanceof HypercallError) throw new ToolstackError(`${what}: ${e.message}`);
    throw e;
  }
}

const status = (m: HostMachine, d: DomainInfo): DomainStatus => ({
  ...d,
  uptime: (m.now - (m.residents.get(d.domid)?.startedNs ?? 0)) / 1e9,
});

/** Typed bytes that the guest has not taken: with more than this the terminal is asked to wait. */
const TYPE_AHEAD = 64 * 1024;
const LOOK_AGAIN_MS = 20;

const consoleCall: Handler<'console'> = (m, call) => {
  const num = call.args.integerOrNull('num') ?? 0;
  if (num !== 0) return channelCall(m, call, num);
  const resident = residentOf(m, call.args);
  return new Promise((done) => {
    const detach = resident.hub.attach({ room: () => call.room(), write: (bytes) => call.emit(bytes) });
    const listener = () => {
      // Gone without a successor.
      if (![...m.residents.values()].some((r) => r.hub === resident.hub)) end();
    };
    const end = () => {
      m.listeners.delete(listener);
      detach();
      done(null);
    };
    m.listeners.add(listener);
    call.onCancel(end);
    call.onInput((bytes) => {
      const { console } = resident.live;
      if (resident.live.shutdown !== null) return;
      console.type(bytes);
      m.poke();
      if (console.backlog <= TYPE_AHEAD) return;
      const release = call.holdInput();
      const look = () => {
        if (resident.live.shutdown === null && resident.live.console.backlog > TYPE_AHEAD) setTimeout(look, LOOK_AGAIN_MS);
        else release();
      };
      setTimeout(look, LOOK_AGAIN_MS);
    });
  });
};

const waitForEnd: Handler<'waitForEnd'> = (m, call) => {
  const dom = call.args.integer('domid');
  const resident = m.residents.get(dom);
  if (resident === undefined) return { reason: null };
  let reason = resident.live.shutdown?.code ?? null;
  const { live } = resident;
  return new Promise((done) => {
    const look = () => {
      reason = live.shutdown?.code ?? reason;
      const isKept = live.shutdown !== null && m.residents.get(dom)?.live === live;
      if (m.residents.get(dom)?.live === live && !isKept) return;
      m.listeners.delete(listener);
      done({ reason });
    };
    // After what the event leads to: a domain that is to be destroyed is gone then.
    const listener = () => void setImmediate(look);
    m.listeners.add(listener);
    call.onCancel(() => void m.listeners.delete(listener));
    look();
  });
};

const domainHandlers: Handlers<
  | ('list' | 'domid' | 'config' | 'create' | 'destroy' | 'pause' | 'unpause' | 'rename' | 'control' | 'waitForEnd' | 'console')
  | ('sysrq' | 'trigger' | 'setMemory' | 'setVcpus' | 'vcpus' | 'pin' | 'credit' | 'setCredit')
> = {
  list: (m, { args }) => {
    const { privcmd, xs } = m.host.toolstack;
    const one = args.stringOrNull('domain');
    return (one === null ? listDomains(privcmd, xs) : [domainOf(m, args)]).map((d) => status(m, d));
  },
  domid: (m, { args }) => {
    const { domid: id, name } = domainOf(m, args);
    return { domid: id, name };
  },
  config: (m, { args }) => m.residents.get(args.integer('domid'))?.guest.config ?? null,
  create: async (m, { args }) => ({ domid: (await m.create(args.guest('guest'), args.flag('paused'))).live.domid }),
  destroy: (m, { args }) => {
    if (domainOf(m, args).domid === 0)
      throw new XlError(
        'Not destroying domain 0; use -f to force.\nThis can only be done when using a disaggregated hardware domain and toolstack.\n',
      );
    m.destroy(residentOf(m, args));
    return null;
  },
  pause: (m, { args }) => {
    const { privcmd, xs } = m.host.toolstack;
    pauseDomain(privcmd, xs, guestOf(m, args).domid);
    return null;
  },
  unpause: (m, { args }) => {
    const { privcmd, xs } = m.host.toolstack;
    unpauseDomain(privcmd, xs, guestOf(m, args).domid);
    return null;
  },
  rename: (m, { args }) => {
    m.rename(residentOf(m, args), args.string('name'));
    return null;
  },
  control: (m, { args }) => {
    pvControl(m.host.toolstack.xs, guestOf(m, args).domid, args.oneOf('request', ['poweroff', 'reboot', 'suspend']));
    return null;
  },
  waitForEnd,
  console: consoleCall,
  sysrq: (m, { args }) => {
    sendSysrq(m.host.toolstack.xs, guestOf(m, args).domid, args.string('letter'));
    return null;
  },
  trigger: (m, { args }) => {
    const dom = guestOf(m, args).domid;
    attempt('trigger', () => sendTrigger(m.host.toolstack.privcmd, dom, args.integer('trigger'), args.integer('vcpu')));
    return null;
  },
  setMemory: (m, { args }) => {
    const { privcmd, xs } = m.host.toolstack;
    const set = args.flag('limit') ? setMaxMemory : setMemoryTarget;
    set(privcmd, xs, guestOf(m, args).domid, args.integer('kb'));
    return null;
  },
  setVcpus: (m, { args }) => {
    const { privcmd, xs } = m.host.toolstack;
    const info = guestOf(m, args);
    const count = args.integer('count');
    const { cpus } = machineInfo(privcmd);
    if (args.flag('checkHost') && count > info.vcpusOnline && count > cpus)
      throw new XlError(
        `You are overcommmitting! You have ${cpus} physical CPUs and want ${count} vCPUs! Aborting, use --ignore-host to continue`,
      );
    setVcpus(privcmd, xs, info.domid, count);
    return null;
  },
  vcpus: (m, { args }) => {
    const { privcmd } = m.host.toolstack;
    const info = domainOf(m, args);
    const { cpus } = machineInfo(privcmd);
    return { domid: info.domid, name: info.name, vcpus: listVcpus(privcmd, domid(info.domid), cpus), cpus };
  },
  pin: (m, { args }) => {
    const { privcmd } = m.host.toolstack;
    const info = guestOf(m, args);
    const which = args.integerOrNull('vcpu');
    const cpus = args.integers('cpus');
    const { cpus: count } = machineInfo(privcmd);
    const vcpus = which === null ? Array.from({ length: info.vcpuMaxId + 1 }, (_, i) => i) : [which];
    for (const vcpu of vcpus) attempt(`Could not set affinity for vcpu \`${vcpu}'.`, () => pinVcpu(privcmd, info.domid, vcpu, cpus, count));
    return null;
  },
  credit: (m, { args }) => creditOf(m.host.toolstack.privcmd, domid(domainOf(m, args).domid)),
  setCredit: (m, { args }) => {
    const dom = guestOf(m, args).domid;
    const { privcmd } = m.host.toolstack;
    attempt('libxl_domain_sched_params_set failed.', () =>
      setCredit(privcmd, dom, args.integerOrNull('weight'), args.integerOrNull('cap')),
    );
    return null;
  },
};

const machineHandlers: Handlers<'info' | 'dmesg' | 'stop'> = {
  info: (m) => ({
    ...machineInfo(m.host.toolstack.privcmd),
    uptime: m.now / 1e9,
    wallclock: m.host.hv.wallclock.sec + m.now / 1e9,
  }),
  dmesg: (m, { args }) => readXenConsole(m.host.toolstack.privcmd, args.flag('clear')),
  stop: (m) => {
    m.stop();
    return null;
  },
};

export const HANDLERS = {
  ...domainHandlers,
  ...machineHandlers,
  ...deviceHandlers,
  ...netHandlers,
  ...saveHandlers,
  ...screenHandlers,
  ...traceHandlers,
  ...xenstoreHandlers,
} satisfies Handlers<CallName>;
