// p9, vfb, vkb and channel settings: the devices that come of them, and what is said about bad ones.
import { expect, test } from 'vitest';
import { devicesOf } from './device-config.ts';
import { parseXlcfg, readDomainConfig } from './xlcfg.ts';

const read = (text: string) => readDomainConfig('guest.cfg', parseXlcfg('guest.cfg', `name="a"\nkernel="vmlinuz"\n${text}`));
const names = (text: string) => devicesOf(read(text).config).map((d) => `${d.type}/${d.devid}`);

test('a shared folder has a tag for the guest and a path for the back end', () => {
  const { config, warnings } = read(
    `p9 = [ 'tag=share,path=/srv/x,security_model=none', 'tag=ro, path=/y, readonly=1, max-open-files=5' ]`,
  );
  expect(config.devices.p9s).toEqual([
    { type: '9pfs', devid: 0, back: { path: '/srv/x', security_model: 'none' }, front: { tag: 'share' } },
    { type: '9pfs', devid: 1, back: { path: '/y', security_model: 'none', readonly: '1', 'max-open-files': '5' }, front: { tag: 'ro' } },
  ]);
  expect(warnings).toEqual([]);
  expect(read(`p9=['tag=a,path=/x,type=xen_9pfsd']`).warnings).toEqual([
    "guest.cfg: p9 `tag=a,path=/x,type=xen_9pfsd': type is not supported: ignored",
  ]);
});

test('a frame buffer brings a keyboard; further keyboards are numbered after it', () => {
  expect(names(`vfb=['vnc=1,width=640,height=480']\nvkb=['feature-multi-touch=1,multi-touch-num-contacts=2']`)).toEqual([
    'vfb/0',
    'vkbd/0',
    'vkbd/1',
  ]);
  const [fb, kbd, touch] = read(`vfb=['vnc=1,width=640,height=480']\nvkb=['feature-multi-touch=1']`).config.devices.fbs;
  expect(fb?.back).toMatchObject({ vnc: '1', sdl: '0', width: '640', height: '480' });
  expect([kbd?.back.width, touch?.back['backend-type'], touch?.back['feature-multi-touch']]).toEqual(['640', 'qemu', '1']);
  expect(read(`vfb=['vnc=1']`).warnings).toEqual(["guest.cfg: vfb `vnc=1': vnc is not served: the picture is had as a screenshot"]);
});

test('channels are consoles from 1 upwards', () => {
  const [pty, socket] = read(`channel=['connection=pty,name=org.a','connection=socket,name=org.b,path=/tmp/s']`).config.devices.consoles;
  expect(pty).toMatchObject({
    type: 'console',
    devid: 1,
    back: { connection: 'pty', name: 'org.a' },
    front: { output: 'pty', name: 'org.a' },
  });
  expect(socket).toMatchObject({ devid: 2, back: { connection: 'socket', path: '/tmp/s' }, front: { output: 'chardev:libxl-channel2' } });
});

test.each([
  [`p9=['path=/x']`, 'tag= is missing'],
  [`p9=['tag=x']`, 'path= is missing'],
  [`p9=['tag=x,path=/x,security_model=mapped-xattr']`, 'only none is supported'],
  [`p9=['tag=x,path=/x,security=none']`, 'unrecognized argument `security=none'],
  [`p9=['tag=x,path=/x','tag=x,path=/y']`, 'has tag x twice'],
  [`p9=['tag=x,path=/x,backend=driver']`, 'driver domains are not supported yet'],
  [`p9='tag=x,path=/x'`, 'must be a list'],
  [`vfb=['width=0']`, 'a number from 1 to 16384'],
  [`vkb=['backend-type=sdl']`, 'there are qemu and linux'],
  [`channel=['connection=pty']`, 'name= is missing'],
  [`channel=['name=a']`, 'there are pty'],
  [`channel=['connection=socket,name=a']`, 'path= is missing'],
])('%s is refused', (text, complaint) => {
  expect(() => read(text)).toThrow(complaint);
});
