// The simulated network of a group: messages take a while, and some of them worse.
import type { ManualClock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import type { RaftMessage } from '../../src/raft/types.ts';
import type { RecordBytes } from '../../src/replica/types.ts';

/** Milliseconds that every message takes. */
export const LINK_DELAY_MS = 1;

/** How bad the network is; each share of 1. */
export interface Weather {
  readonly lossShare: number;
  readonly duplicateShare: number;
  /** Messages are held up by 0 … so many milliseconds more, each by itself: later ones overtake. */
  readonly extraDelayMsMax: number;
}

const FAIR: Weather = { lossShare: 0, duplicateShare: 0, extraDelayMsMax: 0 };

/** See the head of the file. */
export class Network {
  /** `from>to` pairs whose messages are lost. */
  readonly cut = new Set<string>();
  /** Messages handed in, by type. */
  readonly sentCounts = new Map<RaftMessage['type'], number>();
  weather = FAIR;
  /** Sees every message before it leaves; false loses it. */
  filter: ((message: RaftMessage, bytes: RecordBytes | null) => boolean) | null = null;
  readonly #clock: ManualClock;
  readonly #random: Random;

  constructor(clock: ManualClock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  calm(): void {
    this.weather = FAIR;
  }

  send(message: RaftMessage, bytes: RecordBytes | null, deliver: (bytes: RecordBytes | null) => void): void {
    const { type, from, to } = message;
    this.sentCounts.set(type, (this.sentCounts.get(type) ?? 0) + 1);
    if (this.filter !== null && !this.filter(message, bytes)) return;
    for (let count = this.#copies(); count > 0; count--) {
      // Each log keeps what it is handed: what travels is a copy, as on a socket.
      const copy = bytes === null ? null : copyOf(bytes);
      this.#clock.after(LINK_DELAY_MS + this.#extraMs(), () => {
        if (!this.cut.has(`${from}>${to}`)) deliver(copy);
      });
    }
  }

  #copies(): number {
    const { lossShare, duplicateShare } = this.weather;
    if (this.#happens(lossShare)) return 0;
    return this.#happens(duplicateShare) ? 2 : 1;
  }

  #extraMs(): number {
    const { extraDelayMsMax } = this.weather;
    return extraDelayMsMax === 0 ? 0 : this.#random.between(0, extraDelayMsMax);
  }

  #happens(share: number): boolean {
    return share > 0 && this.#random.between(0, 9_999) < share * 10_000;
  }
}

function copyOf({ buffer, start, end, prevChain }: RecordBytes): RecordBytes {
  const copy = Buffer.from(buffer.subarray(start, end));
  return { buffer: copy, start: 0, end: copy.length, prevChain };
}
