// Reads and writes 9P messages: little-endian numbers, strings with a 16-bit length. What a guest sent is read from a private copy, never past
// its end.
import { ShareError } from './share.ts';

const TWO32 = 4294967296;

export class MessageReader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = at;
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  u8(): number {
    return this.view.getUint8(this.skip(1));
  }
  u16(): number {
    return this.view.getUint16(this.skip(2), true);
  }
  u32(): number {
    return this.view.getUint32(this.skip(4), true);
  }
  /** Offsets and sizes. EINVAL where a double is not exact: no file is as large. */
  u64(): number {
    const value = this.u64Rounded();
    if (!Number.isSafeInteger(value)) throw new ShareError('EINVAL');
    return value;
  }
  /** Values of which the highest mean "no end". */
  u64Rounded(): number {
    const at = this.skip(8);
    return this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * TWO32;
  }
  /** One character per byte. */
  string(): string {
    const length = this.u16();
    const at = this.skip(length);
    let text = '';
    for (let i = at; i < at + length; i++) text += String.fromCharCode(this.bytes[i]!);
    return text;
  }
  data(length: number): Uint8Array {
    const at = this.skip(length);
    return this.bytes.subarray(at, at + length);
  }

  private skip(length: number): number {
    const { at } = this;
    if (at + length > this.bytes.length) throw new ShareError('EINVAL');
    this.at = at + length;
    return at;
  }
}

export class MessageWriter {
  private bytes: Uint8Array;
  private view: DataView;
  private at = 0;

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  get length(): number {
    return this.at;
  }

  u8(value: number): this {
    const at = this.grow(1);
    this.view.setUint8(at, value);
    return this;
  }
  u16(value: number): this {
    const at = this.grow(2);
    this.view.setUint16(at, value, true);
    return this;
  }
  u32(value: number): this {
    const at = this.grow(4);
    this.view.setUint32(at, value, true);
    return this;
  }
  u64(value: number): this {
    const at = this.grow(8);
    this.view.setUint32(at, value % TWO32, true);
    this.view.setUint32(at + 4, Math.floor(value / TWO32), true);
    return this;
  }
  string(text: string): this {
    this.u16(text.length);
    const at = this.grow(text.length);
    for (let i = 0; i < text.length; i++) this.bytes[at + i] = text.charCodeAt(i);
    return this;
  }
  data(bytes: Uint8Array): this {
    // grow() may replace what this.bytes is.
    const at = this.grow(bytes.length);
    this.bytes.set(bytes, at);
    return this;
  }
  /** Writes over a number that was left open. */
  setU32(at: number, value: number): void {
    this.view.setUint32(at, value, true);
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.at);
  }

  private grow(length: number): number {
    const { at } = this;
    this.at = at + length;
    if (this.at > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.at, this.bytes.length * 2));
      larger.set(this.bytes);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return at;
  }
}
