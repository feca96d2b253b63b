// The rings of introduced domains, reached as xenstored reaches them: the page by the grant that the toolstack reserved for it
// (GNTTAB_RESERVED_XENSTORE), the events by binding to the domain's unbound port.
import { domid, type EvtchnPort, evtchnPort, GNTTAB_RESERVED_XENSTORE, grantRef } from '@ringworld/abi';
import type { EventChannels } from '../kernel/evtchn.ts';
import type { GrantTable } from '../kernel/gnttab.ts';
import type { Connection } from './connection.ts';
import { RingLink } from './ring-link.ts';
import { type DomainLinks, Xenstored } from './xenstored.ts';

/** A daemon that serves domains' rings. */
export function startXenstored(evtchn: EventChannels, grants: GrantTable): Xenstored {
  const open = new Map<Connection, () => void>();
  const links: DomainLinks = {
    open: (connection, remotePort) => {
      const dom = domid(connection.domid);
      const mapping = grants.map(dom, [grantRef(GNTTAB_RESERVED_XENSTORE)]);
      let port: EvtchnPort | null = null;
      const link = new RingLink(
        mapping.page(0),
        connection,
        (m) => daemon.handle(connection, m),
        () => {
          if (port !== null) evtchn.notify(port);
        },
      );
      const serve = () => link.serve();
      // Binding makes the channel pending at once: requests that were written before are found then.
      port = evtchn.bindInterdomain(dom, evtchnPort(remotePort), serve);
      const bound = port;
      daemon.setListener(connection, serve);
      open.set(connection, () => {
        evtchn.close(bound);
        mapping.unmap();
      });
    },
    close: (connection) => {
      open.get(connection)?.();
      open.delete(connection);
    },
  };
  const daemon: Xenstored = new Xenstored(links);
  return daemon;
}
