// The settings that xl 4.17 knows (xl.cfg(5)), by what this toolstack makes of them. A setting that is in no list is unknown.

import { HVM_KEYS } from './xlcfg-hvm.ts';

/** Read by xlcfg.ts and xlcfg-hvm.ts. */
export const USED_KEYS = [
  ...HVM_KEYS,
  'name',
  'uuid',
  'type',
  'builder',
  'memory',
  'maxmem',
  'vcpus',
  'maxvcpus',
  'cpu_weight',
  'kernel',
  'ramdisk',
  'cmdline',
  'root',
  'extra',
  'on_poweroff',
  'on_reboot',
  'on_watchdog',
  'on_crash',
  'on_soft_reset',
  'max_grant_frames',
  'max_maptrack_frames',
  'max_event_channels',
  'disk',
  'vif',
  'p9',
  'vfb',
  'vkb',
  'channel',
] as const;

/** Devices and abilities that a domain asks for and does not get yet: one warning each. */
export const MISSING_KEYS = [
  'vtpm',
  'pci',
  'usbctrl',
  'usbdev',
  'vdispl',
  'vsnd',
  'pvcallsif',
  'virtio',
  'bootloader',
  'bootloader_args',
  'cpuid',
  'cpu_cap',
  'ioports',
  'iomem',
  'irqs',
  'dtdev',
  'rdm',
  'rtc_timeoffset',
  'localtime',
  'tsc_mode',
  'e820_host',
  'driver_domain',
  'device_tree',
  'vnuma',
  'seclabel',
  'init_seclabel',
] as const;

/** Settings of placement, of device models and of HVM firmware: they change nothing for a PV domain on this machine. */
export const INERT_KEYS: readonly string[] = `
  acpi_firmware acpi_laptop_slate acpi_s3 acpi_s4 altp2m altp2mhvm bios_path_override blkdev_start cap
  claim_mode cpus cpus_soft device_model device_model_args device_model_args_hvm device_model_args_pv device_model_override
  device_model_stubdomain_cmdline device_model_stubdomain_override device_model_stubdomain_seclabel device_model_user
  device_model_version dm_restrict extratime firmware_override gfx_passthru gic_version hdtype hvm iommu keymap
  latency max_grant_version mca_caps mmio_hole ms_vm_genid msr_relaxed nodes nographic nomigrate nx opengl pae
  passthrough pci_msitranslate pci_permissive pci_power_mgmt pci_seize period pool pvh pvshim pvshim_cmdline pvshim_extra
  pvshim_path rdm_mem_boundary run_hotplug_scripts scsi sdl shadow_memory slice smbios_firmware soundhw spice spiceagent_mouse
  spicedisable_ticketing spicehost spicepasswd spiceport spicetls_port spiceusbredirection spicevdagent spice_clipboard_sharing
  spice_image_compression spice_streaming_video stubdomain_cmdline stubdomain_kernel stubdomain_memory stubdomain_ramdisk
  suppress_spurious_page_faults system_firmware tee timer_mode usb usbdevice usbversion vendor_device viridian
  vkb_device vmtrace_buf_kb vnc vncdisplay vnclisten vncpasswd vncunused vncviewer vncconsole vpmu vpt_align vuart xauthority
  xend_suspend_evtchn_compat display console sched budget
`
  .trim()
  .split(/\s+/);
