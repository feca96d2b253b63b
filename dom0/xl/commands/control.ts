// Commands that do something to a domain as a whole: destroy, pause, unpause, rename, dump-core, shutdown, reboot, sysrq, trigger
// (tools/xl/xl_vmcontrol.c, xl_misc.c).
import { resolve } from 'node:path';
import {
  XEN_DOMCTL_SENDTRIGGER_INIT,
  XEN_DOMCTL_SENDTRIGGER_NMI,
  XEN_DOMCTL_SENDTRIGGER_POWER,
  XEN_DOMCTL_SENDTRIGGER_RESET,
  XEN_DOMCTL_SENDTRIGGER_SLEEP,
} from '@ringworld/abi';
import type { HostClient } from '../host-client.ts';
import { XlError } from '../user-error.ts';
import { command, type Environment, type Parsed, parseOptions, type Usage, usageText } from './options.ts';

export const destroy = command(
  {
    name: 'destroy',
    synopsis: '[options] <Domain>',
    about: 'Terminate a domain immediately.',
    options: { f: { text: 'Permit destroying domain 0, which will only succeed where domain 0 is not the machine' } },
    needs: 1,
    most: 1,
  },
  async (host, { rest }) => {
    await host.call('destroy', { domain: rest[0]! });
    return 0;
  },
);

export const pause = command(
  { name: 'pause', synopsis: '<Domain>', about: 'Pause execution of a domain.', needs: 1, most: 1 },
  async (host, { rest }) => {
    await host.call('pause', { domain: rest[0]! });
    return 0;
  },
);

export const unpause = command(
  { name: 'unpause', synopsis: '<Domain>', about: 'Unpause a paused domain.', needs: 1, most: 1 },
  async (host, { rest }) => {
    await host.call('unpause', { domain: rest[0]! });
    return 0;
  },
);

export const rename = command(
  { name: 'rename', synopsis: '<Domain> <NewDomainName>', about: 'Rename a domain.', needs: 2, most: 2 },
  async (host, { rest }) => {
    await host.call('rename', { domain: rest[0]!, name: rest[1]! });
    return 0;
  },
);

export const dumpCore = command(
  {
    name: 'dump-core',
    synopsis: '<Domain> <filename>',
    about: "Core dump a domain: its memory and registers of one moment, in Xen's ELF format. The domain goes on afterwards.",
    needs: 2,
    most: 2,
  },
  async (host, { rest }) => {
    await host.call('dumpCore', { domain: rest[0]!, file: resolve(rest[1]!) });
    return 0;
  },
);

const OPTIONS: Usage['options'] = {
  a: { text: '', long: 'all' },
  w: { text: '', long: 'wait' },
  F: { text: 'Fallback to ACPI events for HVM guests with no PV drivers: there are none, so nothing follows from it' },
};

function end(what: 'shutdown' | 'reboot', about: string, doing: string) {
  const past = what === 'shutdown' ? 'Shutdown' : 'Reboot';
  const usage: Usage = {
    name: what,
    synopsis: '[options] <-a|Domain>',
    about,
    options: {
      ...OPTIONS,
      a: { text: `${past} all guest domains`, long: 'all' },
      w: { text: `Wait for guest(s) to ${what}`, long: 'wait' },
    },
  };
  return command(usage, (host, parsed, env) => run(host, parsed, env));

  async function run(host: HostClient, { flags, rest }: Parsed, env: Environment): Promise<number> {
    if (rest.length === 0 && !flags.has('a')) throw new XlError('You must specify -a or a domain id.\n');
    const chosen = flags.has('a')
      ? (await host.call('list', {})).filter((d) => d.domid !== 0).map((d) => d.domid)
      : [(await host.call('domid', { domain: rest[0]! })).domid];
    const deaths: Promise<{ domid: number; reason: number | null }>[] = [];
    for (const domid of chosen) {
      env.err(`${doing} domain ${domid}\n`);
      if (flags.has('w')) deaths.push(host.call('waitForEnd', { domid }).then(({ reason }) => ({ domid, reason })));
      await host.call('control', { domain: String(domid), request: what === 'shutdown' ? 'poweroff' : 'reboot' });
    }
    if (!flags.has('w')) return 0;
    env.err(`Waiting for ${deaths.length} domains\n`);
    // In the order in which they end.
    await Promise.all(
      deaths.map(async (death) => {
        const { domid, reason } = await death;
        if (reason === null) env.err(`Domain ${domid} has been destroyed\n`);
        else env.err(`Domain ${domid} has been shut down, reason code ${reason}\n`);
      }),
    );
    return 0;
  }
}

export const shutdown = end('shutdown', 'Issue a shutdown signal to a domain.', 'Shutting down');
export const reboot = end('reboot', 'Issue a reboot signal to a domain.', 'Rebooting');

const SYSRQ: Usage = { name: 'sysrq', synopsis: '<Domain> <letter>', about: 'Send a sysrq to a domain.', needs: 2, most: 2 };
export const sysrq = {
  usage: SYSRQ,
  run: async (args: string[], env: Environment) => {
    const { rest } = parseOptions(SYSRQ, args);
    if (rest[1]!.length !== 1) throw new XlError(`Invalid sysrq.\n\n${usageText(SYSRQ)}`.trimEnd());
    return command(SYSRQ, async (host) => {
      await host.call('sysrq', { domain: rest[0]!, letter: rest[1]! });
      return 0;
    }).run(args, env);
  },
};

const TRIGGERS: Readonly<Record<string, number>> = {
  nmi: XEN_DOMCTL_SENDTRIGGER_NMI,
  reset: XEN_DOMCTL_SENDTRIGGER_RESET,
  init: XEN_DOMCTL_SENDTRIGGER_INIT,
  power: XEN_DOMCTL_SENDTRIGGER_POWER,
  sleep: XEN_DOMCTL_SENDTRIGGER_SLEEP,
};

export const trigger = command(
  {
    name: 'trigger',
    synopsis: '<Domain> <nmi|reset|init|power|sleep> [<VCPU>]',
    about: 'Send a trigger to a domain. A PV domain has NMIs only.',
    needs: 2,
    most: 3,
  },
  async (host, { rest }, env) => {
    const [domain, name, vcpuText] = rest as [string, string, string | undefined];
    await host.call('domid', { domain });
    const which = Object.hasOwn(TRIGGERS, name) ? TRIGGERS[name] : undefined;
    if (which === undefined) throw new XlError(`Invalid trigger "${name}"`);
    let vcpu = 0;
    if (vcpuText !== undefined) {
      if (/^\d+$/.test(vcpuText)) vcpu = Number(vcpuText);
      else env.err('Invalid vcpuid, using default vcpuid=0.\n\n');
    }
    await host.call('trigger', { domain, trigger: which, vcpu });
    return 0;
  },
);
