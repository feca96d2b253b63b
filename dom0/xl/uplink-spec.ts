// What `--uplink` says: passt to be started, or a socket that speaks QEMU's stream framing.
//
//   --uplink=passt[,bridge=NAME][,args=ARGUMENTS]        ARGUMENTS: passt's own, separated by spaces (-t 8022:22)
//   --uplink=unix:PATH[,bridge=NAME][,server=on]
//   --uplink=tcp:HOST:PORT[,bridge=NAME][,server=on]     server=on: wait for the other end, QEMU's word for it
import { DEFAULT_BRIDGE } from '../switch/network.ts';
import { UserError } from './user-error.ts';

export type UplinkSpec = { readonly text: string; readonly bridge: string } & (
  | { readonly kind: 'passt'; readonly args: readonly string[] }
  | { readonly kind: 'unix'; readonly path: string; readonly isServer: boolean }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly isServer: boolean }
);

export function parseUplink(text: string): UplinkSpec {
  const fail = (why: string): never => {
    throw new UserError(`--uplink=${text}: ${why}`);
  };
  // passt's arguments have commas of their own, and come last.
  const [, settings, args] = /^(.*?)(?:,args=(.*))?$/s.exec(text)!;
  const [what = '', ...rest] = settings!.split(',');
  let bridge = DEFAULT_BRIDGE;
  let isServer = false;
  for (const setting of rest) {
    const [key, value] = setting.split('=', 2);
    if (key === 'bridge' && value) bridge = value;
    else if (key === 'server' && (value === 'on' || value === 'off') && what !== 'passt') isServer = value === 'on';
    else fail(`"${setting}" is no setting of it`);
  }
  const common = { text: what, bridge };
  if (what === 'passt') return { ...common, kind: 'passt', args: (args ?? '').split(/\s+/).filter((a) => a !== '') };
  if (args !== undefined) fail('args= goes with passt');
  const unix = /^unix:(.+)$/s.exec(what);
  if (unix !== null) return { ...common, kind: 'unix', path: unix[1]!, isServer };
  const tcp = /^tcp:(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(what);
  if (tcp !== null && Number(tcp[3]) <= 0xffff) return { ...common, kind: 'tcp', host: tcp[1] ?? tcp[2]!, port: Number(tcp[3]), isServer };
  return fail('there are passt, unix:PATH and tcp:HOST:PORT');
}
