// The text of a disk setting (xl-disk-configuration(5)): `target,format,vdev,access` with keys, flags and xend's old prefixes mixed in, read
// by the rules of libxlu's scanner (tools/libs/util/libxlu_disk_l.l): at each place the longest match counts, of equal ones the first.

/** A disk setting that means nothing. The message says why and quotes the text. */
export class DiskSpecError extends Error {
  override readonly name = 'DiskSpecError';
}

const FORMATS = ['raw', 'qcow', 'qcow2', 'vhd', 'qed', 'empty'] as const;
export type DiskFormat = (typeof FORMATS)[number];
const BACKENDS = ['phy', 'qdisk', 'tap', 'standalone'] as const;
export type DiskBackend = (typeof BACKENDS)[number];

/** libxl_device_disk. */
export interface DiskSpec {
  readonly target: string;
  readonly format: DiskFormat;
  readonly vdev: string;
  readonly readwrite: boolean;
  readonly isCdrom: boolean;
  readonly backendtype: DiskBackend | null;
  readonly script: string | null;
  readonly directIoSafe: boolean;
  /** Null: whatever the storage can do. */
  readonly discard: boolean | null;
  readonly trusted: boolean;
  /** Keys of ours, of which xl knows nothing: what takes the guest's writes instead of the target, and how fast the disk is. */
  readonly overlay: string | null;
  readonly model: string | null;
  /** What was asked for and has no effect here, one line each. */
  readonly warnings: readonly string[];
}

/** Mutable while the text is scanned. */
interface Draft {
  target: string | null;
  format: DiskFormat | null;
  vdev: string | null;
  readwrite: boolean;
  isAccessSet: boolean;
  isCdrom: boolean;
  backendtype: DiskBackend | null;
  script: string | null;
  directIoSafe: boolean;
  discard: boolean | null;
  trusted: boolean;
  overlay: string | null;
  model: string | null;
  hadPrefix: boolean;
  warnings: string[];
}

class Scanner {
  readonly draft: Draft = {
    ...{ target: null, format: null, vdev: null, readwrite: true, isAccessSet: false, isCdrom: false, backendtype: null, script: null },
    ...{ directIoSafe: false, discard: null, trusted: true, overlay: null, model: null, hadPrefix: false, warnings: [] },
  };
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  fail(reason: string, near = ''): never {
    throw new DiskSpecError(`${reason}${near === '' ? '' : `: near \`${near}'`} in \`${this.text}'`);
  }

  /** Empty values may be said again; others not. */
  private set(what: 'target' | 'vdev' | 'script' | 'overlay' | 'model', value: string): void {
    if (this.draft[what]) this.fail(`${what} respecified`, value);
    this.draft[what] = value;
  }

  setFormat(value: string): void {
    const format = value === '' ? 'raw' : FORMATS.find((f) => f === value);
    if (format === undefined) this.fail('unknown value for format', value);
    if (this.draft.format !== null && this.draft.format !== format) this.fail('format respecified', value);
    this.draft.format = format;
  }
  private setAccess(value: string): void {
    if (!['r', 'ro', 'w', 'rw', ''].includes(value)) this.fail('unknown value for access', value);
    this.draft.readwrite = value !== 'r' && value !== 'ro';
  }
  private setBackendtype(value: string): void {
    const type = BACKENDS.find((b) => b === value);
    if (type === undefined) this.fail('unknown value for backendtype', value);
    if (this.draft.backendtype !== null && this.draft.backendtype !== type) this.fail('backendtype respecified', value);
    this.draft.backendtype = type;
  }

  /** The old `vdev:devtype` in one positional parameter. */
  private isVdevWithType(value: string): boolean {
    const colon = value.lastIndexOf(':');
    if (colon < 0) return false;
    const type = value.slice(colon + 1);
    if (type !== 'cdrom' && type !== 'disk') this.fail('unknown deprecated type', type);
    this.set('vdev', value.slice(0, colon));
    this.draft.isCdrom = type === 'cdrom';
    return true;
  }

  private positional(value: string): void {
    const { draft } = this;
    if (draft.target === null) this.set('target', value);
    else if (!draft.hadPrefix && draft.format === null) {
      if (draft.target === '' && this.isVdevWithType(value)) draft.format = 'empty';
      else this.setFormat(value);
    } else if (draft.vdev === null) {
      if (!this.isVdevWithType(value)) this.set('vdev', value);
    } else if (!draft.isAccessSet) {
      draft.isAccessSet = true;
      this.setAccess(value);
    } else this.fail('too many positional parameters', value);
  }

  private keyed(key: string, value: string): void {
    const { draft } = this;
    switch (key) {
      case 'format':
        this.setFormat(value);
        return;
      case 'access':
        this.setAccess(value);
        return;
      case 'devtype':
        if (value !== 'cdrom' && value !== 'disk') this.fail('unknown value for type', `devtype=${value}`);
        draft.isCdrom = value === 'cdrom';
        return;
      case 'backendtype':
        this.setBackendtype(value);
        return;
      case 'backend':
        if (!['', '0', 'Domain-0'].includes(value)) this.fail('backend: there are no driver domains: only Domain-0 serves disks', value);
        return;
      case 'specification':
        if (value !== 'xen' && value !== 'virtio') this.fail('unknown value for specification', value);
        if (value === 'virtio') this.fail('specification=virtio: disks of PV domains speak blkif');
        return;
      case 'vdev':
      case 'script':
      case 'overlay':
      case 'model':
        this.set(key, value);
        return;
      case 'grant_usage':
        if (value !== '0' && value !== '1') this.fail('unknown value for grant_usage', value);
        draft.warnings.push('grant_usage applies to specification=virtio only: ignored');
        return;
      case 'colo-host':
      case 'colo-port':
      case 'colo-export':
      case 'active-disk':
      case 'hidden-disk':
        draft.warnings.push(`${key}: COLO is not supported: ignored`);
        return;
      default:
        this.fail('unknown parameter', `${key}=${value}`);
    }
  }

  private isFlag(word: string): boolean {
    const { draft } = this;
    if (word === 'cdrom') draft.isCdrom = true;
    else if (word === 'direct-io-safe') draft.directIoSafe = true;
    else if (word === 'discard' || word === 'no-discard') draft.discard = word === 'discard';
    else if (word === 'trusted' || word === 'untrusted') draft.trusted = word === 'trusted';
    else if (word === 'no-colo') return true;
    else if (word === 'colo') draft.warnings.push('colo: COLO is not supported: ignored');
    else return false;
    return true;
  }

  /** An old prefix, which counts wherever a parameter may begin. Returns its length with the colon, or 0. */
  private prefix(rest: string): number {
    const [, word] = /^([a-z][a-z0-9]*):/.exec(rest) ?? [];
    if (word === undefined) return 0;
    if (/^(raw|qcow2?|vhd)$/.test(word)) this.setFormat(word);
    else if (/^(iscsi|e?nbd|drbd)$/.test(word)) this.set('script', `block-${word}`);
    else if (!/^(tapdisk|tap2?|aio|ioemu|file|phy)$/.test(word)) {
      // Only where no longer match is left to be made: a positional parameter with a colon, such as hdc:cdrom.
      if (/^[a-z0-9]/.test(rest.slice(word.length + 1))) return 0;
      this.fail('unknown deprecated disk prefix', `${word}:`);
    }
    this.draft.hadPrefix = true;
    return word.length + 1;
  }

  scan(): void {
    let rest = this.text;
    for (;;) {
      rest = rest.replace(/^[ \t\n]+/, '');
      if (rest === '') return;
      // Eats the rest, commas and blanks included.
      if (rest.startsWith('target=')) {
        this.set('target', rest.slice('target='.length).replace(/,$/, ''));
        return;
      }
      const skipped = this.prefix(rest);
      if (skipped > 0) {
        rest = rest.slice(skipped);
        continue;
      }
      const [whole, key, value] = /^([a-z][-_a-z0-9]*)=([^,]*),?/.exec(rest) ?? [];
      if (whole !== undefined) {
        this.keyed(key!, value!);
        rest = rest.slice(whole.length);
        continue;
      }
      const [parameter] = /^(?:[^=,]*,|[^=,]+)/.exec(rest) ?? [];
      if (parameter === undefined || rest[parameter.length] === '=') this.fail('bad disk syntax', rest);
      const word = parameter.replace(/,$/, '');
      if (!this.isFlag(word)) this.positional(word);
      rest = rest.slice(parameter.length);
    }
  }
}

/** Throws DiskSpecError. */
export function parseDiskSpec(text: string): DiskSpec {
  const scanner = new Scanner(text);
  scanner.scan();
  const { draft } = scanner;
  // xlu_disk_parse.
  if (draft.isCdrom) {
    draft.readwrite = false;
    if (!draft.target) draft.format = 'empty';
  }
  const { vdev } = draft;
  if (!vdev) return scanner.fail('no vdev specified');
  if (!draft.target && !draft.isCdrom) scanner.fail('no target specified and device not cdrom');
  return {
    ...{ target: draft.target ?? '', format: draft.format ?? 'raw', vdev, readwrite: draft.readwrite, isCdrom: draft.isCdrom },
    ...{ backendtype: draft.backendtype, script: draft.script || null, directIoSafe: draft.directIoSafe, discard: draft.discard },
    ...{ trusted: draft.trusted, overlay: draft.overlay || null, model: draft.model || null, warnings: draft.warnings },
  };
}
