// The disks of a session's guests, opened before anything is built.
import { StoreError } from '../storage/block-store.ts';
import { Storage, type StorageOptions } from '../storage/storage.ts';
import type { Guest } from './create-options.ts';
import { prepareDisks } from './disks.ts';
import { nodeStorage } from './node-storage.ts';
import { UserError } from './user-error.ts';

/** Throws what the user did wrong. They are held until closeAll(). */
export async function openDisks(guests: readonly Guest[], options: StorageOptions): Promise<Storage> {
  let storage: Storage | null = null;
  let source = 'create';
  try {
    storage = new Storage(nodeStorage, options);
    for (const guest of guests) {
      source = guest.source;
      await prepareDisks(storage, guest.config);
    }
    return storage;
  } catch (e) {
    await storage?.closeAll();
    if (e instanceof StoreError) throw new UserError(`${source}: ${e.message}`);
    throw e;
  }
}
