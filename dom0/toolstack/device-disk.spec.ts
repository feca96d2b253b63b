// Disk settings against xl-disk-configuration(5) and xen-vbd-interface(7): the manuals' own examples, and each rule once.
import { describe, expect, it, test } from 'vitest';
import { devidToVdev, diskDevice, vdevToDevid } from './device-disk.ts';
import { parseDiskSpec } from './disk-spec.ts';

describe('disk settings', () => {
  test.each([
    ['/dev/vg/guest-volume,,hda'],
    ['/dev/vg/guest-volume,raw,hda,rw'],
    ['format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume'],
    ['raw:/dev/vg/guest-volume,hda,w'],
    ['phy:/dev/vg/guest-volume,hda,w'],
    ['tap:aio:/dev/vg/guest-volume,hda,w'],
    ['vdev=hda,/dev/vg/guest-volume'],
  ])('%s is the writable raw volume at hda', (text) => {
    expect(parseDiskSpec(text)).toMatchObject({
      ...{ target: '/dev/vg/guest-volume', format: 'raw', vdev: 'hda', readwrite: true, isCdrom: false },
    });
  });

  test.each([
    ['/root/image.iso,,hdc,cdrom'],
    ['/root/image.iso,,hdc,,cdrom'],
    ['/root/image.iso,raw,hdc,devtype=cdrom'],
    ['format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso'],
    ['raw:/root/image.iso,hdc:cdrom,ro'],
  ])('%s is the image in the drive hdc', (text) => {
    expect(parseDiskSpec(text)).toMatchObject({ target: '/root/image.iso', format: 'raw', vdev: 'hdc', readwrite: false, isCdrom: true });
  });

  it('an empty drive has no target', () => {
    for (const text of [',hdc:cdrom,r', 'vdev=hdc,cdrom', ',,hdc,,cdrom'])
      expect(parseDiskSpec(text), text).toMatchObject({ target: '', format: 'empty', vdev: 'hdc', isCdrom: true });
  });

  it('target= takes all that follows, commas and blanks and colons', () => {
    expect(parseDiskSpec('vdev=xvda,target=/tmp/a, b:c=d ').target).toBe('/tmp/a, b:c=d ');
  });

  it('what an empty value leaves open may be said again', () => {
    expect(parseDiskSpec(',,xvda,target=/a').target).toBe('/a');
  });

  it('flags and keys arrive', () => {
    const spec = parseDiskSpec('/a,qcow2,xvdb,r,no-discard,direct-io-safe,untrusted,backendtype=qdisk,overlay=memory,model=nvme,script=x');
    expect(spec).toMatchObject({
      ...{ format: 'qcow2', readwrite: false, discard: false, directIoSafe: true, trusted: false, backendtype: 'qdisk' },
      ...{ overlay: 'memory', model: 'nvme', script: 'x' },
    });
    expect(parseDiskSpec('nbd:host 10809,xvda,w')).toMatchObject({ script: 'block-nbd', target: 'host 10809', vdev: 'xvda' });
    expect(parseDiskSpec('/a,,xvda,colo').warnings).toEqual(['colo: COLO is not supported: ignored']);
  });

  test.each([
    ['/a', 'no vdev specified'],
    ['vdev=xvda', 'no target specified and device not cdrom'],
    ['/a,zip,xvda', "unknown value for format: near `zip' in `/a,zip,xvda'"],
    ['/a,,xvda,x', 'unknown value for access'],
    ['/a,,xvda,w,w', 'too many positional parameters'],
    ['/a,,xvda,target=/b', 'target respecified'],
    ['/a,raw,xvda,format=vhd', 'format respecified'],
    ['/a,,xvda,colour=red', 'unknown parameter'],
    ['/a,,xvda,devtype=tape', 'unknown value for type'],
    ['/a,,hdc:tape', 'unknown deprecated type'],
    ['zfs:/a,xvda,w', 'unknown deprecated disk prefix'],
    ['/a,,xvda,Colour=red', 'bad disk syntax'],
    ['/a,,xvda,backend=driver', 'there are no driver domains'],
    ['/a,,xvda,specification=virtio', 'speak blkif'],
    ['/a,,nvme0', 'Invalid or unsupported virtual disk identifier nvme0'],
    ['/a,qcow2,xvda,backendtype=phy', 'backend phy unsuitable due to format qcow2'],
    ['/a,,xvda,backendtype=tap', 'blktap is not supported'],
  ])('%s is refused: %s', (text, message) => {
    expect(() => diskDevice(text)).toThrow(message);
  });
});

test('numbers of virtual disks are those of xen-vbd-interface(7)', () => {
  const table: [string, number | null][] = [
    ...([
      ['xvda', 51712],
      ['xvda1', 51713],
      ['xvdp15', 51967],
      ['xvdq', 0x10001000],
      ['xvdaa', 0x10001a00],
    ] as [string, number][]),
    ...([
      ['xvda16', 0x10000010],
      ['d0p1', 51713],
      ['d16p255', 0x100010ff],
      ['hda', 768],
      ['hdb3', 835],
    ] as [string, number][]),
    ...([
      ['hdc', 5632],
      ['hdd63', 5759],
      ['sda', 2048],
      ['sdp15', 2303],
      ['51712', 51712],
      ['0xca00', 51712],
    ] as [string, number][]),
    ...([
      ['hde', null],
      ['sdq', null],
      ['sda16', null],
      ['xvda256', null],
      ['xvda0', null],
      ['xvd', null],
      ['vda', null],
    ] as [string, null][]),
  ];
  for (const [name, number] of table) expect(vdevToDevid(name), name).toBe(number);
  for (const name of ['xvda', 'xvdp15', 'xvdaa', 'xvda16', 'xvdzz255']) expect(devidToVdev(vdevToDevid(name)!)).toBe(name);
});

test('XenStore says of a disk what libxl says', () => {
  expect(diskDevice('/images/a.img,,xvda').device).toEqual({
    type: 'vbd',
    devid: 51712,
    back: {
      ...{ params: '/images/a.img', removable: '0', bootable: '1', dev: 'xvda', type: 'phy', mode: 'w' },
      ...{ 'device-type': 'disk', 'discard-enable': '1' },
    },
    front: { 'virtual-device': '51712', 'device-type': 'disk', trusted: '1' },
  });
  expect(diskDevice('/a.iso,,hdc,cdrom').device).toMatchObject({
    back: { removable: '1', mode: 'r', 'device-type': 'cdrom', 'discard-enable': '0' },
    front: { 'device-type': 'cdrom' },
  });
  expect(diskDevice('/a.qcow2,qcow2,xvda,r').device.back).toMatchObject({ type: 'qdisk', params: 'qcow2:/a.qcow2' });
  expect(diskDevice('/a,raw,xvda,backendtype=qdisk').device.back).toMatchObject({ type: 'qdisk', params: 'aio:/a' });
});
