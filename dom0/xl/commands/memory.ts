// `ringworld mem-set` and `mem-max` (tools/xl/xl_mem.c).
import { isForUser, XlError } from '../user-error.ts';
import { command } from './options.ts';

/** xl's parse_mem_size_kb: a number of MiB unless a letter says otherwise. Null: neither. */
export function parseMemory(text: string): number | null {
  const m = /^(\d{1,12})([bkmgt]?)b?$/i.exec(text);
  if (m === null) return null;
  const n = Number(m[1]);
  const unit = m[2]!.toLowerCase();
  if (unit === 'b') return Math.floor(n / 1024);
  return n * { k: 1, m: 1024, '': 1024, g: 1024 ** 2, t: 1024 ** 3 }[unit as 'k' | 'm' | 'g' | 't' | '']!;
}

function memory(name: string, about: string, limit: boolean, what: string) {
  return command(
    { name, synopsis: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>", about, needs: 2, most: 2 },
    async (host, { rest }) => {
      const [domain, text] = rest as [string, string];
      const { domid } = await host.call('domid', { domain });
      const kb = parseMemory(text);
      if (kb === null) throw new XlError(`invalid memory size: ${text}`);
      try {
        await host.call('setMemory', { domain, kb, limit });
      } catch (e) {
        // libxl's reason, and then xl's.
        if (isForUser(e)) throw new XlError(`${e.message}\ncannot set domid ${domid} ${what} max memory to : ${text}`);
        throw e;
      }
      return 0;
    },
  );
}

export const memSet = memory('mem-set', 'Set the current memory usage for a domain.', false, 'dynamic');
export const memMax = memory('mem-max', 'Set the maximum amount reservation for a domain.', true, 'static');
