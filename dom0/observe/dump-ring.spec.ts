import {
  BLKIF_OP_INDIRECT,
  BLKIF_OP_WRITE,
  blkif_request,
  blkif_request_indirect,
  blkif_response,
  encode,
  NETTXF_extra_info,
  netif_extra_info,
  netif_tx_request,
  sring,
  xencons_interface,
} from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Dom0 } from '../kernel/dom0.ts';
import { GrantError } from '../kernel/gnttab.ts';
import { DumpError, dumpRings } from './dump-ring.ts';
import { RING_KINDS, readRing } from './ring-slots.ts';

const PAGE = 4096;
const FRONT = '/local/domain/3/device/vbd/51712';

/** A ring with slots written where their indices put them. */
function ring(
  kind: keyof typeof RING_KINDS,
  indices: { req_prod: number; rsp_prod: number },
  slots: Record<number, Uint8Array>,
  pages = 1,
): Uint8Array {
  const bytes = new Uint8Array(PAGE * pages);
  bytes.set(sring.encode('x86_64', { ...indices, req_event: indices.rsp_prod + 1, rsp_event: indices.rsp_prod + 1 }));
  const { type } = RING_KINDS[kind];
  const count = type.slots('x86_64', bytes.length);
  for (const [index, slot] of Object.entries(slots)) bytes.set(slot, type.slotOffset('x86_64', Number(index), count));
  return bytes;
}
const write = (id: number) =>
  blkif_request.encode('x86_64', { operation: BLKIF_OP_WRITE, nr_segments: 1, id: BigInt(id), sector_number: 8 });

describe('the slots of a ring', () => {
  it('are the requests that wait and the responses before them, by free-running index', () => {
    const bytes = ring(
      'blkif',
      { req_prod: 35, rsp_prod: 33 },
      {
        32: blkif_response.encode('x86_64', { id: 5n, operation: BLKIF_OP_WRITE, status: -1 }),
        33: write(6),
        34: blkif_request_indirect.encode('x86_64', { operation: BLKIF_OP_INDIRECT, indirect_op: 1, nr_segments: 20, id: 7n }),
      },
    );
    const r = readRing(RING_KINDS.blkif, 'x86_64', bytes, 1);
    expect(r).toMatchObject({ slots: 32, reqProd: 35, rspProd: 33, reqEvent: 34, isBroken: false });
    expect(r.outstanding.map((s) => [s.index, s.slot, s.codec.ctype])).toEqual([
      [33, 1, 'struct blkif_request'],
      [34, 2, 'struct blkif_request_indirect'],
    ]);
    expect(r.answered.map((s) => [s.index, s.slot])).toEqual([[32, 0]]);
  });

  it('of a packet with an extra info are told apart', () => {
    const bytes = ring(
      'netif_tx',
      { req_prod: 3, rsp_prod: 0 },
      {
        0: netif_tx_request.encode('x86_64', { flags: NETTXF_extra_info, size: 1000 }),
        1: netif_extra_info.encode('x86_64', { type: 1 }),
        2: netif_tx_request.encode('x86_64', { size: 60 }),
      },
    );
    const { outstanding } = readRing(RING_KINDS.netif_tx, 'x86_64', bytes, 4);
    expect(outstanding.map((s) => s.kind)).toEqual(['request', 'extra', 'request']);
  });

  it('mean nothing when the producer index cannot be', () => {
    const bytes = ring('blkif', { req_prod: 0xffff_0000, rsp_prod: 0 }, {});
    expect(readRing(RING_KINDS.blkif, 'x86_64', bytes, 4)).toMatchObject({ isBroken: true, outstanding: [], answered: [] });
  });

  it('of a ring that has just begun to wrap at 2^32 are found', () => {
    const bytes = ring('blkif', { req_prod: 1, rsp_prod: 0xffff_ffff }, { 4294967295: write(1), 0: write(2) });
    const { outstanding } = readRing(RING_KINDS.blkif, 'x86_64', bytes, 0);
    expect(outstanding.map((s) => [s.index, s.slot])).toEqual([
      [0xffff_ffff, 31],
      [0, 0],
    ]);
  });
});

describe('dump ring', () => {
  let store: Map<string, string>;
  let pages: Map<number, Uint8Array>;
  let mapped: { refs: number[]; readonly: boolean | undefined }[];
  let unmapped = 0;
  // SAFE: what the dump uses of it.
  const dom0 = {
    xs: { read: (path: string) => store.get(path) ?? null },
    grants: {
      map: (_dom: number, refs: number[], options: { readonly?: boolean }) => {
        mapped.push({ refs, readonly: options.readonly });
        if (refs.some((r) => !pages.has(r))) throw new GrantError('mapping', -3);
        return {
          page: (i: number) => ({ bytes: (o: number, n: number) => pages.get(refs[i]!)!.slice(o, o + n) }),
          unmap: () => unmapped++,
        };
      },
    },
  } as unknown as Dom0;

  beforeEach(() => {
    store = new Map([
      [`${FRONT}/backend`, 'there'],
      [`${FRONT}/ring-ref`, '9'],
    ]);
    pages = new Map([[9, ring('blkif', { req_prod: 1, rsp_prod: 0 }, { 0: write(42) })]]);
    mapped = [];
    unmapped = 0;
  });

  it('shows indices and decoded slots, through a mapping that cannot write and does not stay', () => {
    const text = dumpRings(dom0, 3, 'vbd/51712');
    expect(text).toContain('vbd/3/51712: 32 slots, 1 page, x86_64');
    expect(text).toContain('req_prod 1  req_event 1  rsp_prod 0  rsp_event 1');
    expect(text).toContain('1 request without a response');
    expect(text).toMatch(/0x0000 {2}operation: 0x1/);
    expect(text).toMatch(/id: 0x2a/);
    expect(mapped).toEqual([{ refs: [9], readonly: true }]);
    expect(unmapped).toBe(1);
    expect(dumpRings(dom0, 3, 'xvda')).toBe(text);
  });

  it('finds the pages of a larger ring, and the queues', () => {
    store.set(`${FRONT}/ring-page-order`, '1');
    store.set(`${FRONT}/multi-queue-num-queues`, '2');
    const whole = ring('blkif', { req_prod: 40, rsp_prod: 39 }, { 39: write(1) }, 2);
    for (const q of [0, 1])
      for (const i of [0, 1]) {
        store.set(`${FRONT}/queue-${q}/ring-ref${i}`, String(100 + q * 2 + i));
        pages.set(100 + q * 2 + i, whole.slice(i * PAGE, (i + 1) * PAGE));
      }
    const text = dumpRings(dom0, 3, 'vbd/51712');
    expect(text.match(/64 slots, 2 pages/g)).toHaveLength(2);
    expect(dumpRings(dom0, 3, 'xvda/1')).toContain('vbd/3/51712 q1');
    expect(() => dumpRings(dom0, 3, 'xvda/2')).toThrow(DumpError);
  });

  it('shows a console with what waits in it', () => {
    const bytes = encode(xencons_interface, 'x86_64', {
      ...{ in: new Uint8Array(1024), out: new Uint8Array(2048), in_cons: 0, in_prod: 0, out_cons: 2047, out_prod: 2050 },
    });
    bytes.set([0x61], xencons_interface.offset('out', 'x86_64') + 2047);
    bytes.set([0x62, 0x0a], xencons_interface.offset('out', 'x86_64'));
    pages.set(0, new Uint8Array(PAGE));
    pages.get(0)!.set(bytes);
    expect(dumpRings(dom0, 3, 'console')).toContain('out: 2048 bytes, out_prod 2050, out_cons 2047, 3 waiting\n    "ab\\x0a"');
  });

  it('is an error by name where there is nothing to see, never an exception of another kind', () => {
    const failing = (change: () => void, device = 'vbd/51712') => {
      change();
      expect(() => dumpRings(dom0, 3, device)).toThrow(DumpError);
    };
    failing(() => {}, 'vbd/51728');
    failing(() => {}, 'vif/0');
    failing(() => {}, 'nonsense/7');
    failing(() => store.set(`${FRONT}/ring-ref`, '9; rm'));
    failing(() => store.set(`${FRONT}/ring-ref`, '10'));
    failing(() => store.set(`${FRONT}/ring-page-order`, '31'));
    failing(() => store.set(`${FRONT}/protocol`, 'arm-abi'));
    failing(() => store.delete(`${FRONT}/ring-ref`));
  });
});
