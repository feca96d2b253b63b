// A file of the host as storage sees it: bytes at offsets. Node's side is in xl/node-storage-file.ts; tests have one in memory (testing.ts).

export interface HostFile {
  /** As the user wrote it, for messages. */
  readonly name: string;
  /** Equal for two names of one file. */
  readonly identity: string;
  readonly isReadonly: boolean;
  /** In bytes, when somebody last looked. */
  readonly size: number;
  /** What the file system or device gives and takes back at once, in bytes. */
  readonly blockSize: number;
  /** What the medium can write at once: 512 for a file. */
  readonly sectorSize: number;
  /** Can space be given back to the host (fallocate's FALLOC_FL_PUNCH_HOLE)? */
  readonly canPunch: boolean;
  /** Looks at the size again. */
  refresh(): Promise<number>;
  /** Bytes behind the end read as zeros. `into` belongs to the file until it is done. */
  read(at: number, into: Uint8Array): Promise<void> | void;
  write(at: number, from: Uint8Array): Promise<void> | void;
  /** What was written is on the medium (fdatasync). */
  flush(): Promise<void>;
  /** Gives the whole blocks inside the range back; all of the range reads as zeros afterwards. The size stays. */
  punch(at: number, length: number): Promise<void>;
  close(): Promise<void>;
}
