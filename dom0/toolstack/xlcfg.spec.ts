// xl.cfg files: the grammar, the domain that comes of it, and what is said about bad ones.
import { expect, test } from 'vitest';
import { formatUuid, parseOverride, parseXlcfg, readDomainConfig, type XlcfgSettings } from './xlcfg.ts';

const read = (text: string, ...overrides: string[]) => {
  const settings: XlcfgSettings = parseXlcfg('guest.cfg', text);
  for (const o of overrides) parseOverride(o, settings);
  return readDomainConfig('guest.cfg', settings);
};
const values = (text: string) => Object.fromEntries([...parseXlcfg('t.cfg', text)].map(([k, s]) => [k, s.value]));
const MINIMAL = 'name="a"\nkernel="vmlinuz"\n';

test('a usual PV configuration is understood', () => {
  const { config, warnings } = read(`
# A guest
name = "deb"            # trailing comment
type = 'pv'
kernel = "/boot/vmlinuz"; ramdisk = "/boot/initrd"
extra = "console=hvc0 quiet"
root = "/dev/xvda1 ro"
memory = 512
maxmem = 0x400
vcpus = "2"
on_crash = 'preserve'
uuid = "01234567-89ab-cdef-0123-456789abcdef"
`);
  expect(warnings).toEqual([]);
  expect(config).toMatchObject({
    name: 'deb',
    kernel: '/boot/vmlinuz',
    ramdisk: '/boot/initrd',
    cmdline: 'root=/dev/xvda1 ro console=hvc0 quiet',
    memoryMiB: 512,
    maxMemoryMiB: 1024,
    vcpus: 2,
    maxVcpus: 2,
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'preserve',
  });
  expect(formatUuid(config.uuid)).toBe('01234567-89ab-cdef-0123-456789abcdef');
});

test('lists nest, span lines and may end in a comma; strings have C escapes', () => {
  expect(
    values(`disk = [ 'phy:/dev/a,xvda,w',\n  # here too\n "b" ,\n]\nvnuma = [ [ "x", 1 ], [] ]\nempty=[]\ns="a\\"b\\x41\\102\\n"`),
  ).toEqual({
    disk: ['phy:/dev/a,xvda,w', 'b'],
    vnuma: [['x', '1'], []],
    empty: [],
    s: 'a"bAB\n',
  });
});

test('the last setting wins, and += adds to strings and lists', () => {
  expect(values('a=1\na=2\nl=["x"]\nl+=["y"]\ns="p"\ns += "q"\nfresh += ["z"]')).toEqual({ a: '2', l: ['x', 'y'], s: 'pq', fresh: ['z'] });
});

test('a file without a last newline and with CRLF is read', () => {
  expect(values('a=1\r\nb="x"\r\nc=3')).toEqual({ a: '1', b: 'x', c: '3' });
});

test('cmdline is taken instead of root and extra, with a warning', () => {
  const { config, warnings } = read(`${MINIMAL}cmdline="c"\nextra="e"`);
  expect(config.cmdline).toBe('c');
  expect(warnings).toEqual(['guest.cfg: cmdline is set: root and extra are ignored']);
});

test('overrides of the command line win, quoted or bare', () => {
  const { config } = read(`${MINIMAL}memory=64`, 'memory=256', 'vcpus=2', 'extra="a b"', 'ramdisk=/tmp/initrd', 'extra+=" c"');
  expect(config).toMatchObject({ memoryMiB: 256, vcpus: 2, cmdline: 'a b c', ramdisk: '/tmp/initrd' });
  expect(() => read(MINIMAL, 'memory=lots')).toThrow("argument 'memory=lots': memory is not a valid number: `lots'");
  expect(() => read(MINIMAL, 'nonsense')).toThrow('key=value');
});

test('an unknown setting is named with its line and ignored; an inert one is silent; a missing device is named', () => {
  expect(read(`${MINIMAL}frobnicate = 3\nvnc = 1\nvtpm = [ 'backend=1' ]\ndisk = []`).warnings).toEqual([
    "guest.cfg:3: unknown setting `frobnicate' ignored",
    'guest.cfg:5: vtpm is not supported yet: ignored',
  ]);
});

test.each([
  ['name = "a\nkernel="k"', 'guest.cfg:1: near `"a\': the string has no closing "'],
  ['name = "a"\n\nmemory 512', "guest.cfg:3: near `512': expected `=' or `+='"],
  ['disk = [ "a" "b" ]', "guest.cfg:1: near `\"b\"': expected `,' or `]'"],
  ['disk = [ "a",\n\n', "guest.cfg:3: near `end of file': expected a string in quotes, a number or `['"],
  ['a = 1 b = 2', "guest.cfg:1: near `b': expected a line's end or `;'"],
  ['name = foo', "guest.cfg:1: near `foo': expected a string in quotes, a number or `['"],
  ['import os', "guest.cfg:1: near `os': expected `=' or `+='"],
  ['a = (1)', "guest.cfg:1: near `(1)': lexical error"],
  ['Name = "a"', "guest.cfg:1: near `Name': names are of lower case letters"],
  ['a = "\\q"', "guest.cfg:1: near `\\q': not an escape"],
  ['a = ["x"]\na += "y"', 'guest.cfg:2: a: cannot add a list to a string'],
])('malformed: %j', (text, message) => {
  expect(() => read(text)).toThrow(message);
});

test.each([
  ['kernel="k"', 'guest.cfg: name: a domain name must be specified'],
  ['name="a"', 'guest.cfg: kernel: a PV domain needs a kernel'],
  [`${MINIMAL}memory = "12q"`, "guest.cfg:3: memory is not a valid number: `12q'"],
  [`${MINIMAL}memory = 0`, 'guest.cfg:3: memory must be from 1'],
  [`${MINIMAL}memory = [1]`, 'guest.cfg:3: memory must be a single value, not a list'],
  [`${MINIMAL}vcpus=4\nmaxvcpus=2`, 'guest.cfg:4: maxvcpus is 2 and thus less than vcpus (4)'],
  [`${MINIMAL}type="vm"`, 'guest.cfg:3: type is of no known kind: "vm" (pv, pvh and hvm are)'],
  [`${MINIMAL}builder="xl"`, 'guest.cfg:3: builder is of no known kind: "xl"'],
  [`${MINIMAL}builder="hvm"\ntype="pvh"`, 'guest.cfg:3: builder is "hvm", and type is "pvh"'],
  ['name="a"\ntype="pvh"', 'guest.cfg: kernel: a PVH domain needs a kernel'],
  [`${MINIMAL}type="pvh"\nhap=2`, 'guest.cfg:4: hap must be 0 or 1, and is "2"'],
  [`${MINIMAL}type="pvh"\napic=0`, 'guest.cfg:4: apic is 0: a PVH domain always has its local APICs'],
  [`${MINIMAL}hvm_vendor="via"`, 'guest.cfg:3: hvm_vendor is no virtualization extension: "via" (there are vmx and svm)'],
  [`${MINIMAL}type="hvm"\nserial="modem"`, 'guest.cfg:4: serial is no character device: "modem"'],
  [`${MINIMAL}type="hvm"\nfirmware="ovmf"`, 'guest.cfg:4: firmware is "ovmf": SeaBIOS is all there is'],
  [`${MINIMAL}type="hvm"\nboot="x"`, 'guest.cfg:4: boot is no order of devices: "x"'],
  [`${MINIMAL}type="hvm"\nvga="qxl"`, 'guest.cfg:4: vga is no adapter: "qxl"'],
  [`${MINIMAL}on_crash="explode"`, 'guest.cfg:3: on_crash is no known action: "explode"'],
  [`${MINIMAL}uuid="zz"`, 'guest.cfg:3: uuid is not a UUID: "zz"'],
])('unusable: %j', (text, message) => {
  expect(() => read(text)).toThrow(message);
});

test('without a uuid the name decides, so that a run repeats', () => {
  const [a, b, c] = ['x', 'x', 'y'].map((name) => formatUuid(read(`name="${name}"\nkernel="k"`).config.uuid));
  expect(a).toBe(b);
  expect(a).not.toBe(c);
  expect(a).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

const PVH = {
  hap: null,
  outOfSync: true,
  acpi: true,
  apic: true,
  nestedHvm: false,
  hpet: false,
  xenPlatformPci: false,
  serial: [],
  firmware: null,
  boot: 'cda',
  vga: 'cirrus',
  videoramMiB: null,
};
const HVM = { ...PVH, hpet: true, xenPlatformPci: true };
test.each([
  ['', 'pv', null],
  ['hap=1\nserial="pty"', 'pv', null],
  ['type="pvh"', 'pvh', PVH],
  ['type="pvh"\nhap=0\noos=0\nacpi=0', 'pvh', { ...PVH, hap: false, outOfSync: false, acpi: false }],
  ['type="hvm"', 'hvm', HVM],
  ['builder="hvm"\nhap=1', 'hvm', { ...HVM, hap: true }],
  ['type="hvm"\nserial="pty"\nhpet=0\nvga="none"\nboot="d"', 'hvm', { ...HVM, serial: ['pty'], hpet: false, vga: 'none', boot: 'd' }],
  ['type="hvm"\nserial=["pty","null"]\nfirmware="/boot/bios.bin"', 'hvm', { ...HVM, serial: ['pty', 'null'], firmware: '/boot/bios.bin' }],
  ['type="hvm"\nbios="seabios"\nstdvga=1\nvideoram=16', 'hvm', { ...HVM, vga: 'stdvga', videoramMiB: 16 }],
])('a kind of domain and its settings: %j', (text, type, hvm) => {
  const { config, warnings } = read(`${MINIMAL}${text}`);
  expect([config.type, config.hvm, warnings]).toEqual([type, hvm, []]);
});

test('which processor is asked for, in the file or by the command line', () => {
  expect(read(MINIMAL).config).toMatchObject({ cpuProfile: null, hvmVendor: null });
  expect(read(`${MINIMAL}cpu_profile="zen"\nhvm_vendor="svm"`).config).toMatchObject({ cpuProfile: 'zen', hvmVendor: 'svm' });
  expect(read(`${MINIMAL}type="pvh"\nhap=1`, 'hap=0', 'hvm_vendor="vmx"').config).toMatchObject({ hvm: { hap: false }, hvmVendor: 'vmx' });
});

test('an HVM domain may have no kernel, and settings of devices that a PVH domain does not have are named', () => {
  expect(read('name="a"\ntype="hvm"').config.kernel).toBe('');
  expect(read(`${MINIMAL}type="pvh"\nserial="pty"\nnestedhvm=1`).warnings).toEqual([
    'guest.cfg:4: serial is of no use to a PVH domain, which has no such device: ignored',
    'guest.cfg:5: nestedhvm is not supported yet: ignored',
  ]);
});
