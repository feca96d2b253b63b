// Writes cpio archives in the "newc" format, as the kernel unpacks them for an initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst). Times are zero: the same input gives the same bytes.

export interface CpioEntry {
  readonly path: string;
  /** Permission bits. */
  readonly mode?: number;
  readonly kind:
    | { readonly file: Uint8Array }
    | { readonly symlink: string }
    | 'directory'
    | { readonly char: readonly [major: number, minor: number] };
}

const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

const padTo4 = (n: number): number => (4 - (n % 4)) % 4;

export function cpioNewc(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  const push = (bytes: Uint8Array) => {
    const pad = padTo4(length + bytes.length);
    parts.push(bytes, new Uint8Array(pad));
    length += bytes.length + pad;
  };
  const record = (ino: number, path: string, mode: number, nlink: number, data: Uint8Array, rdev: readonly [number, number]) => {
    const name = new TextEncoder().encode(`${path}\0`);
    const fields = [ino, mode, 0, 0, nlink, 0, data.length, 0, 0, rdev[0], rdev[1], name.length, 0];
    const header = `070701${fields.map((f) => f.toString(16).padStart(8, '0')).join('')}`;
    const head = new Uint8Array(header.length + name.length);
    head.set(new TextEncoder().encode(header));
    head.set(name, header.length);
    push(head);
    if (data.length > 0) push(data);
  };
  const none = new Uint8Array(0);
  entries.forEach(({ path, mode, kind }, i) => {
    const ino = i + 1;
    if (kind === 'directory') record(ino, path, S_IFDIR | (mode ?? 0o755), 2, none, [0, 0]);
    else if ('file' in kind) record(ino, path, S_IFREG | (mode ?? 0o644), 1, kind.file, [0, 0]);
    else if ('symlink' in kind) record(ino, path, S_IFLNK | 0o777, 1, new TextEncoder().encode(kind.symlink), [0, 0]);
    else record(ino, path, S_IFCHR | (mode ?? 0o600), 1, none, kind.char);
  });
  record(0, 'TRAILER!!!', 0, 1, none, [0, 0]);
  const archive = new Uint8Array(length);
  let at = 0;
  for (const p of parts) {
    archive.set(p, at);
    at += p.length;
  }
  return archive;
}
