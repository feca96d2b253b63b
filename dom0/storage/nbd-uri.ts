// Where an NBD server is: URIs as NBD's uri.md and libnbd have them, and what xl's deprecated prefix `nbd:` (script=block-nbd) takes.
import { StoreError } from './block-store.ts';

export type NbdAddress = { readonly host: string; readonly port: number } | { readonly socket: string };

export interface NbdTarget {
  readonly address: NbdAddress;
  readonly exportName: string;
}

/** Assigned by IANA. */
const NBD_PORT = 10809;

export const isNbdUri = (target: string): boolean => /^nbds?(\+\w+)?:\/\//.test(target);

/** `nbd://HOST[:PORT]/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`. Throws StoreError. */
export function parseNbdUri(target: string): NbdTarget {
  const fail = (why: string): never => {
    throw new StoreError(`${target}: ${why}`);
  };
  const [, scheme = '', authority = '', path = '', query = ''] = /^([a-z+]+):\/\/([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(target) ?? [];
  const exportName = decodeURIComponent(path);
  if (scheme === 'nbd+unix') {
    const socket = new URLSearchParams(query).get('socket');
    if (authority !== '') fail('nbd+unix:// names no host: three slashes, the export, and ?socket=PATH');
    return { address: { socket: socket || fail('?socket=PATH is missing') }, exportName };
  }
  if (scheme === 'nbds' || scheme === 'nbds+unix') fail('NBD over TLS is not supported');
  if (scheme !== 'nbd') fail(`NBD over ${scheme} is not supported: there are nbd:// and nbd+unix://`);
  const [, v6, name, port] = /^(?:\[([^\]]+)\]|([^:@]+))(?::(\d+))?$/.exec(authority) ?? [];
  return { address: { host: v6 ?? name ?? fail('names no host'), port: portOf(port, fail) }, exportName };
}

/** `HOST:PORT` or `HOST PORT`, as nbd-client has them. Throws StoreError. */
export function parseNbdScriptTarget(target: string): NbdTarget {
  const fail = (why: string): never => {
    throw new StoreError(`${target}: ${why}`);
  };
  const [, host, port] = /^([^\s:]+)(?:[\s:]+(\d+))?$/.exec(target.trim()) ?? [];
  return { address: { host: host ?? fail('script block-nbd takes HOST:PORT'), port: portOf(port, fail) }, exportName: '' };
}

function portOf(text: string | undefined, fail: (why: string) => never): number {
  const port = text === undefined ? NBD_PORT : Number(text);
  return port > 0 && port < 65536 ? port : fail(`port ${text} is none`);
}
