// The rings of introduced domains, reached as xenstored reaches them: the page by the grant that the toolstack reserved for it
// (GNTTAB_RESERVED_XENSTORE), the events by binding to the domain's unbound port.
import {
  DOMID_FIRST_RESERVED,
  domid,
  type EvtchnPort,
  evtchnPort,
  GNTTAB_RESERVED_XENSTORE,
  grantRef,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMINF_dying,
  XEN_DOMINF_shutdown,
  xen_domctl_getdomaininfo,
} from '@ringworld/abi';
import type { EventChannels } from '../kernel/evtchn.ts';
import { GrantError, type GrantTable } from '../kernel/gnttab.ts';
import { HypercallError } from '../kernel/hypercall.ts';
import type { Observer } from '../kernel/observe.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import type { Timers } from '../kernel/timers.ts';
import type { Connection } from './connection.ts';
import { XsError } from './errors.ts';
import { RingLink, RingTurns } from './ring-link.ts';
import { type DomainLinks, Xenstored } from './xenstored.ts';

/** What of dom0's kernel the daemon works with. */
export interface XenstoredKernel {
  readonly evtchn: EventChannels;
  readonly grants: GrantTable;
  readonly privcmd: Privcmd;
  readonly timers: Timers;
  readonly observer: Observer;
}

interface OpenRing {
  readonly link: RingLink;
  port: EvtchnPort | null;
  readonly unmap: () => void;
}

/** A daemon that serves domains' rings. */
export function startXenstored(kernel: XenstoredKernel): Xenstored {
  const { evtchn, grants, privcmd, timers, observer } = kernel;
  const open = new Map<Connection, OpenRing>();
  const turns = new RingTurns();

  const bind = (ring: OpenRing, connection: Connection, remotePort: number) => {
    const serve = () => turns.serve(ring.link);
    // Binding makes the channel pending at once: what was asked before is found then.
    ring.port = evtchn.bindInterdomain(domid(connection.domid), evtchnPort(remotePort), serve);
    daemon.setListener(connection, serve);
  };

  const links: DomainLinks = {
    open: (connection, remotePort) =>
      orXsError(() => {
        const mapping = grants.map(domid(connection.domid), [grantRef(GNTTAB_RESERVED_XENSTORE)]);
        const notify = () => {
          if (ring.port !== null) evtchn.notify(ring.port);
        };
        const ring: OpenRing = {
          link: new RingLink(mapping.page(0), connection, daemon, notify),
          port: null,
          unmap: () => mapping.unmap(),
        };
        try {
          bind(ring, connection, remotePort);
        } catch (e) {
          mapping.unmap();
          throw e;
        }
        open.set(connection, ring);
        ring.link.flush();
      }),
    reopen: (connection, remotePort) =>
      orXsError(() => {
        const ring = open.get(connection);
        if (ring === undefined) throw new XsError('EINVAL');
        if (ring.port !== null) evtchn.close(ring.port);
        ring.port = null;
        ring.link.start();
        bind(ring, connection, remotePort);
        ring.link.flush();
      }),
    close: (connection) => {
      const ring = open.get(connection);
      if (ring === undefined) return;
      open.delete(connection);
      turns.remove(ring.link);
      if (ring.port !== null) evtchn.close(ring.port);
      ring.unmap();
    },
    domainInfo: (id) => {
      // What is no domain's number cannot be asked for.
      if (id < 0 || id >= DOMID_FIRST_RESERVED) return null;
      try {
        const { domain, out } = privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, domid(id), xen_domctl_getdomaininfo, {});
        // Xen answers with the next domain where there is none of this number.
        if (domain !== id) return null;
        return { isShutdown: (out.flags & XEN_DOMINF_shutdown) !== 0, isDying: (out.flags & XEN_DOMINF_dying) !== 0 };
      } catch (e) {
        if (e instanceof HypercallError) return null;
        throw e;
      }
    },
  };
  const daemon: Xenstored = new Xenstored(links, { clock: timers, count: () => observer.count('xenstore_message') });
  return daemon;
}

/** A page or port that cannot be had is the domain's, or the caller's, mistake. */
function orXsError(act: () => void): void {
  try {
    act();
  } catch (e) {
    if (e instanceof GrantError || e instanceof HypercallError) throw new XsError('EINVAL');
    throw e;
  }
}
