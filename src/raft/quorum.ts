// Majorities, and nothing else. Everything that asks "do enough members …?" goes through here, be it one majority or,
// while the group changes over, two at once (joint consensus, paper §6).
import { assert } from '../base/assert.ts';
import type { Membership, NodeId } from './types.ts';

/** Whether a vote is decided. */
export type VoteOutcome = 'won' | 'lost' | 'pending';

/** What must agree for a membership to decide anything. */
export class Quorum {
  /** One majority, or the two of joint consensus; none for a node that waits to be added, which decides nothing. */
  readonly #majorities: readonly Majority[];
  readonly #voters: readonly NodeId[];

  constructor({ voters, outgoing }: Pick<Membership, 'voters' | 'outgoing'>) {
    this.#majorities = [voters, outgoing].filter((ids) => ids.length > 0).map((ids) => new Majority(ids));
    this.#voters = [...new Set([...voters, ...outgoing])].sort();
  }

  /** Everybody who has a vote in some majority. */
  get voters(): readonly NodeId[] {
    return this.#voters;
  }

  /** Whether `id` may vote and be counted. */
  isVoter(id: NodeId): boolean {
    return this.#voters.includes(id);
  }

  /**
   * The highest value that every majority has reached. With durable match indexes it is the commit index, with echoed
   * rounds the confirmed round, with times of last contact the time a majority was last heard from.
   */
  agreed(reachedBy: (voter: NodeId) => number): number {
    const [incoming, outgoing] = this.#majorities;
    assert(incoming !== undefined, 'only a group with voters decides');
    const value = incoming.agreed(reachedBy);
    return outgoing === undefined ? value : Math.min(value, outgoing.agreed(reachedBy));
  }

  /** Outcome of an election, given the answers so far (paper §5.2): won in every majority, or lost in one. */
  outcome(votes: ReadonlyMap<NodeId, boolean>): VoteOutcome {
    assert(this.#majorities.length > 0, 'only a group with voters decides');
    const outcomes = this.#majorities.map((majority) => majority.outcome(votes));
    if (outcomes.includes('lost')) return 'lost';
    return outcomes.includes('pending') ? 'pending' : 'won';
  }
}

/** More than half of some voters. */
class Majority {
  readonly #voters: readonly NodeId[];
  readonly #needed: number;
  /** Reused by `agreed`, which runs for every acknowledgement. */
  readonly #scratch: Float64Array;

  constructor(voters: readonly NodeId[]) {
    assert(new Set(voters).size === voters.length, 'voters are distinct');
    this.#voters = [...voters];
    this.#needed = Math.floor(voters.length / 2) + 1;
    this.#scratch = new Float64Array(voters.length);
  }

  agreed(reachedBy: (voter: NodeId) => number): number {
    const sorted = this.#scratch;
    for (let count = 0; count < sorted.length; count++) {
      const value = reachedBy(this.#voters[count]!);
      let at = count;
      for (; at > 0 && sorted[at - 1]! < value; at--) sorted[at] = sorted[at - 1]!;
      sorted[at] = value;
    }
    return sorted[this.#needed - 1]!;
  }

  outcome(votes: ReadonlyMap<NodeId, boolean>): VoteOutcome {
    let granted = 0;
    let missing = 0;
    for (const voter of this.#voters) {
      const vote = votes.get(voter);
      if (vote === undefined) missing++;
      else if (vote) granted++;
    }
    if (granted >= this.#needed) return 'won';
    return granted + missing >= this.#needed ? 'pending' : 'lost';
  }
}
