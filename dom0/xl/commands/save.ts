// `ringworld save` and `restore` (tools/xl/xl_saverestore.c).
import { resolve } from 'node:path';
import { XlError } from '../user-error.ts';
import { attachConsole } from './console.ts';
import { command } from './options.ts';

export const save = command(
  {
    name: 'save',
    synopsis: '[options] <Domain> <CheckpointFile>',
    about: 'Save a domain state to restore later.',
    options: {
      c: { text: 'Leave domain running after creating the snapshot.' },
      p: { text: 'Leave domain paused after creating the snapshot.' },
    },
    needs: 2,
    most: 2,
  },
  async (host, { flags, rest }, env) => {
    const [domain, file] = rest as [string, string];
    await host.call('domid', { domain });
    env.err(`Saving to ${file} new xl format\n`);
    await host.call('save', { domain, file: resolve(file), after: flags.has('p') ? 'pause' : flags.has('c') ? 'resume' : 'destroy' });
    return 0;
  },
);

export const restore = command(
  {
    name: 'restore',
    synopsis: '[options] <CheckpointFile>',
    about: 'Restore a domain from a saved state.',
    options: {
      c: { text: 'Connect to the console after the domain is created.' },
      p: { text: 'Do not unpause domain after restoring it.' },
    },
    needs: 1,
    most: 1,
  },
  async (host, { flags, rest }, env) => {
    const [file] = rest as [string];
    env.err(`Loading new save file ${file}\n`);
    const { domid } = await host.call('restore', { file: resolve(file), paused: flags.has('p'), name: null });
    if (!flags.has('c')) return 0;
    if (domid === 0) throw new XlError('restore failed');
    return attachConsole(host, String(domid), env);
  },
);
