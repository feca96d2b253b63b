// The worker thread that node-jit.ts starts: compiles what it is sent, in order.

import { workerData } from 'node:worker_threads';
import { type CompileRequest, serveCompileRequest } from '@ringworld/hypervisor/machine';
import type { JitWorkerData } from './node-jit.ts';

// SAFE: node-jit.ts is the only one to start this.
const { port, posted } = workerData as JitWorkerData;
port.on('message', (request: CompileRequest) => {
  port.postMessage(serveCompileRequest(request));
  Atomics.add(posted, 0, 1);
});
