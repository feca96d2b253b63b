// vif settings as xl reads them, and what libxl makes of them.
import { describe, expect, it } from 'vitest';
import { NicSpecError, nicDevice, parseVifRate } from './device-nic.ts';

const uuid = Uint8Array.from({ length: 16 }, (_, i) => i);
const back = (text: string, index = 0) => nicDevice(text, index, uuid).device.back;

describe('a vif', () => {
  it('of nothing is on xenbr0, with an address under 00:16:3e that follows from the domain', () => {
    const { device, warnings } = nicDevice('', 2, uuid);
    expect(device.devid).toBe(2);
    expect(device.back).toMatchObject({ bridge: 'xenbr0', handle: '2', type: 'vif', script: '/etc/xen/scripts/vif-bridge' });
    expect(device.back.mac).toMatch(/^00:16:3e:[0-7][0-9a-f]:[0-9a-f]{2}:[0-9a-f]{2}$/);
    expect(device.front).toEqual({ handle: '2', mac: device.back.mac, mtu: '1500', trusted: '1' });
    expect(warnings).toEqual([]);
    expect(back('', 2).mac).toBe(device.back.mac);
    expect(back('', 1).mac).not.toBe(device.back.mac);
    expect(nicDevice('', 2, uuid.slice().reverse()).device.back.mac).not.toBe(device.back.mac);
  });

  it('has what it says', () => {
    const { device } = nicDevice(
      'mac=00:16:3E:1:2:ff, bridge=xenbr1,ip=10.0.0.1 10.0.0.2,vifname=web0,script=vif-route,gatewaydev=eth0,mtu=9000,devid=7,rate=1MB/s@20ms,untrusted,backend=Domain-0,model=e1000,type=vif',
      0,
      uuid,
    );
    expect(device.devid).toBe(7);
    expect(device.back).toEqual({
      script: '/etc/xen/scripts/vif-route',
      vifname: 'web0',
      mac: '00:16:3e:01:02:ff',
      ip: '10.0.0.1 10.0.0.2',
      gatewaydev: 'eth0',
      rate: '20000,20000',
      mtu: '9000',
      bridge: 'xenbr1',
      handle: '7',
      type: 'vif',
      'hotplug-status': '',
    });
    expect(device.front).toEqual({ handle: '7', mac: '00:16:3e:01:02:ff', mtu: '9000', trusted: '0' });
  });

  it('may say what is deprecated or has no effect here', () => {
    const { device, warnings } = nicDevice('netdev=eth1,accel=x,vlan=3,colo_checkpoint_port=1', 0, uuid);
    expect(device.back.gatewaydev).toBe('eth1');
    expect(warnings).toHaveLength(4);
    expect(warnings[0]).toMatch(/netdev parameter is deprecated/);
  });

  it.each([
    ['mac=00:16:3e:00:00', "Invalid parameter `mac'."],
    ['mac=00:16:3e:00:00:zz', "Invalid parameter `mac'."],
    ['mac=00:16:3e:00:00:100', "Invalid parameter `mac'."],
    ['mac=00-16-3e-00-00-01', "Invalid parameter `mac'."],
    ['mac=', "Invalid parameter `mac'."],
    ['mac=01:16:3e:00:00:01', 'multicast'],
    ['mac=ff:ff:ff:ff:ff:ff', 'multicast'],
    ['mac=00:00:00:00:00:00', 'is no address'],
    ['type=ioemu', 'trying to create PV or PVH guest with an emulated interface'],
    ['type=tap', "Invalid parameter `type'."],
    ['frobnicate=1', "unrecognized argument `frobnicate=1'"],
    ['bridge', "unrecognized argument `bridge'"],
    ['mtu=abc', 'failed to convert "abc" to number'],
    ['mtu=67', 'mtu=67 is not from'],
    ['devid=70000', 'devid=70000 is not from'],
    ['backend=netdom', 'driver domains'],
    ['vifname=a-name-that-is-too-long', 'at most 15'],
    ['rate=fast', "invalid rate in `fast'"],
  ])('%s is refused', (text, message) => {
    expect(() => nicDevice(text, 0, uuid)).toThrow(NicSpecError);
    expect(() => nicDevice(text, 0, uuid)).toThrow(message);
  });
});

describe('a rate', () => {
  it.each([
    ['10Mb/s', 62500, 50000],
    ['250KB/s', 12500, 50000],
    ['1MB/s@20ms', 20000, 20000],
    ['1GB/s@1s', 1_000_000_000, 1_000_000],
    ['8b/s@2', 2, 2_000_000],
    ['1000B/s@500us', 0, 500],
  ])('%s', (text, bytes, usec) => {
    expect(parseVifRate(text)).toEqual({ bytes, usec });
  });

  it.each([
    ['', 'no rate specified'],
    ['@1s', 'no rate specified'],
    ['0B/s', 'rate overflow'],
    ['99999999999B/s', 'rate overflow'],
    ['10MB', 'invalid rate'],
    ['10MB/s@', 'invalid replenishment interval'],
    ['10MB/s@5h', 'invalid replenishment interval'],
    ['10MB/s@0s', 'replenishment interval overflow'],
    ['10MB/s@9999s', 'replenishment interval overflow'],
  ])('%s is refused', (text, message) => {
    expect(() => parseVifRate(text)).toThrow(message);
  });
});
