// A snapshot on its way from the leader: bytes from the beginning, every piece verified as soon as it is whole. What an
// earlier process has left is verified again, so that a power loss costs the pieces it tore and no others.
//
//   0 ............ checked ........ written          total
//   | good pieces | piece to come | ................ |
import { type LogIndex, logIndex, type Term, term } from '../raft/types.ts';
import type { Disk, DiskFile } from './disk.ts';
import {
  decodeHeader,
  firstSeed,
  openPiece,
  PIECE_BYTES,
  SNAPSHOT_HEADER_BYTES,
  type SnapshotHeader,
  snapshotBytes,
} from './snapshot_format.ts';

const NAME_PATTERN = /^(\d{20})-(\d{20})\.part$/;

/** How far an arriving snapshot is held. */
export interface IncomingProgress {
  /** Bytes from the beginning that are held durably and are good so far: the next chunk begins here. May go back. */
  readonly sizeBytes: number;
  /** All of it is held: `completeIncoming` comes next. */
  readonly isComplete: boolean;
}

/** Whether a file holds an arriving snapshot. */
export function isIncomingName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/** One arriving snapshot. After a failure of the disk it must be dropped. */
export class IncomingSnapshot {
  readonly index: LogIndex;
  readonly term: Term;
  readonly path: string;
  readonly #file: DiskFile;
  #header: SnapshotHeader | null = null;
  /** The bytes up to here are good, but for being written and durable. */
  #checked = 0;
  /** The checksum that the next piece continues. */
  #seed = 0;
  /** Bytes behind `#checked`: the beginning of a piece. */
  #rest: Buffer = Buffer.alloc(0);
  #durable = 0;
  /** Counts how often bytes were dropped: a flush that began before says nothing of what came after. */
  #drops = 0;

  private constructor(disk: Disk, directory: string, name: string) {
    const [, index, ofTerm] = NAME_PATTERN.exec(name)!;
    this.index = logIndex(Number(index));
    this.term = term(Number(ofTerm));
    this.path = `${directory}/${name}`;
    this.#file = disk.open(this.path, { create: true });
  }

  /** Begins to receive. */
  static begin(disk: Disk, directory: string, index: LogIndex, ofTerm: Term): IncomingSnapshot {
    const name = nameOf(index, ofTerm);
    disk.remove(`${directory}/${name}`);
    return new IncomingSnapshot(disk, directory, name);
  }

  /**
   * Goes on with what is in a file. Its good pieces are written again and flushed: the process that wrote them may have
   * been killed before its flush, or after one that failed.
   */
  static resume(disk: Disk, directory: string, name: string): IncomingSnapshot {
    const incoming = new IncomingSnapshot(disk, directory, name);
    try {
      incoming.#resume();
    } catch (error) {
      incoming.close();
      throw error;
    }
    return incoming;
  }

  get progress(): IncomingProgress {
    return { sizeBytes: this.#durable, isComplete: this.#durable === this.#total };
  }

  /** Takes the bytes at `offset` as far as they continue what is held; false when there is nothing new among them. */
  append(offset: number, bytes: Buffer): boolean {
    const written = this.#checked + this.#rest.length;
    const end = Math.min(offset + bytes.length, this.#total);
    if (offset > written || end <= written) return false;
    const news = bytes.subarray(written - offset, end - offset);
    this.#file.write(news, written);
    this.#check(news);
    return true;
  }

  /** Makes durable what was appended before the call, without blocking. */
  async flush(): Promise<void> {
    const written = this.#checked + this.#rest.length;
    const drops = this.#drops;
    await this.#file.flush();
    if (drops === this.#drops) this.#durable = Math.max(this.#durable, written);
  }

  close(): void {
    this.#file.close();
  }

  get #total(): number {
    return this.#header === null ? Number.POSITIVE_INFINITY : snapshotBytes(this.#header);
  }

  #resume(): void {
    const sizeBytes = this.#file.sizeBytes();
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    for (let at = 0; at < sizeBytes && at < this.#total; at = this.#checked) {
      const piece = buffer.subarray(0, this.#pieceBytes());
      const count = this.#file.read(piece, at);
      if (count < piece.length) break;
      this.#check(piece);
      if (this.#checked === at) break;
      this.#file.write(piece, at);
    }
    this.#drop();
    this.#file.flushNow();
    this.#durable = this.#checked;
  }

  /** Size of the next whole thing: the header, or the next piece. */
  #pieceBytes(): number {
    return this.#checked === 0 ? SNAPSHOT_HEADER_BYTES : Math.min(PIECE_BYTES, this.#total - this.#checked);
  }

  /** Looks at every piece that `news` completes; at the first bad one, drops it and what lies behind. */
  #check(news: Buffer): void {
    let rest = this.#rest.length === 0 ? news : Buffer.concat([this.#rest, news]);
    for (;;) {
      const size = this.#pieceBytes();
      if (size === 0 || rest.length < size) break;
      if (!this.#take(rest, size)) {
        this.#drop();
        return;
      }
      rest = rest.subarray(size);
    }
    // The caller's bytes are the caller's.
    this.#rest = Buffer.from(rest);
  }

  /** Whether the header or piece at the beginning of `bytes` is good. */
  #take(bytes: Buffer, size: number): boolean {
    if (this.#header === null) {
      const header = decodeHeader(bytes, 0, this.path);
      if (header === null || header.tip.index !== this.index || header.tip.term !== this.term) return false;
      this.#header = header;
      this.#seed = firstSeed(header.tip);
    } else {
      const piece = openPiece(bytes, 0, size, this.#seed);
      const isLast = this.#checked + size === this.#total;
      if (piece === null || (isLast && piece.crc !== this.#header.dataCrc)) return false;
      this.#seed = piece.crc;
    }
    this.#checked += size;
    return true;
  }

  #drop(): void {
    this.#rest = Buffer.alloc(0);
    this.#drops++;
    this.#durable = Math.min(this.#durable, this.#checked);
    this.#file.truncate(this.#checked);
  }
}

function nameOf(index: LogIndex, ofTerm: Term): string {
  return `${String(index).padStart(20, '0')}-${String(ofTerm).padStart(20, '0')}.part`;
}
