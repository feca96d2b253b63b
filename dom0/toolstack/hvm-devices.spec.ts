// The emulated twins of an HVM domain's devices, from settings as xl.cfg has them.
import { domid } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { diskDevice } from './device-disk.ts';
import { nicDevice } from './device-nic.ts';
import { emulatedDisks, emulatedNics, hasSerialPort, realModeRegisters } from './hvm-devices.ts';

describe('emulated disks', () => {
  const disks = (...settings: string[]) => emulatedDisks(settings.map((s) => diskDevice(s).device));
  it.each([
    ['an xvd disk is on IDE too', ['/a.img,raw,xvda,rw'], ['0 disk rw /a.img']],
    ['by letter, in order', ['/b.img,raw,hdb,r', '/a.img,raw,xvda,w'], ['0 disk rw /a.img', '1 disk ro /b.img']],
    ['CD drives, empty ones too', ['/c.iso,raw,hdc,ro,cdrom', ',,hdd:cdrom,r'], ['2 cdrom ro /c.iso', '3 cdrom ro -']],
    ['not SCSI, not the fifth, no partitions', ['/a,raw,sda,rw', '/b,raw,xvde,rw', '/c,raw,xvda1,rw'], []],
    ['the first of two for one place', ['/a,raw,hda,rw', '/b,raw,xvda,rw'], ['0 disk rw /a']],
  ])('%s', (_what, settings, expected) => {
    expect(disks(...settings).map((d) => `${d.unit} ${d.kind} ${d.isReadonly ? 'ro' : 'rw'} ${d.params?.target ?? '-'}`)).toEqual(expected);
  });
});

it('network cards have the address and the bridge of their interface', () => {
  const uuid = new Uint8Array(16);
  const nics = ['mac=00:16:3e:01:02:03,bridge=br1', 'mac=00:16:3e:01:02:04,vifname=web'].map((text, i) => nicDevice(text, i, uuid).device);
  expect(emulatedNics(domid(7), nics)).toEqual([
    { mac: Uint8Array.of(0, 0x16, 0x3e, 1, 2, 3), bridge: 'br1', name: 'vif7.0-emu' },
    { mac: Uint8Array.of(0, 0x16, 0x3e, 1, 2, 4), bridge: 'xenbr0', name: 'web-emu' },
  ]);
});

it('COM1 is there when somebody listens', () => {
  expect([['pty'], [], ['none'], ['null']].map(hasSerialPort)).toEqual([true, false, false, true]);
});

it('the first vCPU starts in real mode', () => {
  const r = realModeRegisters({ selector: 0xf000, base: 0xf0000, ip: 0xfff0 });
  expect([r.cr0, r.cs_sel, r.cs_base, r.rip, r.cs_arbytes, r.ss_limit, r.msr_efer]).toEqual([
    0x10n,
    0xf000,
    0xf0000n,
    0xfff0n,
    0x9b,
    0xffff,
    0n,
  ]);
});
