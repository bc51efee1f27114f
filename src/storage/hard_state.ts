// Term and vote on disk (Raft paper, figure 2, "persistent state"): always written together, as one value, and flushed
// before anything that depends on them is said. They stand in both slots of the file, one flushed before the other is
// touched: a crash at any point leaves a whole value, and a sector that goes bad later can't bring back an older vote.
import { assert } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { readUint64, writeUint64 } from '../format/uint64.ts';
import { type HardState, type Term, term } from '../raft/types.ts';
import type { Disk } from './disk.ts';
import { SlotFile } from './slots.ts';

const FORMAT = { magic: 0x544c_4853, version: 1 } as const; // "TLHS"
/** Longest node id that a vote can name, in UTF-8 bytes. */
export const VOTE_BYTES_MAX = 255;
const TERM_AT = 0;
const HAS_VOTE_AT = 8;
const VOTE_AT = 9;

/** The file `hardstate` of a group. A missing one means term 0: a replica that never took part in an election. */
export class HardStateFile {
  readonly #slots: SlotFile;
  #state: HardState;
  #failure: unknown = null;

  private constructor(slots: SlotFile, state: HardState) {
    this.#slots = slots;
    this.#state = state;
  }

  /**
   * @throws TLedgerError DATA_CORRUPTED when the file is there but holds no valid state: a vote may have been
   * forgotten, so this replica must not take part until an operator has looked.
   */
  static open(options: { readonly disk: Disk; readonly directory: string }): HardStateFile {
    const { disk, directory } = options;
    const path = `${directory}/hardstate`;
    disk.makeDirectory(directory);
    if (!disk.exists(path)) SlotFile.create(disk, path, FORMAT, encode({ term: term(0), vote: null })).close();
    const { slots, payload } = SlotFile.open(disk, path, FORMAT);
    try {
      if (payload === null)
        throw new TLedgerError('DATA_CORRUPTED', `${path}: neither slot holds a valid term and vote`);
      // From here on messages rely on this state, and it may be in the page cache only: a killed process had not flushed
      // it, or a flush failed and the cache forgot that it is dirty. Only what is written again is carried by the next
      // flush.
      slots.writeBoth(payload);
    } catch (error) {
      slots.close();
      throw error;
    }
    return new HardStateFile(slots, decode(payload));
  }

  get state(): HardState {
    return this.#state;
  }

  /**
   * Writes both slots, each with a flush of its own; durable when it returns. The term never falls, and a vote never changes within a term.
   * @throws TLedgerError STORAGE_FAILED; then for good, since nobody knows what a failed flush has left.
   */
  save(state: HardState): void {
    if (this.#failure !== null) throw this.#failure;
    const before = this.#state;
    assert(state.term >= before.term, () => `the term fell from ${before.term} to ${state.term}`);
    assert(
      state.term > before.term || before.vote === null || before.vote === state.vote,
      () => `the vote in term ${state.term} changed from ${before.vote} to ${state.vote}`,
    );
    const payload = encode(state);
    try {
      this.#slots.writeBoth(payload);
    } catch (error) {
      this.#failure = error;
      throw error;
    }
    this.#state = state;
  }

  close(): void {
    this.#slots.close();
  }
}

function encode(state: HardState): Buffer {
  const vote = Buffer.from(state.vote ?? '');
  assert(vote.length <= VOTE_BYTES_MAX, () => `a node id is longer than ${VOTE_BYTES_MAX} bytes: ${state.vote}`);
  const payload = Buffer.alloc(VOTE_AT + vote.length);
  writeUint64(payload, state.term, TERM_AT);
  payload.writeUInt8(state.vote === null ? 0 : 1, HAS_VOTE_AT);
  vote.copy(payload, VOTE_AT);
  return payload;
}

function decode(payload: Buffer): HardState {
  return {
    term: readUint64(payload, TERM_AT) as Term,
    vote: payload[HAS_VOTE_AT] === 0 ? null : payload.toString('utf8', VOTE_AT),
  };
}
