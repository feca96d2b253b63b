// flask_op.h: xsm_op commands of the FLASK module.

import { evtchn_port_t, handle, u8, u32, u64 } from '../../layout/scalars.ts';
import { struct, union } from '../../layout/struct.ts';

export const XEN_FLASK_INTERFACE_VERSION = 1;

export const xen_flask_load = struct('xen_flask_load', {
  buffer: handle('char'),
  size: u32,
});

export const xen_flask_setenforce = struct('xen_flask_setenforce', {
  enforcing: u32,
});

export const xen_flask_sid_context = struct('xen_flask_sid_context', {
  sid: u32,
  size: u32,
  context: handle('char'),
});

export const xen_flask_access = struct('xen_flask_access', {
  ssid: u32,
  tsid: u32,
  tclass: u32,
  req: u32,
  allowed: u32,
  audit_allow: u32,
  audit_deny: u32,
  seqno: u32,
});

export const xen_flask_transition = struct('xen_flask_transition', {
  ssid: u32,
  tsid: u32,
  tclass: u32,
  newsid: u32,
});

export const xen_flask_boolean = struct('xen_flask_boolean', {
  bool_id: u32,
  enforcing: u8,
  pending: u8,
  new_value: u8,
  commit: u8,
  size: u32,
  name: handle('char'),
});

export const xen_flask_setavc_threshold = struct('xen_flask_setavc_threshold', {
  threshold: u32,
});

export const xen_flask_hash_stats = struct('xen_flask_hash_stats', {
  entries: u32,
  buckets_used: u32,
  buckets_total: u32,
  max_chain_len: u32,
});

export const xen_flask_cache_stats = struct('xen_flask_cache_stats', {
  cpu: u32,
  lookups: u32,
  hits: u32,
  misses: u32,
  allocations: u32,
  reclaims: u32,
  frees: u32,
});

export const xen_flask_ocontext = struct('xen_flask_ocontext', {
  ocon: u32,
  sid: u32,
  low: u64,
  high: u64,
});

export const xen_flask_peersid = struct('xen_flask_peersid', {
  evtchn: evtchn_port_t,
  sid: u32,
});

export const xen_flask_relabel = struct('xen_flask_relabel', {
  domid: u32,
  sid: u32,
});

export const xen_flask_devicetree_label = struct('xen_flask_devicetree_label', {
  sid: u32,
  length: u32,
  path: handle('char'),
});

export const xen_flask_op = struct('xen_flask_op', {
  cmd: u32,
  interface_version: u32,
  u: union('', {
    load: xen_flask_load,
    enforce: xen_flask_setenforce,
    sid_context: xen_flask_sid_context,
    access: xen_flask_access,
    transition: xen_flask_transition,
    boolean: xen_flask_boolean,
    setavc_threshold: xen_flask_setavc_threshold,
    hash_stats: xen_flask_hash_stats,
    cache_stats: xen_flask_cache_stats,
    ocontext: xen_flask_ocontext,
    peersid: xen_flask_peersid,
    relabel: xen_flask_relabel,
    devicetree_label: xen_flask_devicetree_label,
  }),
});

export const FLASK_LOAD = 1;
export const FLASK_GETENFORCE = 2;
export const FLASK_SETENFORCE = 3;
export const FLASK_CONTEXT_TO_SID = 4;
export const FLASK_SID_TO_CONTEXT = 5;
export const FLASK_ACCESS = 6;
export const FLASK_CREATE = 7;
export const FLASK_RELABEL = 8;
export const FLASK_USER = 9;
export const FLASK_POLICYVERS = 10;
export const FLASK_GETBOOL = 11;
export const FLASK_SETBOOL = 12;
export const FLASK_COMMITBOOLS = 13;
export const FLASK_MLS = 14;
export const FLASK_DISABLE = 15;
export const FLASK_GETAVC_THRESHOLD = 16;
export const FLASK_SETAVC_THRESHOLD = 17;
export const FLASK_AVC_HASHSTATS = 18;
export const FLASK_AVC_CACHESTATS = 19;
export const FLASK_MEMBER = 20;
export const FLASK_ADD_OCONTEXT = 21;
export const FLASK_DEL_OCONTEXT = 22;
export const FLASK_GET_PEER_SID = 23;
export const FLASK_RELABEL_DOMAIN = 24;
export const FLASK_DEVICETREE_LABEL = 25;
