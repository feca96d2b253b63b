// The latency model 'hdd': a desktop disk of 2010 with one arm. The image is the whole disk: its first sector lies on the outermost track,
// its last on the innermost, and a seek between them takes the full stroke. The platter turns with system time, so where a sector is when
// the arm arrives follows from the clock. The disk reads ahead behind the last read, and keeps writes in its cache until the arm is free.
import type { LatencyModel } from './block-store.ts';
import type { Figure } from './latency.ts';

const HITACHI = 'Hitachi Deskstar 7K1000.C specification, 4.5.2.1 (typical)';
const SEAGATE = 'Seagate Barracuda XT ST32000641AS data sheet';

export const HDD = {
  revolutionNs: { value: 60e9 / 7200, source: SEAGATE },
  seekReadAverageNs: { value: 8.5e6, source: HITACHI },
  seekWriteAverageNs: { value: 9.5e6, source: HITACHI },
  seekTrackNs: { value: 1.0e6, source: 'derived: single track seek of Hitachi 5K320, specification 4.4.2.3, whose arm is alike' },
  outerBytesPerSecond: { value: 138e6, source: SEAGATE },
  innerBytesPerSecond: { value: 69e6, source: 'derived: half, as the radius of the innermost track is about half of the outermost' },
  interfaceBytesPerSecond: { value: 600e6, source: SEAGATE },
  cacheBytes: { value: 64 * 1024 * 1024, source: SEAGATE },
  readAheadBytes: { value: 2 * 1024 * 1024, source: 'derived: a cache of 64 MiB in 32 segments' },
  commandNs: { value: 0.1e6, source: 'derived: the part of a cached read that is no transfer, of the order that reviews measure' },
} satisfies Record<string, Figure>;

const SECOND = 1e9;
const SECTOR = 512;
/**
 * Seek time over distance is taken as a + b * sqrt(x), x of 0 to 1 of the stroke (C. Ruemmler, J. Wilkes: An introduction to disk drive
 * modeling, IEEE Computer 1994, for short seeks). Between two random places the average of sqrt(x) is 8/15, which gives b from the average.
 */
const MEAN_SQRT = 8 / 15;

export class HddModel implements LatencyModel {
  readonly name = 'hdd';
  /** Plain data. Places are bytes from the start, times are system time in ns. */
  readonly state = {
    /** Until when the arm is busy with what cannot wait. */
    armUntil: 0,
    arm: 0,
    /** The last read: its end, and when the head was there. */
    readEnd: -1,
    readEndAt: 0,
    /** Writes in the cache: what they will take the arm, their bytes, and where the last one ends. */
    backlogNs: 0,
    backlogBytes: 0,
    backlogEnd: -1,
  };
  private readonly bytes: number;

  constructor(sectors: number) {
    this.bytes = Math.max(1, sectors * SECTOR);
  }

  read(now: number, sector: number, bytes: number): number {
    this.drain(now);
    const s = this.state;
    const at = sector * SECTOR;
    const transfer = (bytes / this.rate(at)) * SECOND;
    const send = HDD.commandNs.value + (bytes / HDD.interfaceBytesPerSecond.value) * SECOND;
    // Does it go on where the disk has read ahead, or is about to?
    const isAhead = s.readEnd >= 0 && at >= s.readEnd && at - s.readEnd <= HDD.readAheadBytes.value;
    let end: number;
    if (isAhead) end = Math.max(now, s.readEndAt + ((at + bytes - s.readEnd) / this.rate(at)) * SECOND);
    else {
      const start = Math.max(now, s.armUntil);
      const there = start + this.seek(at, HDD.seekReadAverageNs.value);
      end = there + this.turn(there, at) + transfer;
    }
    // It does not read ahead further than it has room.
    s.readEndAt = Math.max(end, now - (HDD.readAheadBytes.value / this.rate(at)) * SECOND);
    s.readEnd = at + bytes;
    s.arm = s.readEnd;
    s.armUntil = Math.max(s.armUntil, end);
    return end - now + send;
  }

  write(now: number, sector: number, bytes: number): number {
    this.drain(now);
    const s = this.state;
    const at = sector * SECTOR;
    const send = HDD.commandNs.value + (bytes / HDD.interfaceBytesPerSecond.value) * SECOND;
    let work = (bytes / this.rate(at)) * SECOND;
    // The arm will come from the write before it, half a turn away on average: when that is nobody knows yet.
    if (at !== s.backlogEnd) work += this.seek(at, HDD.seekWriteAverageNs.value, Math.max(0, s.backlogEnd)) + HDD.revolutionNs.value / 2;
    // A full cache takes as much as it has written.
    const excess = Math.max(0, s.backlogBytes + bytes - HDD.cacheBytes.value);
    const room = excess === 0 ? 0 : Math.max(0, s.armUntil - now) + (s.backlogNs * excess) / Math.max(1, s.backlogBytes);
    s.backlogNs += work;
    s.backlogBytes += bytes;
    s.backlogEnd = at + bytes;
    return room + send;
  }

  flush(now: number): number {
    this.drain(now);
    return Math.max(0, this.state.armUntil - now) + this.state.backlogNs + HDD.commandNs.value;
  }

  /** Disks of that kind know no discard; one that does has only to note it. */
  discard(): number {
    return HDD.commandNs.value;
  }

  /** What the arm has written from the cache since it was last free. */
  private drain(now: number): void {
    const s = this.state;
    const free = Math.max(0, now - s.armUntil);
    const done = Math.min(free, s.backlogNs);
    if (done > 0) {
      s.backlogBytes -= (s.backlogBytes * done) / s.backlogNs;
      s.backlogNs -= done;
      s.armUntil += done;
      s.arm = s.backlogEnd;
      // The arm was elsewhere: it has read ahead no further.
      s.readEnd = -1;
    }
    if (s.backlogNs === 0) {
      s.backlogBytes = 0;
      s.armUntil = Math.max(s.armUntil, now);
    }
  }

  private seek(to: number, averageNs: number, from = this.state.arm): number {
    const x = Math.min(1, Math.abs(to - from) / this.bytes);
    const a = HDD.seekTrackNs.value;
    // Within the track that is under the head.
    if (x * this.bytes < (this.rate(to) * HDD.revolutionNs.value) / SECOND) return 0;
    return a + ((averageNs - a) / MEAN_SQRT) * Math.sqrt(x);
  }

  /** From `there` until the place at `at` is under the head. */
  private turn(there: number, at: number): number {
    const track = (this.rate(at) * HDD.revolutionNs.value) / SECOND;
    const angle = (at % track) / track;
    const now = (there % HDD.revolutionNs.value) / HDD.revolutionNs.value;
    return ((angle - now + 1) % 1) * HDD.revolutionNs.value;
  }

  /** Zones: outer tracks hold more and pass faster. */
  private rate(at: number): number {
    const x = Math.min(1, at / this.bytes);
    return HDD.outerBytesPerSecond.value + (HDD.innerBytesPerSecond.value - HDD.outerBytesPerSecond.value) * x;
  }
}
