// hypfs.h: hypfs_op: the hypervisor's parameters as a file system.

import { u8, u16, u32 } from '../layout/scalars.ts';
import { struct } from '../layout/struct.ts';

export const XEN_HYPFS_VERSION = 1;
export const XEN_HYPFS_MAX_PATHLEN = 1024;

export const xen_hypfs_direntry = struct('xen_hypfs_direntry', {
  type: u8,
  encoding: u8,
  pad: u16,
  content_len: u32,
  max_write_len: u32,
});

export const XEN_HYPFS_TYPE_DIR = 0;
export const XEN_HYPFS_TYPE_BLOB = 1;
export const XEN_HYPFS_TYPE_STRING = 2;
export const XEN_HYPFS_TYPE_UINT = 3;
export const XEN_HYPFS_TYPE_INT = 4;
export const XEN_HYPFS_TYPE_BOOL = 5;
export const XEN_HYPFS_ENC_PLAIN = 0;
export const XEN_HYPFS_ENC_GZIP = 1;

export const xen_hypfs_dirlistentry = struct('xen_hypfs_dirlistentry', {
  e: xen_hypfs_direntry,
  off_next: u16,
});

export const XEN_HYPFS_OP_get_version = 0;
export const XEN_HYPFS_OP_read = 1;
export const XEN_HYPFS_OP_write_contents = 2;
