// The machine's network, looked at from outside: its bridges, and captures that go to whoever asked.
import { formatAddress } from '../switch/fdb.ts';
import type { Handlers } from './host-handlers.ts';

export const netHandlers: Handlers<'netList' | 'netCapture'> = {
  netList: (m) =>
    m.host.network.list().map((bridge) => {
      const { ports } = bridge;
      return {
        name: bridge.name,
        ports: ports.map((p) => ({
          name: p.name,
          ...p.stats,
          addresses: bridge.fdb
            .list(m.now)
            .filter((e) => e.port === p.number)
            .map((e) => formatAddress(e.address)),
        })),
      };
    }),
  /** Until it is taken back; what the client has no room for is left out, whole packets at a time, and counted. */
  netCapture: (m, call) =>
    new Promise((done) => {
      const capture = m.net.capture(
        call.args.stringOrNull('target'),
        (bytes) => call.emit(bytes),
        () => call.room(),
      );
      call.onCancel(() => {
        capture.stop();
        done({ packets: capture.packets, dropped: capture.dropped });
      });
    }),
};
