// What a block backend sees of storage: 512-byte sectors that are read, written, flushed and discarded. What lies behind (a raw file, an
// overlay in memory, an NBD server) is the store's business, and so is how long its model says that an operation takes.

/**
 * How long operations take: an operation that is handed over at system time `now` is over that many ns later. A model remembers what it was
 * given, since a disk with one arm does one thing after another; so each operation is to be asked about once, when it is started.
 */
export interface LatencyModel {
  /** 'ideal', 'nvme', 'hdd'. */
  readonly name: string;
  read(now: number, sector: number, bytes: number): number;
  write(now: number, sector: number, bytes: number): number;
  flush(now: number): number;
  discard(now: number, sector: number, bytes: number): number;
}

/**
 * Whoever calls has checked that sectors lie inside the store, and passes whole sectors. Operations may overlap; a write that was called
 * before a flush and is over when flush() is called is covered by it. An error of the host's is thrown or rejected, and fails that operation only.
 */
export interface BlockStore {
  /** Of 512 bytes each. */
  readonly sectors: number;
  /** What the medium writes at once, in bytes: 512 or a larger power of two. */
  readonly sectorSize: number;
  readonly isReadonly: boolean;
  readonly canDiscard: boolean;
  /** In bytes; smaller or unaligned pieces of a discard may have no effect. */
  readonly discardGranularity: number;
  /** Is a secure discard more than a discard? Implies canDiscard. */
  readonly canDiscardSecurely: boolean;
  readonly latency: LatencyModel;
  /** `into` belongs to the store until the read is over. */
  read(sector: number, into: Uint8Array): Promise<void> | void;
  /** `from` belongs to the store, unchanged, until the write is over. */
  write(sector: number, from: Uint8Array): Promise<void> | void;
  flush(): Promise<void> | void;
  discard(sector: number, count: number, secure: boolean): Promise<void> | void;
  /** Called after `sectors` has changed. */
  onResize: ((sectors: number) => void) | null;
  close(): Promise<void> | void;
}

/** What the backend's directory says about the storage of a device (libxl's nodes). */
export interface BackendParams {
  /** 'raw', 'qcow2', 'vhd', 'vmdk', 'qed', 'empty', ... */
  readonly format: string;
  /** As the user wrote it after target=. */
  readonly target: string;
  readonly mode: 'r' | 'w';
  /** 'phy', 'qdisk', 'tap', ... */
  readonly backendtype: string;
  readonly isCdrom: boolean;
  /** May O_DIRECT be used (direct-io-safe)? */
  readonly isDirectIoSafe: boolean;
  /** `script=`, or what a deprecated prefix such as `nbd:` stands for. */
  readonly script: string | null;
  /** `overlay=`, a key of ours: 'memory', or the file that takes what the guest writes; the target is then only read. */
  readonly overlay: string | null;
  /** `model=`, a key of ours: the latency model's name. */
  readonly model: string | null;
}

/**
 * Opens something that was prepared before, synchronously. Throws StoreError when it cannot be opened: the device then fails, with the
 * error in its error node.
 */
export type OpenStore = (params: BackendParams) => BlockStore;

/** Storage that cannot be opened: the user's mistake or the host's. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
}
