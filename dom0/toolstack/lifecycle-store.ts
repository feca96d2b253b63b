// What a domain finds in XenStore when it starts: the nodes of libxl (libxl_create.c, libxl__domain_make; libxl_dom.c,
// libxl__build_post; libxl_console.c), with their permissions. Frames are the guest's own for PVH and HVM, the machine's for PV.
import type { Mfn } from '@ringworld/abi';
import type { XsClient, XsOperations } from '../xenstored/index.ts';
import type { DomainConfig } from './xlcfg.ts';
import { formatUuid } from './xlcfg.ts';
import type { HvmConfig } from './xlcfg-hvm.ts';

export interface StoreFacts {
  readonly domid: number;
  readonly config: DomainConfig;
  readonly console: { readonly mfn: Mfn; readonly port: number };
  readonly store: { readonly mfn: Mfn; readonly port: number };
}

/** The console keeps at most this much that nobody has read (xenconsoled's limit per domain). */
const CONSOLE_LIMIT = 1024 * 1024;

const domainPath = (domid: number): string => `/local/domain/${domid}`;
const vmPath = (config: DomainConfig): string => `/vm/${formatUuid(config.uuid)}`;
const consoleBackend = (domid: number): string => `/local/domain/0/backend/console/${domid}/0`;

/** dom0's own nodes (init-dom0less and xen-init-dom0 write them). */
export function writeDom0Nodes(xs: XsClient): void {
  xs.transaction((t) => {
    t.write('/local/domain/0/name', 'Domain-0');
    t.write('/local/domain/0/domid', '0');
    t.write('/local/domain/0/vm', '/vm/00000000-0000-0000-0000-000000000000');
    t.mkdir('/local/domain/0/backend');
  });
}

export function writeDomainNodes(xs: XsClient, facts: StoreFacts): void {
  const { config, domid } = facts;
  const dom = domainPath(domid);
  const vm = vmPath(config);
  xs.transaction((t) => {
    const node = (path: string, perms: readonly string[], value = '') => {
      t.write(path, value);
      t.setPerms(path, perms);
    };
    /** The guest reads; or owns. */
    const ro = ['n0', `r${domid}`];
    const rw = [`n${domid}`];
    node(dom, ro);
    node(vm, ro);
    node(`/libxl/${domid}`, ['n0']);
    node(`/libxl/${domid}/type`, ['n0'], config.type);
    node(`${dom}/vm`, ro, vm);
    node(`${dom}/name`, ro, config.name);
    for (const dir of ['cpu', 'memory', 'device', 'control']) node(`${dom}/${dir}`, ro);
    for (const own of OWN_NODES) node(`${dom}/${own}`, rw, own.includes('/feature-') && !own.endsWith('suspend') ? '1' : '');
    for (const feature of ['multiprocessor-suspend', 'xs_reset_watches']) node(`${dom}/control/platform-feature-${feature}`, ro, '1');
    for (let i = 0; i < config.maxVcpus; i++) node(`${dom}/cpu/${i}/availability`, ro, i < config.vcpus ? 'online' : 'offline');
    if (config.hvm !== null) writeHvmNodes(node, dom, ro, rw, config.hvm, config.type);
    node(`${dom}/memory/static-max`, ro, String(config.maxMemoryMiB * 1024));
    node(`${dom}/memory/target`, ro, String(config.memoryMiB * 1024));
    node(`${dom}/domid`, ro, String(domid));
    node(`${dom}/store/port`, ro, String(facts.store.port));
    node(`${dom}/store/ring-ref`, ro, String(facts.store.mfn));
    writeConsole(t, facts);
    node(`${vm}/uuid`, ro, formatUuid(config.uuid));
    node(`${vm}/name`, ro, config.name);
    node(`${vm}/image/ostype`, ro, 'linux');
    if (config.kernel !== '') node(`${vm}/image/kernel`, ro, config.kernel);
    if (config.ramdisk !== null) node(`${vm}/image/ramdisk`, ro, config.ramdisk);
    node(`${vm}/image/cmdline`, ro, config.cmdline);
  });
}

/** libxl__domain_make() and libxl__build_post(): what PVH and HVM domains have beside. */
function writeHvmNodes(
  node: (path: string, perms: readonly string[], value?: string) => void,
  dom: string,
  ro: readonly string[],
  rw: readonly string[],
  hvm: HvmConfig,
  type: DomainConfig['type'],
): void {
  if (type === 'hvm') {
    node(`${dom}/hvmloader`, ro);
    node(`${dom}/hvmloader/generation-id-address`, rw);
    node(`${dom}/hvmloader/bios`, ro, 'seabios');
    node(`${dom}/hvmloader/allow-memory-relocate`, ro, '1');
  }
  node(`${dom}/platform`, ro);
  // No sleep states: a guest that would suspend to RAM had nobody to wake it.
  for (const [name, on] of [
    ['acpi', hvm.acpi],
    ['acpi_s3', false],
    ['acpi_s4', false],
    ['acpi_laptop_slate', false],
  ] as const)
    node(`${dom}/platform/${name}`, ro, on ? '1' : '0');
  node(`${dom}/memory/videoram`, ro, String((hvm.videoramMiB ?? (type === 'hvm' && hvm.vga !== 'none' ? 16 : 0)) * 1024));
}

const OWN_NODES = [
  'control/shutdown',
  'control/feature-poweroff',
  'control/feature-reboot',
  'control/feature-suspend',
  'control/sysrq',
  'device/suspend/event-channel',
  'data',
  'drivers',
  'feature',
  'attr',
  'error',
] as const;

function writeConsole(t: XsOperations, facts: StoreFacts): void {
  const { domid } = facts;
  const front = `${domainPath(domid)}/console`;
  const back = consoleBackend(domid);
  const put = (path: string, perms: readonly string[], values: Record<string, string>) => {
    t.mkdir(path);
    t.setPerms(path, perms);
    for (const [name, value] of Object.entries(values)) {
      t.write(`${path}/${name}`, value);
      t.setPerms(`${path}/${name}`, perms);
    }
  };
  // The first console's nodes are the guest's to read only (libxl__device_console_add).
  put(front, ['n0', `r${domid}`], {
    backend: back,
    'backend-id': '0',
    limit: String(CONSOLE_LIMIT),
    type: 'xenconsoled',
    output: 'pty',
    tty: '/dev/console',
    port: String(facts.console.port),
    'ring-ref': String(facts.console.mfn),
  });
  put(back, ['n0', `r${domid}`], {
    frontend: front,
    'frontend-id': String(domid),
    online: '1',
    state: '1',
    protocol: 'vt100',
  });
}

/** Takes away all that belonged to the domain. */
export function removeDomainNodes(xs: XsClient, domid: number, config: DomainConfig): void {
  for (const path of [domainPath(domid), `/local/domain/0/backend/console/${domid}`, `/libxl/${domid}`, vmPath(config)]) xs.rm(path);
}
