// The saved context of an HVM domain as a stream of records, each behind a descriptor: header, one record per vCPU, end
// (xen/common/hvm/save.c, hvm_save() and hvm_load(); public/hvm/save.h). The platform's records are not in it: a domain starts with its
// platform at reset, and one that has run cannot be saved yet.

import {
  HVM_FILE_MAGIC,
  HVM_FILE_VERSION,
  HVM_SAVE_CODES,
  hvm_hw_cpu,
  hvm_save_descriptor,
  hvm_save_header,
  XEN_EINVAL,
  XEN_ENODATA,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import type { HvmCpuState } from '../core/hvm-hooks.ts';
import type { Hypervisor } from '../core/hypervisor.ts';

const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldtr'] as const;
/** From 12 bits to a descriptor's bytes 5 and 6, and back. */
export const unpackRights = (ar: number): number => (ar & 0xff) | ((ar & 0xf00) << 4);
const packRights = (ar: number): number => (ar & 0xff) | ((ar >>> 4) & 0xf00);

const DESCRIPTOR = hvm_save_descriptor.size('x86_64');
const CPU = hvm_hw_cpu.size('x86_64');
const HEADER = hvm_save_header.size('x86_64');
/** Xen takes the family and model of the saving machine for advice only. */
const CHANGESET = (4n << 16n) | 17n;

/** hvm_save_size(): bytes, at most. */
export const hvmContextSize = (d: Domain): number => DESCRIPTOR * (2 + d.vcpus.length) + HEADER + CPU * d.vcpus.length;

/** All records of a domain that is paused. */
export function saveHvmContext(hv: Hypervisor, d: Domain): Uint8Array {
  const records = [
    record(HVM_SAVE_CODES.HEADER, 0, headerOf(hv)),
    ...d.vcpus.filter((v) => v.isInitialised && v.hvm !== null).map((v) => record(HVM_SAVE_CODES.CPU, v.id, cpuRecord(hv, d, v.id))),
    record(HVM_SAVE_CODES.END, 0, new Uint8Array(0)),
  ];
  const out = new Uint8Array(records.reduce((n, r) => n + r.length, 0));
  let at = 0;
  for (const r of records) {
    out.set(r, at);
    at += r.length;
  }
  return out;
}

/** hvm_save_one(): the payload of one record, or -XEN_Exxx. */
export function saveHvmRecord(hv: Hypervisor, d: Domain, type: number, instance: number): Uint8Array | number {
  if (type === HVM_SAVE_CODES.HEADER) return headerOf(hv);
  if (type !== HVM_SAVE_CODES.CPU) return -XEN_EINVAL;
  const v = d.vcpus[instance];
  return v === undefined || !v.isInitialised || v.hvm === null ? -XEN_ENODATA : cpuRecord(hv, d, instance);
}

/** Loads every record; vCPUs that have one are initialised, and up. 0 or -XEN_EINVAL, with what came before the fault loaded. */
export function loadHvmContext(hv: Hypervisor, d: Domain, bytes: Uint8Array): number {
  let isFirst = true;
  for (let at = 0; at + DESCRIPTOR <= bytes.length; ) {
    const { typecode, instance, length } = hvm_save_descriptor.decode('x86_64', bytes.subarray(at, at + DESCRIPTOR));
    at += DESCRIPTOR;
    if (length > bytes.length - at) return -XEN_EINVAL;
    const payload = bytes.subarray(at, at + length);
    at += length;
    if (typecode === HVM_SAVE_CODES.END) return isFirst ? -XEN_EINVAL : 0;
    // A stream begins with its header.
    const rc = isFirst ? loadHeader(typecode, payload) : loadRecord(hv, d, typecode, instance, payload);
    if (rc !== 0) return rc;
    isFirst = false;
  }
  // No end.
  return -XEN_EINVAL;
}

function loadHeader(typecode: number, payload: Uint8Array): number {
  if (typecode !== HVM_SAVE_CODES.HEADER || payload.length < HEADER) return -XEN_EINVAL;
  const { magic, version } = hvm_save_header.decode('x86_64', payload);
  return magic === HVM_FILE_MAGIC && version === HVM_FILE_VERSION ? 0 : -XEN_EINVAL;
}

function loadRecord(hv: Hypervisor, d: Domain, typecode: number, instance: number, payload: Uint8Array): number {
  // libxc passes an MTRR record for PVH domains; memory types have no effect here.
  if (typecode === HVM_SAVE_CODES.MTRR) return 0;
  if (typecode !== HVM_SAVE_CODES.CPU || payload.length !== CPU) return -XEN_EINVAL;
  const v = d.vcpus[instance];
  if (v === undefined || v.hvm === null) return -XEN_EINVAL;
  const rc = hv.hvm.loadCpu(hv, v, withRights(hvm_hw_cpu.decode('x86_64', payload), unpackRights));
  if (rc !== 0) return rc;
  v.isInitialised = true;
  if (v.isDown) {
    v.isDown = false;
    hv.scheduler.wake(v);
  }
  return 0;
}

const headerOf = (hv: Hypervisor): Uint8Array =>
  hvm_save_header.encode('x86_64', {
    magic: HVM_FILE_MAGIC,
    version: HVM_FILE_VERSION,
    changeset: CHANGESET,
    cpuid: 0,
    gtsc_khz: Math.floor(hv.clock.tscHz / 1000),
  });

const cpuRecord = (hv: Hypervisor, d: Domain, vcpu: number): Uint8Array =>
  hvm_hw_cpu.encode('x86_64', withRights(hv.hvm.saveCpu(hv, d.vcpus[vcpu]!), packRights));

function withRights(s: HvmCpuState, convert: (rights: number) => number): HvmCpuState {
  const rights = Object.fromEntries(SEGMENTS.map((name) => [`${name}_arbytes`, convert(s[`${name}_arbytes`])]));
  return { ...s, ...rights };
}

function record(typecode: number, instance: number, payload: Uint8Array): Uint8Array {
  const out = new Uint8Array(DESCRIPTOR + payload.length);
  out.set(hvm_save_descriptor.encode('x86_64', { typecode, instance, length: payload.length }));
  out.set(payload, DESCRIPTOR);
  return out;
}
