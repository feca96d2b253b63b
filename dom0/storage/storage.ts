// The disks of a machine: opened before the domains that use them are built, so that a mistake is an answer and not a guest that waits for its
// root, and handed to the backend when it asks. What was prepared stays open while somebody holds it (a domain through all its restarts, a
// hot plug until the unplug) or a backend has it; then it is flushed and closed.
//
//   const held = await storage.prepare(params);    // rejects with StoreError
//   ... the device is written into XenStore; the backend calls storage.open(params) ...
//   held.release();                                // the device is gone for good
//   await storage.closeAll();                      // at the end: all is flushed and closed
import { type BackendParams, type BlockStore, type LatencyModel, type OpenStore, StoreError } from './block-store.ts';
import type { ByteChannel } from './byte-channel.ts';
import { EmptyStore } from './empty-store.ts';
import type { HostFile } from './host-file.ts';
import { LATENCY_MODELS, latencyModel } from './latency.ts';
import { NbdStore } from './nbd-store.ts';
import { isNbdUri, type NbdAddress, parseNbdScriptTarget, parseNbdUri } from './nbd-uri.ts';
import { FileLayer } from './overlay-file.ts';
import { MemoryLayer } from './overlay-memory.ts';
import { OverlayStore } from './overlay-store.ts';
import { RawStore } from './raw-store.ts';
import { StoreHandle } from './store-handle.ts';

/** What of the host storage needs (xl/node-storage.ts). Everything rejects with a StoreError or an Error whose message says the cause. */
export interface StorageHost {
  openFile(name: string, options: { readonly: boolean; create?: boolean; role: string }): Promise<HostFile>;
  connect(address: NbdAddress): Promise<ByteChannel>;
  /** An image of a format that somebody else knows, served over NBD; `ended` resolves when it has been let go of. */
  serveImage(
    file: string,
    format: string,
    readonly: boolean,
  ): Promise<{ channel: ByteChannel; ended(): Promise<void>; complaint(): Promise<string> }>;
  wait(ms: number): Promise<void>;
}

export interface StorageOptions {
  /** Of disks whose setting has no model=. */
  readonly model: string;
  /** Nothing is written: disks that could be get an overlay in memory, for each machine of its own (copies()). */
  readonly isDiscarded?: boolean;
}

/** Somebody needs a disk. */
export interface Held {
  release(): void;
}

interface Disk {
  readonly key: string;
  readonly store: BlockStore;
  /** Files that are open, by their identities: 'w' where we write. */
  readonly claims: readonly Claim[];
  holders: number;
  readonly handles: Set<StoreHandle>;
}

interface Claim {
  readonly identity: string;
  readonly name: string;
  readonly mode: 'r' | 'w';
}

const keyOf = (p: BackendParams): string => JSON.stringify([p.format, p.target, p.mode, p.script, p.overlay, p.model]);

export class Storage {
  private readonly host: StorageHost;
  private readonly options: StorageOptions;
  private readonly disks = new Map<string, Disk>();
  private readonly closing = new Map<string, Promise<void>>();
  private readonly failures: Error[] = [];
  private readonly discarded = new Map<string, BlockStore>();
  /** One at a time: two that are opened at once must see each other's claims. */
  private last: Promise<unknown> = Promise.resolve();

  /** Throws StoreError. */
  constructor(host: StorageHost, options: StorageOptions) {
    this.host = host;
    this.options = options;
    checkModel(options.model);
  }

  /** Opens what a disk setting names. Rejects with StoreError, whose message names the target and the cause. */
  prepare(params: BackendParams): Promise<Held> {
    const run = this.last.then(() => this.prepareNow(params));
    this.last = run.catch(() => {});
    return run;
  }

  /** All of them or none. */
  async prepareAll(params: readonly BackendParams[]): Promise<Held> {
    const held: Held[] = [];
    const release = () => {
      for (const h of held.splice(0)) h.release();
    };
    try {
      for (const p of params) held.push(await this.prepare(p));
    } catch (e) {
      release();
      throw e;
    }
    return { release };
  }

  /** For the backend. */
  readonly open: OpenStore = (params) => this.openFor(params, this.discarded);

  /** For the backend of one of several machines that are not to see what the others write: with isDiscarded only. */
  copies(): OpenStore {
    const discarded = new Map<string, BlockStore>();
    return (params) => this.openFor(params, discarded);
  }

  /** Looks again how large the file behind a target is: disks in use that are raw images of it are resized. */
  async refresh(target: string): Promise<void> {
    for (const disk of this.disks.values()) {
      const [, of] = JSON.parse(disk.key) as string[];
      if (of === target && disk.store instanceof RawStore) await disk.store.refresh();
    }
  }

  /** Closes everything, waiting for what is in flight. Rejects with the first failure; the others are closed all the same. */
  async closeAll(): Promise<void> {
    await this.last;
    for (const disk of [...this.disks.values()]) {
      disk.holders = 0;
      disk.handles.clear();
      void this.closeIfUnused(disk);
    }
    await Promise.all(this.closing.values());
    const [first] = this.failures.splice(0);
    if (first !== undefined) throw first;
  }

  private openFor(params: BackendParams, discarded: Map<string, BlockStore>): StoreHandle {
    const key = keyOf(params);
    const disk = this.disks.get(key);
    if (disk === undefined) throw new StoreError(`${params.target}: nobody has prepared this disk`);
    let { store } = disk;
    if (this.options.isDiscarded === true && params.mode === 'w') {
      const model = latencyModel(store.latency.name, store.sectors)!;
      store = discarded.get(key) ?? new OverlayStore(store, new MemoryLayer(), false, model);
      discarded.set(key, store);
    }
    const handle = new StoreHandle(store, () => {
      disk.handles.delete(handle);
      return this.closeIfUnused(disk);
    });
    disk.handles.add(handle);
    return handle;
  }

  private async prepareNow(params: BackendParams): Promise<Held> {
    const key = keyOf(params);
    // The same disk may just be closing.
    await Promise.all(this.closing.values());
    let disk = this.disks.get(key);
    if (disk === undefined) {
      disk = await this.openDisk(key, params);
      this.disks.set(key, disk);
    } else if (disk.claims.some((c) => c.mode === 'w')) throw inUse(disk.claims.find((c) => c.mode === 'w')!);
    disk.holders++;
    const mine = disk;
    let isHeld = true;
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      // After closeAll() nobody counts any more.
      mine.holders = Math.max(0, mine.holders - 1);
      void this.closeIfUnused(mine);
    };
    return { release };
  }

  private closeIfUnused(disk: Disk): Promise<void> {
    if (disk.holders > 0 || disk.handles.size > 0 || this.disks.get(disk.key) !== disk) return Promise.resolve();
    this.disks.delete(disk.key);
    const closed = (async () => disk.store.close())()
      .catch((e: unknown) => void this.failures.push(e instanceof Error ? e : new Error(String(e))))
      .finally(() => this.closing.delete(disk.key));
    this.closing.set(disk.key, closed);
    return closed;
  }

  private async openDisk(key: string, params: BackendParams): Promise<Disk> {
    const claims: Claim[] = [];
    const opened: BlockStore[] = [];
    try {
      const isDiscarded = this.options.isDiscarded === true && params.mode === 'w';
      const base = await this.openBase(params, params.overlay !== null || params.mode === 'r' || isDiscarded, claims);
      opened[0] = base;
      let store = base;
      if (params.overlay !== null) store = await this.openOverlay(base, params.overlay, params, isDiscarded, claims);
      const handles = new Set<StoreHandle>();
      store.onResize = (sectors) => {
        for (const h of handles) h.onResize?.(sectors);
      };
      return { key, store, claims, holders: 0, handles };
    } catch (e) {
      for (const store of opened) await store.close();
      if (e instanceof StoreError) throw e;
      throw new StoreError(`${params.target}: cannot open the disk: ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  private async openBase(params: BackendParams, readonly: boolean, claims: Claim[]): Promise<BlockStore> {
    const { target, format, script } = params;
    const model = params.model ?? this.options.model;
    checkModel(model, target);
    const latency = (sectors: number) => latencyModel(model, sectors)!;
    if (format === 'empty') return new EmptyStore();
    if (target === '') throw new StoreError('a disk without a target: only a cdrom may be empty');
    if (isNbdUri(target) || script === 'block-nbd') {
      const { address, exportName } = script === 'block-nbd' ? parseNbdScriptTarget(target) : parseNbdUri(target);
      const connect = () => this.host.connect(address);
      const server = { name: target, exportName, connect, canReconnect: true, wait: (ms: number) => this.host.wait(ms) };
      return writable(await NbdStore.open(server, readonly, latency), readonly, target);
    }
    if (script !== null && script !== '') throw new StoreError(`${target}: hotplug script ${script}: only block-nbd is known`);
    // Also for images of other formats: it says what is wrong with the file, and keeps two disks from using one.
    const file = await this.host.openFile(target, { readonly, role: 'disk image' });
    try {
      this.claim(claims, file);
      if (format === 'raw') return new RawStore(file, latency(Math.floor(file.size / 512)));
    } catch (e) {
      await file.close();
      throw e;
    }
    await file.close();
    return this.openForeign(target, format, readonly, latency);
  }

  private async openForeign(
    target: string,
    format: string,
    readonly: boolean,
    latency: (sectors: number) => LatencyModel,
  ): Promise<BlockStore> {
    const { channel, ended, complaint } = await this.host.serveImage(target, format, readonly);
    const server = {
      name: target,
      exportName: '',
      connect: async () => channel,
      canReconnect: false,
      wait: (ms: number) => this.host.wait(ms),
      ended,
    };
    const store = await NbdStore.open(server, readonly, latency).catch(async () => {
      throw new StoreError(`${target}: cannot open the ${format} image: ${await complaint()}`);
    });
    return writable(store, readonly, target);
  }

  private async openOverlay(
    base: BlockStore,
    overlay: string,
    params: BackendParams,
    isDiscarded: boolean,
    claims: Claim[],
  ): Promise<BlockStore> {
    const isReadonly = params.mode === 'r' || isDiscarded;
    if (overlay === 'memory') return new OverlayStore(base, new MemoryLayer(), isReadonly);
    const file = await this.host.openFile(overlay, { readonly: isReadonly, create: !isReadonly, role: 'overlay' });
    try {
      this.claim(claims, file);
      return new OverlayStore(base, await FileLayer.open(file, base.sectors, params.target), isReadonly);
    } catch (e) {
      await file.close();
      throw e;
    }
  }

  /** As the hotplug script `block` has it (check_sharing): many may read a file, or one may write it. */
  private claim(claims: Claim[], file: HostFile): void {
    const { identity, name } = file;
    const mode = file.isReadonly ? 'r' : 'w';
    const others = [...this.disks.values()].flatMap((d) => d.claims).concat(claims);
    const rival = others.find((c) => c.identity === identity && (c.mode === 'w' || mode === 'w'));
    if (rival !== undefined) throw inUse({ identity, name, mode: rival.mode });
    claims.push({ identity, name, mode });
  }
}

const inUse = (c: Claim): StoreError =>
  new StoreError(
    `${c.name}: is in use by another disk${c.mode === 'r' ? ', which reads it: it cannot be written meanwhile' : ', which writes it'}`,
  );

function writable(store: NbdStore, readonly: boolean, target: string): BlockStore {
  if (!readonly && store.isReadonly) {
    void store.close();
    throw new StoreError(`${target}: the server lets nobody write this export: give the disk access=ro, or an overlay`);
  }
  return store;
}

function checkModel(model: string, target?: string): void {
  if (!LATENCY_MODELS.includes(model))
    throw new StoreError(`${target === undefined ? '' : `${target}: `}disk model ${model}: there are ${LATENCY_MODELS.join(', ')}`);
}
