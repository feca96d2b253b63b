// What an overlay has taken of a disk: clusters of 4 KiB, each either the layer's or still the base's.

export const CLUSTER = 4096;

export interface OverlayLayer {
  readonly name: string;
  readonly canDiscard: boolean;
  has(cluster: number): boolean;
  /** Reads clusters that the layer has: `into` begins inside the first, `skip` bytes behind its start. */
  read(cluster: number, skip: number, into: Uint8Array): Promise<void> | void;
  /** Writes into clusters; the layer has them from then on. One that it had not is to be written whole. */
  write(cluster: number, skip: number, from: Uint8Array): Promise<void> | void;
  /** Whole clusters read as zeros from now on, and take as little room as can be. */
  zero(cluster: number, count: number): Promise<void> | void;
  /** What was written survives. */
  flush(): Promise<void> | void;
  close(): Promise<void> | void;
}
