// Saving domains to files and restoring them.
import type { Handlers } from './host-handlers.ts';
import { UserError } from './user-error.ts';

export const saveHandlers: Handlers<'save' | 'restore'> = {
  save: () => {
    throw new UserError('save is not there yet');
  },
  restore: () => {
    throw new UserError('restore is not there yet');
  },
};
