// Which disk a guest seems to have: the latency models by name.
import type { LatencyModel } from './block-store.ts';
import { HddModel } from './latency-hdd.ts';
import { NvmeModel } from './latency-nvme.ts';

/** A figure of a model and where it is from. 'derived' says how. */
export interface Figure {
  readonly value: number;
  readonly source: string;
}

const NOTHING = 0;

/** No time at all: what a request costs is then only the work of the two ends. */
export const idealLatency = (): LatencyModel => ({
  name: 'ideal',
  read: () => NOTHING,
  write: () => NOTHING,
  flush: () => NOTHING,
  discard: () => NOTHING,
});

const MODELS: Readonly<Record<string, (sectors: number) => LatencyModel>> = {
  ideal: idealLatency,
  nvme: () => new NvmeModel(),
  hdd: (sectors) => new HddModel(sectors),
};

export const LATENCY_MODELS: readonly string[] = Object.keys(MODELS);

/** A fresh disk of that model, as large as `sectors`; null when there is no such model. */
export function latencyModel(name: string, sectors: number): LatencyModel | null {
  return Object.hasOwn(MODELS, name) ? MODELS[name]!(sectors) : null;
}
