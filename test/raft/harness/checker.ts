// What must hold in every group at every moment (Raft paper, figure 3, and what durability adds to it). The checker
// knows all members at once, which no member does; it throws at the first event that breaks a promise.
import { assert } from '../../../src/base/assert.ts';
import { checkTransition, isVoter } from '../../../src/raft/membership.ts';
import type { Membership, MembershipEntry, NodeId, RaftMessage, Ready, Term } from '../../../src/raft/types.ts';
import type { Envelope, Member, MemberObserver } from './member.ts';
import type { StoredRecord, StoredSnapshot } from './member_log.ts';

interface Committed {
  readonly record: StoredRecord;
  /** The highest term that any member had when the record was first seen committed: later leaders must hold it. */
  readonly knownInTerm: number;
}

export class Checker implements MemberObserver {
  readonly #members: () => readonly Member[];
  readonly #leaders = new Map<Term, NodeId>();
  /** (index, term) -> what was written there, and the term before it. */
  readonly #written = new Map<string, { readonly value: string; readonly prevTerm: Term }>();
  readonly #votes = new Map<string, NodeId>();
  readonly #commits = new Map<NodeId, number>();
  readonly #terms = new Map<NodeId, number>();
  readonly #committed: Committed[] = [];
  readonly #readFloors = new Map<number, number>();
  /** Memberships that are known to be committed, ascending. */
  readonly #memberships: MembershipEntry[] = [];
  #restoreCount = 0;

  constructor(members: () => readonly Member[]) {
    this.#members = members;
  }

  /** How many records are known to be committed. */
  get committedCount(): number {
    return this.#committed.length;
  }

  /** How many terms had a leader. */
  get leaderCount(): number {
    return this.#leaders.size;
  }

  /** Values of the committed records, in order. */
  get committedValues(): string[] {
    return this.#committed.map(({ record }) => record.value);
  }

  /** How many changes of the membership are known to be committed. */
  get membershipCount(): number {
    return this.#memberships.length;
  }

  /** How many snapshots were installed. */
  get restoreCount(): number {
    return this.#restoreCount;
  }

  /** Takes what a test's own leader committed before the test begins for committed in `knownInTerm`. */
  assume(records: readonly StoredRecord[], knownInTerm: number): void {
    for (const record of records) this.#committed.push({ record, knownInTerm });
  }

  /** Notes what a read that begins now must at least see. */
  beginRead(token: number): void {
    this.#readFloors.set(token, this.#committed.length);
  }

  onStart(member: Member): void {
    const { base, records } = member.log;
    this.#commits.set(member.id, base.index);
    let prevTerm = base.term;
    records.forEach((record, at) => {
      this.onWrite(member, base.index + at + 1, record, prevTerm);
      prevTerm = record.term;
    });
  }

  /** A snapshot holds what is committed, and the membership in force at its end. */
  onRestore(member: Member, snapshot: StoredSnapshot): void {
    this.#restoreCount++;
    const before = this.#commits.get(member.id) ?? 0;
    check(snapshot.index > before, () => `${member.id} goes back to snapshot ${snapshot.index} from commit ${before}`);
    this.#commits.set(member.id, snapshot.index);
    check(snapshot.values.length === snapshot.index, () => `snapshot ${snapshot.index} holds everything up to its end`);
    snapshot.values.forEach((value, at) => {
      check(this.#committed[at]?.record.value === value, () => `snapshot ${snapshot.index} differs at ${at + 1}`);
    });
    const known = this.#memberships.filter(({ index }) => index <= snapshot.index).at(-1);
    const isInForce = known === undefined ? snapshot.membership.index === 0 : snapshot.membership.index === known.index;
    check(isInForce, () => `snapshot ${snapshot.index} carries membership ${snapshot.membership.index}`);
  }

  /** Log matching: (index, term) names one record and, through the term before it, one history. */
  onWrite(member: Member, index: number, record: StoredRecord, prevTerm: Term): void {
    const key = `${index}@${record.term}`;
    const known = this.#written.get(key);
    if (known === undefined) this.#written.set(key, { value: record.value, prevTerm });
    else
      check(known.value === record.value && known.prevTerm === prevTerm, () => `log matching at ${key}, ${member.id}`);
    const committed = this.#committed[index - 1];
    if (committed !== undefined) {
      const same = committed.record.term === record.term && committed.record.value === record.value;
      // Before it learns of the commit, a member may still write what an older leader sent it; never a newer one.
      check(same || record.term < committed.knownInTerm, () => `${member.id} overwrites committed record ${index}`);
    }
  }

  onReady(member: Member, ready: Ready, sent: readonly Envelope[]): void {
    this.#checkTerm(member);
    for (const { message } of sent) this.#checkMessage(member, message);
    if (ready.own?.kind === 'noop') this.#checkNewLeader(member);
    this.#checkCommit(member, ready);
    if (ready.own?.kind === 'membership') this.#checkChange(member, ready.own.index);
    this.#checkMembership(member);
    for (const { token, index } of ready.reads) {
      const floor = this.#readFloors.get(token);
      if (floor !== undefined) check(index >= floor, () => `read ${token} at ${index} misses record ${floor}`);
    }
  }

  #checkTerm(member: Member): void {
    const { term } = member.core;
    check(term >= (this.#terms.get(member.id) ?? 0), () => `the term of ${member.id} fell`);
    check(term === member.durable.hardState.term, () => `${member.id} acts in a term it has not persisted`);
    this.#terms.set(member.id, term);
    const { isLeader, flushedIndex, lastIndex, commit } = member.core;
    if (isLeader) {
      const known = this.#leaders.get(term) ?? member.id;
      check(known === member.id, () => `election safety: ${known} and ${member.id} lead term ${term}`);
      this.#leaders.set(term, member.id);
    }
    check(commit <= lastIndex && flushedIndex <= lastIndex, () => `commit and flush of ${member.id} lie in its log`);
    const { log, durable } = member;
    check(
      durable.log.at(flushedIndex)?.value === log.at(flushedIndex)?.value,
      () => `${member.id} counts as flushed what is not`,
    );
    for (const { match, next } of member.core.status().progress) {
      check(match < next && next <= lastIndex + 1, () => `progress of ${member.id}: match < next <= last + 1`);
    }
  }

  #checkMessage(member: Member, message: RaftMessage): void {
    const isPreVote = 'preVote' in message && message.preVote;
    if (!isPreVote) check(message.term <= member.core.term, () => `${member.id} sends ${message.type} of a later term`);
    if (message.type === 'vote-response' && message.granted && !isPreVote) this.#vote(member, message.term, message.to);
    if (message.type === 'vote-request') {
      const { committedMembership } = member.core;
      const open = member.log.memberships.filter(({ index }) => index >= committedMembership.index);
      const isInvolved = open.some(({ membership }) => isVoter(membership, member.id));
      check(isInvolved, () => `${member.id} campaigns, and its removal is committed`);
      if (!isPreVote) this.#vote(member, message.term, member.id);
    }
    if (message.type === 'append-response' && message.reject === null && message.match > 0) {
      const { log, durable } = member;
      check(message.match <= durable.log.lastIndex, () => `${member.id} acknowledges ${message.match} unflushed`);
      const isSame = durable.log.at(message.match)?.term === log.at(message.match)?.term;
      check(isSame, () => `${member.id} acknowledges other records`);
    }
  }

  #vote(member: Member, term: Term, candidate: NodeId): void {
    const key = `${member.id}@${term}`;
    const known = this.#votes.get(key) ?? candidate;
    check(known === candidate, () => `${member.id} votes for ${known} and ${candidate} in term ${term}`);
    check(member.durable.hardState.vote === candidate, () => `${member.id} votes before it persists`);
    this.#votes.set(key, candidate);
  }

  /** Leader completeness (§5.4.3), against records that were committed in lower terms. */
  #checkNewLeader(member: Member): void {
    this.#committed.forEach(({ record, knownInTerm }, at) => {
      if (knownInTerm >= member.core.term) return;
      if (at < member.log.base.index) return;
      const own = member.log.at(at + 1);
      const same = own !== undefined && own.term === record.term && own.value === record.value;
      check(same, () => `leader completeness: ${member.id} leads term ${member.core.term} without record ${at + 1}`);
    });
  }

  /** A leader changes one thing at a time, from what is committed in its own term, to what shares its majorities. */
  #checkChange(member: Member, index: number): void {
    const entries = member.log.memberships;
    const [from, to] = entries.slice(-2);
    check(to?.index === index && from !== undefined, () => `${member.id} writes membership ${index}`);
    checkTransition(from!.membership, to!.membership);
    const { commit: before } = member.core;
    const isOwnTerm = member.log.at(before)?.term === member.core.term || member.log.base.index === before;
    check(isOwnTerm, () => `${member.id} changes the membership before it committed in term ${member.core.term}`);
    const isTurn = to!.membership.outgoing.length > 0 && from!.membership.outgoing.length > 0;
    check(
      isTurn || from!.index <= before,
      () => `${member.id} makes membership ${index} while ${from!.index} is pending`,
    );
  }

  /** What is in force is the last membership in the log, and the committed one the last at or below the commit index. */
  #checkMembership(member: Member): void {
    const { membership, committedMembership, commit } = member.core;
    const entries = member.log.memberships;
    check(membership.index === entries.at(-1)!.index, () => `${member.id} goes by membership ${membership.index}`);
    const committed = entries.filter(({ index }) => index <= commit).at(-1);
    check(committedMembership.index === committed?.index, () => `${member.id} has another membership committed`);
  }

  #holds(id: NodeId, index: number, record: StoredRecord): boolean {
    const { log } = this.#members().find((member) => member.id === id)!.durable;
    return index <= log.base.index || log.at(index)?.value === record.value;
  }

  /** State machine safety, and that a commit rests on a durable majority. */
  #checkCommit(member: Member, ready: Ready): void {
    const before = this.#commits.get(member.id) ?? 0;
    check(ready.commit >= before, () => `the commit index of ${member.id} fell from ${before} to ${ready.commit}`);
    this.#commits.set(member.id, ready.commit);
    for (let index = before + 1; index <= ready.commit; index++) {
      const record = member.log.at(index)!;
      const known = this.#committed[index - 1]?.record;
      if (known !== undefined) {
        check(
          known.value === record.value && known.term === record.term,
          () => `two records are committed at ${index}`,
        );
        continue;
      }
      // A change that the leader made in the same Ready may have come before or after the commit.
      const last = member.log.memberships.slice(ready.own?.kind === 'membership' ? -2 : -1);
      const isHeld = last.some((entry) => isQuorum(entry.membership, (id) => this.#holds(id, index, record)));
      check(isHeld, () => `record ${index} is committed by ${member.id} without a majority of durable copies`);
      this.#committed.push({ record, knownInTerm: member.core.term });
      if (record.membership !== undefined)
        this.#memberships.push(...member.log.memberships.filter((m) => m.index === index));
    }
  }
}

/** Whether those who say yes are a majority of each side. */
function isQuorum({ voters, outgoing }: Membership, says: (id: NodeId) => boolean): boolean {
  return [voters, outgoing].every((side) => side.length === 0 || side.filter(says).length * 2 > side.length);
}

/** Two members with the same commit index hold the same records up to it. */
export function assertSamePrefix(members: readonly Member[]): void {
  for (const member of members) {
    for (const other of members) {
      const shared = Math.min(member.core.commit, other.core.commit);
      for (let index = Math.max(member.log.base.index, other.log.base.index) + 1; index <= shared; index++) {
        const isSame = member.log.at(index)!.value === other.log.at(index)!.value;
        check(isSame, () => `${member.id} and ${other.id} differ at ${index}`);
      }
    }
  }
}

function check(condition: boolean, message: () => string): void {
  assert(condition, () => `checker: ${message()}`);
}
