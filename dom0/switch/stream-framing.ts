// How QEMU's `-netdev stream` and `-netdev socket` put Ethernet frames on a stream socket, and passt with them: 32 bits of length, big
// endian, then the frame.

/** Above what either sends: QEMU's NET_BUFSIZE (include/net/net.h). A length beyond it means that the other end talks of something else. */
export const MAX_STREAM_FRAME = 4096 + 65536;

/** A frame with its length in front, in bytes of its own. */
export function frameForStream(frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + frame.length);
  new DataView(bytes.buffer).setUint32(0, frame.length);
  bytes.set(frame, 4);
  return bytes;
}

/** Finds the frames in a stream that arrives in pieces. */
export class StreamFrames {
  /** What is there of a frame that is not complete, in the pieces in which it came: put together once there is enough. */
  private pieces: Uint8Array[] = [];
  private held = 0;
  private needed = 4;

  /**
   * The frames that are complete with these bytes: parts of them, or copies. Null when a length makes no sense; nothing that comes after can
   * be understood then.
   */
  push(bytes: Uint8Array): Uint8Array[] | null {
    this.pieces.push(bytes);
    this.held += bytes.length;
    if (this.held < this.needed) return [];
    const all = this.pieces.length === 1 ? bytes : joined(this.pieces, this.held);
    const view = new DataView(all.buffer, all.byteOffset, all.length);
    const frames: Uint8Array[] = [];
    let at = 0;
    this.needed = 4;
    while (at + 4 <= all.length) {
      const length = view.getUint32(at);
      if (length > MAX_STREAM_FRAME) return null;
      if (at + 4 + length > all.length) {
        this.needed = 4 + length;
        break;
      }
      if (length > 0) frames.push(all.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.pieces = at < all.length ? [all.subarray(at)] : [];
    this.held = all.length - at;
    return frames;
  }
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
