// Callers who asked for another membership and wait until it is finished: the record is committed, a new voter votes,
// joint consensus is left. A change goes on by itself whoever leads, so its caller is told by what is committed, also on a
// node that does not lead any more.
import { TLedgerError } from '../base/errors.ts';
import { isJoint, membersOf } from '../raft/membership.ts';
import type { LogIndex, Membership, MembershipChange, MembershipEntry, Term } from '../raft/types.ts';

/** Most callers waiting at once. */
const CALLERS_COUNT_MAX = 100;

interface Caller {
  readonly change: MembershipChange;
  /** Of the record that began the change. */
  readonly index: LogIndex;
  readonly term: Term;
  /** The record is committed; from then on its place in the log is of no interest, and may be cut. */
  isBegun: boolean;
  readonly deadlineMs: number;
  readonly resolve: (entry: MembershipEntry) => void;
  readonly reject: (error: TLedgerError) => void;
}

/** What is known of the log where the callers wait. */
export interface CommittedLog {
  readonly commit: LogIndex;
  readonly committedMembership: MembershipEntry;
  /**
   * The term that this replica leads, if it does. It sees each membership of that term when it is committed; of those
   * that others made, perhaps only the last of several.
   */
  readonly leadingTerm: Term | null;
  /** Null when the log does not hold that record any more. */
  readonly termAt: (index: LogIndex) => Term | null;
}

type Progress = 'finished' | 'waiting' | 'undone';

/** Waiting changes of one replica. */
export class MembershipChanges {
  #callers: Caller[] = [];

  get length(): number {
    return this.#callers.length;
  }

  /**
   * @param propose asks consensus for the change, and names its record through `accepted` in the same turn: what comes of
   * the record may be known before that turn ends. May throw.
   * @returns the membership in which the change is finished.
   */
  begin(
    change: MembershipChange,
    deadlineMs: number,
    propose: (accepted: (record: { readonly index: LogIndex; readonly term: Term }) => void) => void,
  ): Promise<MembershipEntry> {
    return new Promise((resolve, reject) => {
      if (this.#callers.length >= CALLERS_COUNT_MAX) throw new TLedgerError('OVERLOADED', 'too many changes wait');
      propose((record) => this.#callers.push({ ...record, isBegun: false, change, deadlineMs, resolve, reject }));
    });
  }

  /** More may be committed than before. */
  onCommitted({ commit, committedMembership, leadingTerm, termAt }: CommittedLog): void {
    this.#answer((caller) => {
      if (commit < caller.index) return false;
      const refusal = caller.isBegun ? null : refusalOf(caller, termAt(caller.index));
      if (refusal !== null) {
        caller.reject(refusal);
        return true;
      }
      caller.isBegun = true;
      const progress = progressOf(caller.change, committedMembership.membership);
      if (progress === 'finished') caller.resolve(committedMembership);
      if (progress === 'undone') caller.reject(undone(caller.term === leadingTerm));
      return progress !== 'waiting';
    });
  }

  expire(nowMs: number): void {
    this.#answer((caller) => {
      if (caller.deadlineMs > nowMs) return false;
      caller.reject(new TLedgerError('OUTCOME_UNKNOWN', 'the change had not finished before the deadline; it goes on'));
      return true;
    });
  }

  failAll(error: TLedgerError): void {
    const unknown = new TLedgerError('OUTCOME_UNKNOWN', `${error.message} The change may still take effect.`);
    this.#answer(({ reject }) => {
      reject(unknown);
      return true;
    });
  }

  #answer(isAnswered: (caller: Caller) => boolean): void {
    if (this.#callers.length === 0) return;
    const callers = this.#callers;
    // A caller that is answered may ask for the next change at once.
    this.#callers = [];
    const waiting = callers.filter((caller) => !isAnswered(caller));
    this.#callers.unshift(...waiting);
  }
}

/** Why a change did not begin; null when it did. @param term of the committed record in its place, null if unknown. */
function refusalOf(caller: Caller, term: Term | null): TLedgerError | null {
  if (term === caller.term) return null;
  return term === null
    ? new TLedgerError(
        'OUTCOME_UNKNOWN',
        'this node fell behind and took over a snapshot; the change may be part of it',
      )
    : new TLedgerError('NOT_LEADER', 'leadership was lost; the change had no effect');
}

/** The change is not there: it was cancelled, or it was finished and then another one took it back. */
function undone(wasSeen: boolean): TLedgerError {
  return wasSeen
    ? new TLedgerError('INVALID_ARGUMENT', 'the change was cancelled before it was finished')
    : new TLedgerError('OUTCOME_UNKNOWN', 'the change was cancelled or, once finished, undone');
}

/** How far a change has come whose record is committed. */
function progressOf(change: MembershipChange, now: Membership): Progress {
  if (isJoint(now)) return 'waiting';
  switch (change.type) {
    case 'add':
    case 'promote': {
      if (now.voters.includes(change.id)) return 'finished';
      const learner = now.learners.find(({ id }) => id === change.id);
      if (learner === undefined) return 'undone';
      return learner.promote ? 'waiting' : change.type === 'add' && !change.promote ? 'finished' : 'undone';
    }
    case 'remove':
      return membersOf(now).includes(change.id) ? 'undone' : 'finished';
    case 'readdress':
    case 'cancel':
      return 'finished';
  }
}
