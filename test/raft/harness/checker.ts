// What must hold in every group at every moment (Raft paper, figure 3, and what durability adds to it). The checker
// knows all members at once, which no member does; it throws at the first event that breaks a promise.
import { assert } from '../../../src/base/assert.ts';
import type { NodeId, RaftMessage, Ready, Term } from '../../../src/raft/types.ts';
import type { Envelope, Member, MemberObserver, StoredRecord } from './member.ts';

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

  /** Notes what a read that begins now must at least see. */
  beginRead(token: number): void {
    this.#readFloors.set(token, this.#committed.length);
  }

  onStart(member: Member): void {
    this.#commits.set(member.id, 0);
    let prevTerm = 0 as Term;
    member.records.forEach((record, at) => {
      this.onWrite(member, at + 1, record, prevTerm);
      prevTerm = record.term;
    });
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
    const flushed = member.durable.records[flushedIndex - 1];
    check(
      flushed?.value === member.records[flushedIndex - 1]?.value,
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
    if (message.type === 'vote-request' && !isPreVote) this.#vote(member, message.term, member.id);
    if (message.type === 'append-response' && message.reject === null && message.match > 0) {
      check(
        message.match <= member.durable.records.length,
        () => `${member.id} acknowledges ${message.match} unflushed`,
      );
      const own = member.records[message.match - 1]!.term;
      check(own === member.durable.records[message.match - 1]!.term, () => `${member.id} acknowledges other records`);
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
      const own = member.records[at];
      const same = own !== undefined && own.term === record.term && own.value === record.value;
      check(same, () => `leader completeness: ${member.id} leads term ${member.core.term} without record ${at + 1}`);
    });
  }

  /** State machine safety, and that a commit rests on a durable majority. */
  #checkCommit(member: Member, ready: Ready): void {
    const before = this.#commits.get(member.id) ?? 0;
    check(ready.commit >= before, () => `the commit index of ${member.id} fell from ${before} to ${ready.commit}`);
    this.#commits.set(member.id, ready.commit);
    for (let index = before + 1; index <= ready.commit; index++) {
      const record = member.records[index - 1]!;
      const known = this.#committed[index - 1]?.record;
      if (known !== undefined) {
        check(
          known.value === record.value && known.term === record.term,
          () => `two records are committed at ${index}`,
        );
        continue;
      }
      const holders = this.#members().filter(
        ({ durable }) => durable.records[index - 1]?.value === record.value,
      ).length;
      const needed = Math.floor(member.options.bootstrap.voters.length / 2) + 1;
      check(holders >= needed, () => `record ${index} is committed by ${member.id} with ${holders} durable copies`);
      this.#committed.push({ record, knownInTerm: member.core.term });
    }
  }
}

/** Two members with the same commit index hold the same records up to it. */
export function assertSamePrefix(members: readonly Member[]): void {
  for (const member of members) {
    for (const other of members) {
      const shared = Math.min(member.core.commit, other.core.commit);
      for (let at = 0; at < shared; at++) {
        check(
          member.records[at]!.value === other.records[at]!.value,
          () => `${member.id} and ${other.id} differ at ${at + 1}`,
        );
      }
    }
  }
}

function check(condition: boolean, message: () => string): void {
  assert(condition, () => `checker: ${message()}`);
}
