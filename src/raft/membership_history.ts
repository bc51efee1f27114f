// Which membership is in force: that of the last membership record in the log, committed or not (paper §6: "a server
// always uses the latest configuration in its log"). Those before it are kept back to the committed one, for a
// truncation brings them back.
//
//   log         … │ record at 40 │ … commit │ … record at 57 │ … last
//   entries          committed                 in force
import { assert } from '../base/assert.ts';
import { checkMembership, isVoter, membersOf } from './membership.ts';
import { Quorum } from './quorum.ts';
import type { LogIndex, MembershipEntry, NodeId } from './types.ts';

/** The memberships of one log, from the committed one on. */
export class MembershipHistory {
  /** Ascending; the first is committed, the others are not. Never empty. */
  #entries: MembershipEntry[];
  #quorum: Quorum;
  #members: ReadonlySet<NodeId>;
  #version = 0;

  /** @param entries the first in force at `commit`, the others above in the log. */
  constructor(entries: readonly MembershipEntry[], commit: LogIndex) {
    const [first] = entries;
    assert(first !== undefined && first.index <= commit, 'a member knows what is in force at its commit index');
    assert(
      entries.every(({ index }, at) => at === 0 || index > entries[at - 1]!.index),
      'memberships follow each other',
    );
    for (const { membership } of entries) checkMembership(membership);
    this.#entries = [...entries];
    this.#quorum = new Quorum(this.current.membership);
    this.#members = this.#named();
    this.commit(commit);
  }

  /** What is in force. */
  get current(): MembershipEntry {
    return this.#entries.at(-1)!;
  }

  /** The last one that is committed. */
  get committed(): MembershipEntry {
    return this.#entries[0]!;
  }

  /** Whether what is in force is committed, too. */
  get isSettled(): boolean {
    return this.#entries.length === 1;
  }

  /** Counts changes of what is in force or committed. */
  get version(): number {
    return this.#version;
  }

  /** The majorities of what is in force. */
  get quorum(): Quorum {
    return this.#quorum;
  }

  /** Everybody whom some membership from the committed one on names: those who are leaving are among them. */
  get members(): ReadonlySet<NodeId> {
    return this.#members;
  }

  /**
   * Whether `id` may lead: it has a vote by some membership from the committed one on. Who has none by what is in force, but
   * whose removal is not committed yet, may hold the only copies that commit it (dissertation §4.2.2, figure 4.6).
   */
  mayLead(id: NodeId): boolean {
    return this.#entries.some(({ membership }) => isVoter(membership, id));
  }

  /** A membership record enters the log. */
  append(entry: MembershipEntry): void {
    assert(entry.index > this.current.index, 'memberships follow each other');
    checkMembership(entry.membership);
    this.#entries.push(entry);
    this.#changed();
  }

  /** Records after `index` are gone. @returns whether another membership is in force now. */
  truncateAfter(index: LogIndex): boolean {
    assert(index >= this.committed.index, 'a committed membership is never removed');
    if (this.current.index <= index) return false;
    while (this.current.index > index) this.#entries.pop();
    this.#changed();
    return true;
  }

  /** Records up to `index` are committed. */
  commit(index: LogIndex): void {
    let count = 0;
    while (count + 1 < this.#entries.length && this.#entries[count + 1]!.index <= index) count++;
    if (count === 0) return;
    this.#entries.splice(0, count);
    this.#members = this.#named();
    this.#version++;
  }

  /** The log begins anew after a snapshot. */
  restore(entry: MembershipEntry): void {
    checkMembership(entry.membership);
    this.#entries = [entry];
    this.#changed();
  }

  #changed(): void {
    this.#quorum = new Quorum(this.current.membership);
    this.#members = this.#named();
    this.#version++;
  }

  #named(): ReadonlySet<NodeId> {
    return new Set(this.#entries.flatMap(({ membership }) => membersOf(membership)));
  }
}
