// Arrays: of any codec as a JavaScript array, of bytes as a Uint8Array (a private copy), and of chars as a NUL-ended string.
import { type AnyCodec, type Codec, hex, type PerAbi } from './codec.ts';
import { u8 } from './scalars.ts';

export function array<T, W>(count: number, element: Codec<T, W>): Codec<T[], readonly W[]> {
  return {
    ctype: `${element.ctype}[${count}]`,
    shape: { kind: 'array', count, element: element as AnyCodec },
    size: (abi) => count * element.size(abi),
    align: (abi) => element.align(abi),
    read: (view, at, abi) => {
      const stride = element.size(abi);
      const values = new Array<T>(count);
      for (let i = 0; i < count; i++) values[i] = element.read(view, at + i * stride, abi);
      return values;
    },
    write: (view, at, abi, values) => {
      if (values.length > count) throw new RangeError(`${values.length} values for ${element.ctype}[${count}]`);
      const stride = element.size(abi);
      values.forEach((value, i) => {
        element.write(view, at + i * stride, abi, value);
      });
    },
    show: (values) => `[${values.map((value) => element.show(value)).join(', ')}]`,
  };
}

/** uint8_t[count] as bytes; aligned as `like` where it stands for a union of wider things. A shorter value leaves the rest as it was. */
export function bytes(count: number, like: AnyCodec = u8 as AnyCodec): Codec<Uint8Array> {
  return {
    ctype: `uint8_t[${count}]`,
    shape: { kind: 'array', count, element: u8 as AnyCodec },
    size: () => count,
    align: (abi) => like.align(abi),
    read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, count).slice(),
    write: (view, at, _abi, value) => {
      if (value.length > count) throw new RangeError(`${value.length} bytes for uint8_t[${count}]`);
      new Uint8Array(view.buffer, view.byteOffset + at, count).set(value);
    },
    show: (value) => Array.from(value, (byte) => hex(byte).slice(2).padStart(2, '0')).join(' '),
  };
}

/** char[count] as a string, one character per byte: NUL ends it when read, and fills the rest when written. */
export function chars(count: number): Codec<string> {
  return {
    ctype: `char[${count}]`,
    shape: { kind: 'array', count, element: u8 as AnyCodec },
    size: () => count,
    align: () => 1,
    read: (view, at) => {
      let text = '';
      for (let i = 0; i < count; i++) {
        const byte = view.getUint8(at + i);
        if (byte === 0) break;
        text += String.fromCharCode(byte);
      }
      return text;
    },
    write: (view, at, _abi, value) => {
      if (value.length > count) throw new RangeError(`${value.length} characters for char[${count}]`);
      for (let i = 0; i < count; i++) view.setUint8(at + i, i < value.length ? value.charCodeAt(i) & 0xff : 0);
    },
    show: (value) => JSON.stringify(value),
  };
}

/** A byte area whose length follows the ABI, such as the event bitmaps of shared_info. */
export function bytesPerAbi(counts: PerAbi<number>): Codec<Uint8Array> {
  const of: PerAbi<Codec<Uint8Array>> = { x86_64: bytes(counts.x86_64), x86_32: bytes(counts.x86_32) };
  return {
    ctype: `uint8_t[${counts.x86_64} or ${counts.x86_32}]`,
    shape: { kind: 'scalar' },
    size: (abi) => counts[abi],
    // Such areas are arrays or paddings of unsigned long.
    align: (abi) => (abi === 'x86_64' ? 8 : 4),
    read: (view, at, abi) => of[abi].read(view, at, abi),
    write: (view, at, abi, value) => of[abi].write(view, at, abi, value),
    show: of.x86_64.show,
  };
}
