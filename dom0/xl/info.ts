// `ringworld info`: of the host's machine, or, where none is running, of the one that `create` would switch on.

import { machineInfo } from '../toolstack/machine-info.ts';
import { infoFields } from './commands/machine.ts';
import { runHostCommand } from './commands/table.ts';
import { connectHost, socketPath } from './node-host-socket.ts';
import { EXIT } from './user-error.ts';
import { version } from './version.ts';

export async function info(args: string[]): Promise<number> {
  // With arguments it is xl's command, which says itself when there is no host.
  const host = args.length > 0 ? null : await connectHost(socketPath(null));
  if (args.length > 0 || host !== null) {
    host?.close();
    return runHostCommand('info', args);
  }
  const { switchOn } = await import('./host.ts');
  const { toolstack } = switchOn({ guestMiB: 128, cpus: 1 });
  const fields = infoFields({ ...machineInfo(toolstack.privcmd), uptime: 0, wallclock: 0 });
  for (const [name, value] of [...fields, ['ringworld', `${version()}, Node ${process.versions.node}; no host is running`]] as const)
    process.stdout.write(`${name.padEnd(23)}: ${value}\n`);
  return EXIT.ok;
}
