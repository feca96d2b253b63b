// An annotated dump, derived from the declarations: one line per scalar with its offset, its path and its value.
import type { Abi, AnyCodec } from './codec.ts';

/** Arrays longer than this show only their elements that are not all zero. */
const SHORT_ARRAY = 8;

function isZero(view: DataView, at: number, size: number): boolean {
  for (let i = 0; i < size; i++) if (view.getUint8(at + i) !== 0) return false;
  return true;
}

function walk(codec: AnyCodec, view: DataView, at: number, abi: Abi, path: string, out: [number, string, string][]): void {
  const { shape } = codec;
  if (codec.onlyIn !== undefined && codec.onlyIn !== abi) return;
  if (shape.kind === 'struct' || shape.kind === 'union') {
    for (const member of shape.members) {
      walk(member.codec, view, at + member.offset(abi), abi, path === '' ? member.name : `${path}.${member.name}`, out);
    }
    return;
  }
  if (shape.kind === 'array' && shape.element.size(abi) > 1) {
    const stride = shape.element.size(abi);
    for (let i = 0; i < shape.count; i++) {
      if (shape.count > SHORT_ARRAY && isZero(view, at + i * stride, stride)) continue;
      walk(shape.element, view, at + i * stride, abi, `${path}[${i}]`, out);
    }
    return;
  }
  out.push([at, path, codec.show(codec.read(view, at, abi) as never)]);
}

/** Lines of "offset  member.path: value", offsets counted from `at`. */
export function dump(codec: AnyCodec, view: DataView, at: number, abi: Abi): string {
  const rows: [number, string, string][] = [];
  walk(codec, view, at, abi, '', rows);
  return rows.map(([offset, path, value]) => `0x${(offset - at).toString(16).padStart(4, '0')}  ${path}: ${value}`).join('\n');
}
