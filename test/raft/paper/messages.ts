// Messages that a test writes itself, and what it looks for among those under way.
import { TLedgerError } from '../../../src/base/errors.ts';
import { logIndex, type RaftMessage, term } from '../../../src/raft/types.ts';
import { Group } from '../harness/group.ts';
import type { Envelope } from '../harness/member.ts';
import type { StoredSnapshot } from '../harness/member_log.ts';

export type Kind = RaftMessage['type'];
export type Of<K extends Kind> = Extract<RaftMessage, { type: K }>;

export function isFrom(from: string, type?: Kind) {
  return ({ message }: Envelope) => message.from === from && (type === undefined || message.type === type);
}

export function isTo(to: string, type?: Kind) {
  return ({ message }: Envelope) => message.to === to && (type === undefined || message.type === type);
}

export function messagesOf<K extends Kind>(group: Group, type: K): Of<K>[] {
  return group.network.map(({ message }) => message).filter((message): message is Of<K> => message.type === type);
}

export function vote(
  from: string,
  to: string,
  asked: number,
  lastIndex: number,
  lastTerm: number,
  over: object = {},
): Envelope {
  const message: RaftMessage = {
    type: 'vote-request',
    from,
    to,
    term: term(asked),
    preVote: false,
    transfer: false,
    lastIndex: logIndex(lastIndex),
    lastTerm: term(lastTerm),
    ...over,
  };
  return { message, records: [] };
}

export function append(
  from: string,
  to: string,
  inTerm: number,
  prev: [number, number],
  terms: number[],
  commit = 0,
): Envelope {
  const [prevIndex, prevTerm] = prev;
  const records = terms.map((recordTerm, at) => ({
    term: term(recordTerm),
    value: `r${prevIndex + at + 1}@${recordTerm}`,
  }));
  const runs = terms
    .map((recordTerm, at) => ({ term: term(recordTerm), firstIndex: logIndex(prevIndex + at + 1) }))
    .filter((run, at) => run.term !== terms[at - 1]);
  const message: RaftMessage = {
    type: 'append',
    from,
    to,
    term: term(inTerm),
    prevIndex: logIndex(prevIndex),
    prevTerm: term(prevTerm),
    lastIndex: logIndex(prevIndex + terms.length),
    runs,
    memberships: [],
    commit: logIndex(commit),
    round: 0,
  };
  return { message, records };
}

export function termsOf(group: Group, id: string): number[] {
  return group.member(id).records.map((record) => record.term);
}

export function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof TLedgerError) return error.code;
    throw error;
  }
  return 'nothing thrown';
}

/** One follower whose peers are written by the test. */
export function follower(terms: number[], hardTerm?: number): Group {
  return new Group().preload('n0', terms, hardTerm).start();
}

/** A piece of a snapshot, from byte `offset` on to its end; each record counts for 10 bytes. */
export function piece(
  from: string,
  to: string,
  inTerm: number,
  snapshot: StoredSnapshot,
  offset = 0,
  end = 0,
): Envelope {
  const { index, term: indexTerm, values } = snapshot;
  const message: RaftMessage = {
    type: 'snapshot',
    from,
    to,
    term: term(inTerm),
    index,
    indexTerm,
    offset,
    round: 0,
    commit: index,
  };
  return { message, records: [], piece: { snapshot, start: offset, end: end === 0 ? values.length * 10 : end } };
}
