// A log in memory, with a base before which only a snapshot knows, and the snapshots themselves.
import { assert } from '../../../src/base/assert.ts';
import {
  type LogIndex,
  type LogShape,
  logIndex,
  type Membership,
  type MembershipEntry,
  type SnapshotPoint,
  type Term,
  type TermRun,
  term,
} from '../../../src/raft/types.ts';

/** A record: its term, and a value that is unique to the proposal. */
export interface StoredRecord {
  readonly term: Term;
  readonly value: string;
  /** Of a membership record. */
  readonly membership?: Membership;
}

/** Everything up to one record: its values stand for the state that applying them leads to. */
export interface StoredSnapshot extends SnapshotPoint {
  readonly membership: MembershipEntry;
  readonly values: readonly string[];
}

/** What a message of a snapshot carries: bytes start … end of it. */
export interface SnapshotPiece {
  readonly snapshot: StoredSnapshot;
  readonly start: number;
  readonly end: number;
}

/** A snapshot counts for this many bytes a record. */
const SNAPSHOT_RECORD_BYTES = 10;

export const sizeOf = (snapshot: StoredSnapshot): number => snapshot.values.length * SNAPSHOT_RECORD_BYTES;

export class MemberLog {
  /** What lies before the first record. */
  base: SnapshotPoint & { readonly membership: MembershipEntry };
  /** Record i stands at i - base.index - 1. */
  records: StoredRecord[] = [];
  /** What is in force at the base, then the membership records. */
  memberships: MembershipEntry[];

  constructor(bootstrap: Membership) {
    this.base = { index: logIndex(0), term: term(0), membership: { index: logIndex(0), membership: bootstrap } };
    this.memberships = [this.base.membership];
  }

  get lastIndex(): LogIndex {
    return logIndex(this.base.index + this.records.length);
  }

  get lastTerm(): Term {
    return this.records.at(-1)?.term ?? this.base.term;
  }

  /** Undefined outside of what is held. */
  at(index: number): StoredRecord | undefined {
    return this.records[index - this.base.index - 1];
  }

  /** Records first … last, which are held. */
  slice(first: number, last: number): StoredRecord[] {
    assert(first > this.base.index && last <= this.lastIndex, 'records are read where they are held');
    return this.records.slice(first - this.base.index - 1, last - this.base.index);
  }

  append(records: readonly StoredRecord[]): void {
    this.memberships.push(...membershipsOf(records, this.lastIndex + 1));
    this.records.push(...records);
  }

  truncateAfter(index: number): void {
    this.records.length = Math.min(this.records.length, index - this.base.index);
    while (this.memberships.at(-1)!.index > index) this.memberships.pop();
  }

  cutTo(index: LogIndex): void {
    const base = { index, term: this.at(index)!.term, membership: this.membershipAt(index) };
    this.records.splice(0, index - this.base.index);
    this.base = base;
    this.memberships = [base.membership, ...this.memberships.filter((entry) => entry.index > index)];
  }

  restart({ index, term: baseTerm, membership }: StoredSnapshot): void {
    this.base = { index, term: baseTerm, membership };
    this.records = [];
    this.memberships = [membership];
  }

  copyFrom(other: MemberLog): void {
    this.base = other.base;
    this.records = [...other.records];
    this.memberships = [...other.memberships];
  }

  /** What is in force at `index`. */
  membershipAt(index: number): MembershipEntry {
    return this.memberships.filter((entry) => entry.index <= index).at(-1)!;
  }

  /** As consensus is told of it. */
  get shape(): LogShape {
    const runs: TermRun[] = [];
    this.records.forEach((record, at) => {
      if (record.term === runs.at(-1)?.term) return;
      runs.push({ term: record.term, firstIndex: logIndex(this.base.index + at + 1) });
    });
    return { baseIndex: this.base.index, baseTerm: this.base.term, lastIndex: this.lastIndex, runs };
  }
}

/** The membership records among `records`, the first of which has index `first`. */
export function membershipsOf(records: readonly StoredRecord[], first: number): MembershipEntry[] {
  return records.flatMap(({ membership }, at) =>
    membership === undefined ? [] : [{ index: logIndex(first + at), membership }],
  );
}
