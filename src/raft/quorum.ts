// Majorities, and nothing else. Everything that asks "do enough members …?" goes through here, so that joint
// consensus (two majorities at once) and learners (members without a vote) change this file alone.
import { assert } from '../base/assert.ts';
import type { NodeId } from './types.ts';

/** Whether a vote is decided. */
export type VoteOutcome = 'won' | 'lost' | 'pending';

/** The voters of a group. */
export class Quorum {
  readonly #voters: readonly NodeId[];
  readonly #majority: number;
  /** Reused by `agreed`, which runs for every acknowledgement. */
  readonly #scratch: Float64Array;

  /** @param voters distinct and at least one. */
  constructor(voters: readonly NodeId[]) {
    assert(voters.length > 0, 'a group has at least one voter');
    assert(new Set(voters).size === voters.length, 'voters are distinct');
    this.#voters = [...voters];
    this.#majority = Math.floor(voters.length / 2) + 1;
    this.#scratch = new Float64Array(voters.length);
  }

  get voters(): readonly NodeId[] {
    return this.#voters;
  }

  /** Whether `id` may vote and be counted. */
  isVoter(id: NodeId): boolean {
    return this.#voters.includes(id);
  }

  /**
   * The highest value that a majority of the voters has reached. With durable match indexes it is the commit index,
   * with echoed rounds the confirmed round, with times of last contact the time a majority was last heard from.
   */
  agreed(reachedBy: (voter: NodeId) => number): number {
    const sorted = this.#scratch;
    for (let count = 0; count < sorted.length; count++) {
      const value = reachedBy(this.#voters[count]!);
      let at = count;
      for (; at > 0 && sorted[at - 1]! < value; at--) sorted[at] = sorted[at - 1]!;
      sorted[at] = value;
    }
    return sorted[this.#majority - 1]!;
  }

  /** Outcome of an election, given the answers so far (paper §5.2). */
  outcome(votes: ReadonlyMap<NodeId, boolean>): VoteOutcome {
    let granted = 0;
    let missing = 0;
    for (const voter of this.#voters) {
      const vote = votes.get(voter);
      if (vote === undefined) missing++;
      else if (vote) granted++;
    }
    if (granted >= this.#majority) return 'won';
    return granted + missing >= this.#majority ? 'pending' : 'lost';
  }
}
