// Names of virtual disks and the numbers they have in XenStore (xen-vbd-interface(7), docs/man/xen-vbd-interface.7.pandoc; libxl_device.c,
// libxl__device_disk_dev_number and libxl__devid_to_vdev).

const EXTENDED = 2 ** 28;
const INT_MAX = 2 ** 31 - 1;

/** `sda7` with prefix `sd` is disk 0, partition 7. Null where the name is of another kind or out of range. */
function lettered(name: string, prefix: string, maxDisk: number, maxPartition: number): { disk: number; partition: number } | null {
  const [, letters, digits] = new RegExp(`^${prefix}([a-z]+)([1-9][0-9]*)?$`).exec(name) ?? [];
  if (letters === undefined) return null;
  // Base 26 with digits a to z, where `aa` follows `z`.
  let disk = -1;
  for (const c of letters) {
    disk = (disk + 1) * 26 + (c.charCodeAt(0) - 97);
    if (disk > maxDisk) return null;
  }
  const partition = digits === undefined ? 0 : Number(digits);
  return partition > maxPartition ? null : { disk, partition };
}

/** sscanf's %i: decimal, 0x or leading 0. */
const cNumber = (text: string): number =>
  /^0x/i.test(text) ? Number.parseInt(text, 16) : /^0/.test(text) ? Number.parseInt(text, 8) : Number(text);

/** The device number of `xvda`, `hdb1`, `sdc`, `d2p3`, or of a number; null when the name means nothing. */
export function vdevToDevid(name: string): number | null {
  const generic = /^d(0x[0-9a-f]+|[0-9]+)p(0x[0-9a-f]+|[0-9]+)$/i.exec(name);
  const d = generic === null ? null : { disk: cNumber(generic[1]!), partition: cNumber(generic[2]!) };
  const xvd = d !== null && d.disk < 1 << 20 && d.partition < 256 ? d : lettered(name, 'xvd', (1 << 20) - 1, 255);
  if (xvd !== null) {
    const { disk, partition } = xvd;
    return disk <= 15 && partition <= 15 ? (202 << 8) | (disk << 4) | partition : EXTENDED + disk * 256 + partition;
  }
  if (/^(0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)$/i.test(name)) {
    const number = cNumber(name);
    return number <= INT_MAX ? number : null;
  }
  const hd = lettered(name, 'hd', 3, 63);
  if (hd !== null) return ((hd.disk < 2 ? 3 : 22) << 8) | ((hd.disk & 1) << 6) | hd.partition;
  const sd = lettered(name, 'sd', 15, 15);
  return sd === null ? null : (8 << 8) | (sd.disk << 4) | sd.partition;
}

/** The name that stands for a number in listings: always an `xvd`, as Linux names the disk. */
export function devidToVdev(devid: number): string {
  const isExtended = devid >= EXTENDED;
  const minor = isExtended ? devid - EXTENDED : devid & 0xff;
  const parts = isExtended ? 256 : 16;
  const disk = Math.floor(minor / parts);
  let letters = '';
  for (let n = disk; n >= 0; n = Math.floor(n / 26) - 1) letters = String.fromCharCode(97 + (n % 26)) + letters;
  const partition = minor % parts;
  return `xvd${letters}${partition === 0 ? '' : partition}`;
}
