// Compiling beside the guest: what is sent to another thread, and what it does with it. Where compiled code appears some time later has no
// effect that a guest could see; when it comes is the host's affair.

import { compileRegions } from '../handlers.ts';
import type { FuncBody } from '../wasm.ts';
import { emitRegion } from './emit.ts';
import { ImagePage, type PageImage } from './page-image.ts';
import { collectRegion } from './region.ts';

/** Plain data: it is copied to the thread. */
export interface CompileRequest {
  readonly id: number;
  readonly pages: readonly PageImage[];
  /** The blocks that regions are to begin at: index of the page, page offset. */
  readonly heads: readonly (readonly [page: number, offset: number])[];
  /** Handlers.endsBlock. */
  readonly endsBlock: Uint8Array;
  /** Features of the CPU. */
  readonly features: readonly string[];
}

export interface CompileResult {
  readonly id: number;
  readonly module: WebAssembly.Module;
  /** Of the request's heads, those that became functions, in the order of the module's. */
  readonly done: readonly number[];
  readonly instructions: number;
  readonly bytes: number;
  /** Host time that it took. */
  readonly ms: number;
}

/** Somewhere to compile while the guest goes on. */
export interface BackgroundCompiler {
  submit(request: CompileRequest): void;
  /** Whether poll() may have something; cheap. */
  readonly hasResults: boolean;
  poll(): CompileResult | undefined;
}

/** The thread's work. */
export function serveCompileRequest(request: CompileRequest): CompileResult {
  const began = performance.now();
  const features = new Set(request.features);
  const has = (name: string): boolean => features.has(name);
  const pages = request.pages.map((p) => new ImagePage(p, request.endsBlock, has));
  const bodies: FuncBody[] = [];
  const done: number[] = [];
  let instructions = 0;
  let bytes = 0;
  request.heads.forEach(([page, offset], i) => {
    const region = collectRegion(pages[page]!, offset);
    if (!region) return;
    const body = emitRegion(region);
    for (const b of region.blocks) instructions += b.insns.length;
    bytes += body.code.length;
    bodies.push(body);
    done.push(i);
  });
  return { id: request.id, module: compileRegions(bodies), done, instructions, bytes, ms: performance.now() - began };
}
