// Compiles guest code in a worker thread (BackgroundCompiler). The worker is started with the first request: a short run never needs it.

import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { BackgroundCompiler, CompileRequest, CompileResult } from '@ringworld/hypervisor/machine';

/** What the worker is started with. */
export interface JitWorkerData {
  readonly port: MessagePort;
  /** Element 0 counts the results that were posted. */
  readonly posted: Int32Array;
}

/** Undefined where the command runs from its sources: the worker would need a loader of its own. */
export const backgroundCompiler = (): BackgroundCompiler | undefined =>
  import.meta.url.endsWith('.mjs') ? new WorkerCompiler() : undefined;

class WorkerCompiler implements BackgroundCompiler {
  private readonly posted = new Int32Array(new SharedArrayBuffer(4));
  private taken = 0;
  private port: MessagePort | undefined;

  submit(request: CompileRequest): void {
    this.port ??= this.start();
    this.port.postMessage(request);
  }

  get hasResults(): boolean {
    return Atomics.load(this.posted, 0) !== this.taken;
  }

  poll(): CompileResult | undefined {
    if (!this.hasResults || this.port === undefined) return undefined;
    const got: { message: CompileResult } | undefined = receiveMessageOnPort(this.port);
    if (got === undefined) return undefined;
    this.taken = (this.taken + 1) | 0;
    return got.message;
  }

  private start(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    const workerData: JitWorkerData = { port: port2, posted: this.posted };
    const worker = new Worker(new URL('./jit-worker.mjs', import.meta.url), { workerData, transferList: [port2] });
    // Neither keeps the command from ending.
    worker.unref();
    port1.unref();
    return port1;
  }
}
