// `ringworld create` where a host is running: the domain is built there, and stays when the command has ended.
import { resolve } from 'node:path';
import { devicesWithAbsolutePaths } from '../toolstack/device-paths.ts';
import { attachConsole } from './commands/console.ts';
import { ENVIRONMENT } from './commands/options.ts';
import type { CreateOptions, Guest } from './create-options.ts';
import { connectHost, socketPath } from './node-host-socket.ts';
import { EXIT, UserError } from './user-error.ts';

/** The exit code, or null: the command is to run the domain itself. */
export async function createInHost(options: CreateOptions, guests: readonly Guest[]): Promise<number | null> {
  const path = socketPath(options.socket);
  // -c with an option of a machine's own asks for one.
  if (options.console && options.needsOwnMachine && options.socket === null) return null;
  const host = await connectHost(path);
  if (host === null) {
    if (options.console && options.socket === null) return null;
    const what = options.console
      ? ''
      : `create: give -F (foreground) or -c (console), or start a host for the domain to stay in ('ringworld host'): `;
    throw new UserError(`${what}no host is running at ${path}`);
  }
  try {
    if (options.needsOwnMachine)
      throw new UserError(
        'create: --timeout, --cpus, --engine, --system-map, --trace, --json and -v go with -F or -c, which switch on a machine of their own',
      );
    let domid = 0;
    for (const guest of guests) {
      if (!options.quiet && guest.source !== 'create') ENVIRONMENT.out(`Parsing config from ${guest.source}\n`);
      // The host has a folder of its own, and may look for the files again (after a restore).
      const { devices, kernel, ramdisk } = guest.config;
      const config = {
        ...guest.config,
        devices: devicesWithAbsolutePaths(devices, process.cwd()),
        kernel: resolve(kernel),
        ramdisk: ramdisk === null ? null : resolve(ramdisk),
      };
      ({ domid } = await host.call('create', { guest: { ...guest, config }, paused: options.paused }));
    }
    return options.console ? await attachConsole(host, String(domid), ENVIRONMENT) : EXIT.ok;
  } finally {
    host.close();
  }
}
