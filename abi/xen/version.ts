// version.h: xen_version: what the hypervisor says about itself.
import { chars } from '../layout/array.ts';
import { u32, vaddr_t } from '../layout/scalars.ts';
import { struct } from '../layout/struct.ts';

export const XENVER_version = 0;
export const XENVER_extraversion = 1;
export const XEN_EXTRAVERSION_LEN = 0x10;

export const XENVER_compile_info = 2;

export const xen_compile_info = struct('xen_compile_info', {
  compiler: chars(64),
  compile_by: chars(16),
  compile_domain: chars(32),
  compile_date: chars(32),
});

export const XENVER_capabilities = 3;
export const XEN_CAPABILITIES_INFO_LEN = 0x400;

export const XENVER_changeset = 4;
export const XEN_CHANGESET_INFO_LEN = 0x40;

export const XENVER_platform_parameters = 5;

export const xen_platform_parameters = struct('xen_platform_parameters', {
  virt_start: vaddr_t,
});

export const XENVER_get_features = 6;

export const xen_feature_info = struct('xen_feature_info', {
  submap_idx: u32,
  submap: u32,
});

export const XENVER_pagesize = 7;
export const XENVER_guest_handle = 8;
export const XENVER_commandline = 9;
export const XENVER_build_id = 10;

export const xen_build_id = struct('xen_build_id', {
  len: u32,
});
