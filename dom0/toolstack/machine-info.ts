// The machine and its hypervisor as the toolstack sees them: physinfo, the version strings, the hypervisor's console (libxl.c:
// libxl_get_physinfo, libxl_get_version_info; libxl_console.c: libxl_xen_console_read_line).
import {
  __HYPERVISOR_xen_version,
  guestHandle,
  XEN_CHANGESET_INFO_LEN,
  XEN_EXTRAVERSION_LEN,
  XEN_SYSCTL_physinfo,
  XEN_SYSCTL_readconsole,
  XENVER_changeset,
  XENVER_commandline,
  XENVER_compile_info,
  XENVER_extraversion,
  XENVER_pagesize,
  XENVER_platform_parameters,
  XENVER_version,
  xen_compile_info,
  xen_platform_parameters,
  xen_sysctl_physinfo,
  xen_sysctl_readconsole,
} from '@ringworld/abi';
import { DOM0_ABI } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';

export interface MachineInfo {
  readonly cpus: number;
  readonly maxCpuId: number;
  readonly nodes: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
  readonly cpuKhz: number;
  readonly hwCap: readonly number[];
  readonly totalPages: number;
  readonly freePages: number;
  readonly outstandingPages: number;
  readonly pageSize: number;
  readonly xenMajor: number;
  readonly xenMinor: number;
  readonly xenExtra: string;
  readonly capabilities: readonly string[];
  /** Unsigned. */
  readonly virtStart: bigint;
  readonly changeset: string;
  readonly commandLine: string;
  readonly compiler: string;
  readonly compileBy: string;
  readonly compileDomain: string;
  readonly compileDate: string;
}

/** xen_commandline_t. */
const COMMAND_LINE_LEN = 1024;

/** What a XENVER_* call that fills a buffer puts there. */
export function xenVersion(privcmd: Privcmd, cmd: number, length: number): Uint8Array {
  const { xen } = privcmd;
  return xen.memory.withArguments((args) => {
    const at = args.put(new Uint8Array(length));
    xen.call('xen_version', __HYPERVISOR_xen_version, cmd, at);
    return xen.memory.read(at, length);
  });
}

/** XENVER_version. */
export function xenVersionOf(privcmd: Privcmd): { readonly major: number; readonly minor: number } {
  const version = privcmd.xen.call('XENVER_version', __HYPERVISOR_xen_version, XENVER_version, 0);
  return { major: version >>> 16, minor: version & 0xffff };
}

export function machineInfo(privcmd: Privcmd): MachineInfo {
  const { xen } = privcmd;
  const answer = (cmd: number, length: number): Uint8Array => xenVersion(privcmd, cmd, length);
  const text = (cmd: number, length: number): string => new TextDecoder('latin1').decode(answer(cmd, length)).split('\0', 1)[0]!;
  const phys = privcmd.sysctlWith(XEN_SYSCTL_physinfo, xen_sysctl_physinfo, {});
  const { major, minor } = xenVersionOf(privcmd);
  const compile = xen_compile_info.decode(DOM0_ABI, answer(XENVER_compile_info, xen_compile_info.size(DOM0_ABI)));
  const platform = answer(XENVER_platform_parameters, xen_platform_parameters.size(DOM0_ABI));
  return {
    cpus: phys.nr_cpus,
    maxCpuId: phys.max_cpu_id,
    nodes: phys.nr_nodes,
    coresPerSocket: phys.cores_per_socket,
    threadsPerCore: phys.threads_per_core,
    cpuKhz: phys.cpu_khz,
    hwCap: phys.hw_cap,
    totalPages: phys.total_pages,
    freePages: phys.free_pages,
    outstandingPages: phys.outstanding_pages,
    pageSize: xen.call('XENVER_pagesize', __HYPERVISOR_xen_version, XENVER_pagesize, 0),
    xenMajor: major,
    xenMinor: minor,
    xenExtra: text(XENVER_extraversion, XEN_EXTRAVERSION_LEN),
    capabilities: privcmd.capabilities(),
    virtStart: new DataView(platform.buffer).getBigUint64(0, true),
    changeset: text(XENVER_changeset, XEN_CHANGESET_INFO_LEN),
    commandLine: text(XENVER_commandline, COMMAND_LINE_LEN),
    compiler: compile.compiler,
    compileBy: compile.compile_by,
    compileDomain: compile.compile_domain,
    compileDate: compile.compile_date,
  };
}

/** Read at once. */
const CONSOLE_CHUNK = 16384;

/** What the hypervisor's console ring holds; `clear` empties it. */
export function readXenConsole(privcmd: Privcmd, clear: boolean): string {
  const { memory } = privcmd.xen;
  let all = '';
  for (let index = 0; ; ) {
    const part = memory.withArguments((args) => {
      const buffer = args.reserve(CONSOLE_CHUNK);
      const out = privcmd.sysctlWith(XEN_SYSCTL_readconsole, xen_sysctl_readconsole, {
        incremental: 1,
        clear: 0,
        index,
        buffer: guestHandle(buffer),
        count: CONSOLE_CHUNK,
      });
      index = out.index;
      return new TextDecoder('latin1').decode(memory.read(buffer, out.count));
    });
    all += part;
    if (part.length < CONSOLE_CHUNK) break;
  }
  if (clear) {
    memory.withArguments((args) => {
      const buffer = guestHandle<number>(args.reserve(8));
      privcmd.sysctlWith(XEN_SYSCTL_readconsole, xen_sysctl_readconsole, { clear: 1, incremental: 0, index: 0, buffer, count: 8 });
    });
  }
  return all;
}
