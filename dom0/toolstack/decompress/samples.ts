// Plain data that the decompressor tests compare with: made by rule, so that only its compressed forms need keeping.

/** Numbers in [0, n), the same in every run. */
function lcg(seed: number): (n: number) => number {
  let x = seed;
  return (n) => {
    x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((x / 2 ** 32) * n);
  };
}

/** Words with repeats near and far, a long run, and some noise. */
export function sampleText(): Uint8Array {
  const next = lcg(1);
  const words = ['grant', 'event', 'channel', 'frame', 'ring', 'page', 'hypercall', '\n'];
  const text = Array.from({ length: 700 }, () => words[next(words.length)]).join(' ');
  const noise = Uint8Array.from({ length: 200 }, () => next(256));
  const bytes = new TextEncoder().encode(text);
  const out = new Uint8Array(bytes.length * 2 + noise.length + 1000);
  out.set(bytes, 0);
  out.set(noise, bytes.length);
  out.fill(0x61, bytes.length + noise.length, bytes.length + noise.length + 1000);
  out.set(bytes, bytes.length + noise.length + 1000);
  return out;
}

/** Something like machine code: calls and jumps to a few targets, opcodes close together, operands of every kind. */
export function sampleCode(): Uint8Array {
  const next = lcg(7);
  const out = new Uint8Array(6000);
  for (let i = 0; i < out.length - 8; ) {
    const kind = next(8);
    if (kind < 3) {
      out[i] = 0xe8 + next(2);
      new DataView(out.buffer).setInt32(i + 1, next(40) * 128 - i - 5, true);
      i += 5;
    } else if (kind === 3) {
      out.fill(0xe8, i, i + 1 + next(5));
      i += 1 + next(6);
    } else {
      out[i++] = [0x48, 0x89, 0x00, 0xff, 0x90][next(5)]!;
    }
  }
  return out;
}
