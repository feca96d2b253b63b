// The worker thread of one uplink, which node-uplink.ts starts: reads the stream as it comes, while the machine is busy running guests.
import { workerData } from 'node:worker_threads';
import { openStream, type Stream } from './node-stream.ts';
import type { FromUplinkWorker, ToUplinkWorker, UplinkWorkerData } from './node-uplink.ts';

// SAFE: node-uplink.ts is the only one to start this.
const { port, spec } = workerData as UplinkWorkerData;
const say = (message: FromUplinkWorker): void => port.postMessage(message);

try {
  const stream: Stream = await openStream(spec, {
    arrived: (bytes) => say({ arrived: bytes }),
    sent: (count) => say({ sent: count }),
    ended: (reason) => say({ ended: reason }),
  });
  port.on('message', (message: ToUplinkWorker) => {
    if ('write' in message) stream.write(message.write);
    else if ('taken' in message) stream.taken(message.taken);
    else {
      stream.close();
      port.close();
    }
  });
  say({ opened: true });
} catch (e) {
  say({ failed: e instanceof Error ? e.message : String(e) });
  port.close();
}
