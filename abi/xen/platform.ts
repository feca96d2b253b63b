// platform.h: platform_op: the machine as dom0 sees it. ACPI tables uploaded to Xen and EFI runtime calls are left out:
// no machine of ours has them.
import { bytes, chars } from '../layout/array.ts';
import { handle, s32, u8, u16, u32, u64, u64_number, xen_pfn_t } from '../layout/scalars.ts';
import { struct, union } from '../layout/struct.ts';

export const XENPF_INTERFACE_VERSION = 0x3000001;
export const XENPF_settime32 = 17;

export const xenpf_settime32 = struct('xenpf_settime32', {
  secs: u32,
  nsecs: u32,
  system_time: u64_number,
});

export const XENPF_settime64 = 62;

export const xenpf_settime64 = struct('xenpf_settime64', {
  secs: u64,
  nsecs: u32,
  mbz: u32,
  system_time: u64_number,
});

export const XENPF_settime = XENPF_settime64;
export const XENPF_add_memtype = 31;

export const xenpf_add_memtype = struct('xenpf_add_memtype', {
  mfn: xen_pfn_t,
  nr_mfns: u64_number,
  type: u32,
  handle: u32,
  reg: u32,
});

export const XENPF_del_memtype = 32;

export const xenpf_del_memtype = struct('xenpf_del_memtype', {
  handle: u32,
  reg: u32,
});

export const XENPF_read_memtype = 33;

export const xenpf_read_memtype = struct('xenpf_read_memtype', {
  reg: u32,
  mfn: xen_pfn_t,
  nr_mfns: u64_number,
  type: u32,
});

export const XENPF_microcode_update = 35;

export const xenpf_microcode_update = struct('xenpf_microcode_update', {
  data: handle('void'),
  length: u32,
});

export const XENPF_platform_quirk = 39;
export const QUIRK_NOIRQBALANCING = 1;
export const QUIRK_IOAPIC_BAD_REGSEL = 2;
export const QUIRK_IOAPIC_GOOD_REGSEL = 3;

export const xenpf_platform_quirk = struct('xenpf_platform_quirk', {
  quirk_id: u32,
});

export const XENPF_efi_runtime_call = 49;
export const XEN_EFI_get_time = 1;
export const XEN_EFI_set_time = 2;
export const XEN_EFI_get_wakeup_time = 3;
export const XEN_EFI_set_wakeup_time = 4;
export const XEN_EFI_get_next_high_monotonic_count = 5;
export const XEN_EFI_get_variable = 6;
export const XEN_EFI_set_variable = 7;
export const XEN_EFI_get_next_variable_name = 8;
export const XEN_EFI_query_variable_info = 9;
export const XEN_EFI_query_capsule_capabilities = 10;
export const XEN_EFI_update_capsule = 11;

export const XEN_EFI_GET_TIME_SET_CLEARS_NS = 1;
export const XEN_EFI_GET_WAKEUP_TIME_ENABLED = 1;
export const XEN_EFI_GET_WAKEUP_TIME_PENDING = 2;
export const XEN_EFI_SET_WAKEUP_TIME_ENABLE = 1;
export const XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY = 2;
export const XEN_EFI_VARIABLE_NON_VOLATILE = 1;
export const XEN_EFI_VARIABLE_BOOTSERVICE_ACCESS = 2;
export const XEN_EFI_VARIABLE_RUNTIME_ACCESS = 4;
export const XEN_EFI_VARINFO_BOOT_SNAPSHOT = 1;

export const XENPF_firmware_info = 50;
export const XEN_FW_DISK_INFO = 1;
export const XEN_FW_DISK_MBR_SIGNATURE = 2;
export const XEN_FW_VBEDDC_INFO = 3;
export const XEN_FW_EFI_INFO = 4;
export const XEN_FW_EFI_VERSION = 0;
export const XEN_FW_EFI_CONFIG_TABLE = 1;
export const XEN_FW_EFI_VENDOR = 2;
export const XEN_FW_EFI_MEM_INFO = 3;
export const XEN_FW_EFI_RT_VERSION = 4;
export const XEN_FW_EFI_PCI_ROM = 5;
export const XEN_FW_EFI_APPLE_PROPERTIES = 6;
export const XEN_FW_KBD_SHIFT_FLAGS = 5;

export const XENPF_enter_acpi_sleep = 51;

export const xenpf_enter_acpi_sleep = struct('xenpf_enter_acpi_sleep', {
  val_a: u16,
  val_b: u16,
  sleep_state: u32,
  flags: u32,
});

export const XENPF_ACPI_SLEEP_EXTENDED = 1;
export const XENPF_change_freq = 52;

export const xenpf_change_freq = struct('xenpf_change_freq', {
  flags: u32,
  cpu: u32,
  freq: u64,
});

export const XENPF_getidletime = 53;

export const xenpf_getidletime = struct('xenpf_getidletime', {
  cpumap_bitmap: handle('uint8'),
  cpumap_nr_cpus: u32,
  idletime: handle('uint64'),
  now: u64,
});

export const XENPF_set_processor_pminfo = 54;

export const XEN_PM_CX = 0;
export const XEN_PM_PX = 1;
export const XEN_PM_TX = 2;
export const XEN_PM_PDC = 3;

export const XEN_CPUPERF_SHARED_TYPE_HW = 1;
export const XEN_CPUPERF_SHARED_TYPE_ALL = 2;
export const XEN_CPUPERF_SHARED_TYPE_ANY = 3;

export const XENPF_get_cpuinfo = 55;

export const xenpf_pcpuinfo = struct('xenpf_pcpuinfo', {
  xen_cpuid: u32,
  max_present: u32,
  flags: u32,
  apic_id: u32,
  acpi_id: u32,
});

export const XEN_PCPU_FLAGS_ONLINE = 1;
export const XEN_PCPU_FLAGS_INVALID = 2;

export const XENPF_get_cpu_version = 48;

export const xenpf_pcpu_version = struct('xenpf_pcpu_version', {
  xen_cpuid: u32,
  max_present: u32,
  vendor_id: chars(12),
  family: u32,
  model: u32,
  stepping: u32,
});

export const XENPF_cpu_online = 56;
export const XENPF_cpu_offline = 57;

export const xenpf_cpu_ol = struct('xenpf_cpu_ol', {
  cpuid: u32,
});

export const XENPF_cpu_hotadd = 58;

export const xenpf_cpu_hotadd = struct('xenpf_cpu_hotadd', {
  apic_id: u32,
  acpi_id: u32,
  pxm: u32,
});

export const XENPF_mem_hotadd = 59;

export const xenpf_mem_hotadd = struct('xenpf_mem_hotadd', {
  spfn: u64,
  epfn: u64,
  pxm: u32,
  flags: u32,
});

export const XENPF_core_parking = 60;

export const XEN_CORE_PARKING_SET = 1;
export const XEN_CORE_PARKING_GET = 2;

export const xenpf_core_parking = struct('xenpf_core_parking', {
  type: u32,
  idle_nums: u32,
});

export const XENPF_resource_op = 61;

export const XEN_RESOURCE_OP_MSR_READ = 0;
export const XEN_RESOURCE_OP_MSR_WRITE = 1;

export const xenpf_resource_entry = struct('xenpf_resource_entry', {
  u: union('', {
    cmd: u32,
    ret: s32,
  }),
  rsvd: u32,
  idx: u64,
  val: u64,
});

export const xenpf_resource_op = struct('xenpf_resource_op', {
  nr_entries: u32,
  cpu: u32,
  entries: handle('xenpf_resource_entry_t'),
});

export const XENPF_get_symbol = 63;

export const xenpf_symdata = struct('xenpf_symdata', {
  namelen: u32,
  symnum: u32,
  name: handle('char'),
  address: u64,
  type: u8,
});

/** The head of every platform_op; `u` holds the argument struct of its command. */
export const xen_platform_op = struct('xen_platform_op', {
  cmd: u32,
  interface_version: u32,
  u: bytes(128, u64),
});
