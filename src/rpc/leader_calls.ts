// What only the leader can do, in one table: how each kind is done on the leader's replica, and how it travels there
// when the client asked another node.
import { TLedgerError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { type TopicType, type TopicWish, topicTypes } from '../broker/types.ts';
import { type LogIndex, logIndex, type NodeId, term } from '../raft/types.ts';
import type { Replica } from '../replica/replica.ts';
import type { AddQueuesRequest, QueuesAdded } from '../replica/topic_queues.ts';
import type { Transferred } from '../replica/transfer.ts';
import type { AppendResult, PackedAppend } from '../replica/types.ts';
import { decodeAppendResult, encodeAppendResult } from '../wire/answer_codec.ts';
import { decodeAppendRequest, encodeAppendRequest } from '../wire/append_codec.ts';
import { numberToInt64, uint64ToNumber } from '../wire/int64.ts';
import { decodeJsonFrame, encodeJsonFrame } from '../wire/json_frame.ts';
import type { ForwardKind } from '../wire/peer_messages.ts';
import { codecs } from '../wire/services.ts';
import { fromOrder, type MembershipOrder, toOrder } from './members.ts';
import { beginChange } from './membership_change.ts';

/** Exactly one of the two is set. */
export type Done<Result> = (error: Error | null, result: Result | null) => void;

/** Ends the waiting of a call: it is answered at once, with what there is. */
export type Hurry = () => void;

/** One kind of call. */
export interface LeaderCall<Request, Result> {
  readonly kind: ForwardKind;
  /**
   * Does it on a replica that leads; refused with NOT_LEADER elsewhere.
   * @param onWait told how to hurry it, if it is one that waits.
   */
  readonly run: (
    replica: Replica,
    request: Request,
    deadlineMs: number,
    done: Done<Result>,
    onWait: (hurry: Hurry) => void,
  ) => void;
  /** Takes back what was done for a caller that cannot be told of it any more. */
  readonly undo?: (replica: Replica, request: Request, result: Result) => void;
  readonly encodeRequest: (request: Request) => Buffer;
  readonly decodeRequest: (bytes: Buffer) => Request;
  readonly encodeResult: (result: Result) => Buffer;
  readonly decodeResult: (bytes: Buffer) => Result;
}

const EMPTY = Buffer.alloc(0);

/** Appends a batch. */
export const appendCall: LeaderCall<PackedAppend, AppendResult> = {
  kind: 'APPEND',
  run: (replica, request, deadlineMs, done) => replica.append(request, deadlineMs, done),
  encodeRequest: ({ topic, queueId: queue, producerId, sequence, flush = '', records }) =>
    encodeAppendRequest({ topic, queue, producerId, sequence, flush, records }),
  decodeRequest: (bytes) => {
    const { topic, queue, producerId, sequence, flush, records } = decodeAppendRequest(bytes);
    return { topic, queueId: queue, producerId, sequence, flush: flush === 'sync' ? flush : '', records };
  },
  encodeResult: encodeAppendResult,
  decodeResult: decodeAppendResult,
};

/** Creates a topic; tells whether it is new. */
export const createTopicCall: LeaderCall<TopicWish, boolean> = {
  kind: 'CREATE_TOPIC',
  run: (replica, { name, queues, messageType }, deadlineMs, done) =>
    settleCall(
      replica.createTopic(name, queues, deadlineMs, messageType).then(({ created }) => created),
      done,
    ),
  encodeRequest: ({ name, queues, messageType }) =>
    codecs.createTopicRequest.encode({ topic: name, queues, messageType }),
  decodeRequest: (bytes) => {
    const { topic, queues, messageType } = codecs.createTopicRequest.decode(bytes);
    return { name: topic, queues, messageType: toTopicType(messageType ?? '') };
  },
  encodeResult: (created) => codecs.createTopicResponse.encode({ topic: null, created }),
  decodeResult: (bytes) => codecs.createTopicResponse.decode(bytes).created,
};

/** Gives a topic more queues. */
export const addQueuesCall: LeaderCall<AddQueuesRequest, QueuesAdded> = {
  kind: 'ADD_QUEUES',
  run: (replica, request, deadlineMs, done) => settleCall(replica.queues.add(request, deadlineMs), done),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => decodeJsonFrame<AddQueuesRequest>(bytes).header,
  encodeResult: (added) => encodeJsonFrame(added),
  decodeResult: (bytes) => decodeJsonFrame<QueuesAdded>(bytes).header,
};

/** Hands leadership to a node, or to the most caught-up one. */
export const transferCall: LeaderCall<NodeId | null, Transferred> = {
  kind: 'TRANSFER_LEADERSHIP',
  run: (replica, target, deadlineMs, done) => settleCall(replica.transferLeadership(target, deadlineMs), done),
  encodeRequest: (target) => codecs.transferLeadershipRequest.encode({ target: target ?? '' }),
  decodeRequest: (bytes) => codecs.transferLeadershipRequest.decode(bytes).target || null,
  encodeResult: ({ leaderId, term: ofTerm }) =>
    codecs.transferLeadershipResponse.encode({
      leader: { nodeId: leaderId, clientAddress: '', term: numberToInt64(ofTerm, 'term') },
    }),
  decodeResult: (bytes) => {
    const { leader } = codecs.transferLeadershipResponse.decode(bytes);
    return { leaderId: leader?.nodeId ?? '', term: term(uint64ToNumber(leader?.term ?? '0', 'term')) };
  },
};

/** Asks for an index that covers everything committed before. */
export const readIndexCall: LeaderCall<null, LogIndex> = {
  kind: 'READ_INDEX',
  run: (replica, _request, _deadlineMs, done) => settleCall(replica.readIndex(), done),
  encodeRequest: () => EMPTY,
  decodeRequest: () => null,
  encodeResult: (index) => codecs.readIndexResponse.encode({ index: numberToInt64(index, 'index') }),
  decodeResult: (bytes) => logIndex(uint64ToNumber(codecs.readIndexResponse.decode(bytes).index, 'index')),
};

/** Begins a change of members; tells the index of its first record, which is committed by then. */
export const changeMembershipCall: LeaderCall<MembershipOrder, LogIndex> = {
  kind: 'CHANGE_MEMBERSHIP',
  run: (replica, order, deadlineMs, done) => settleCall(beginChange(replica, order, deadlineMs), done),
  encodeRequest: (order) => codecs.changeMembershipRequest.encode(fromOrder(order)),
  decodeRequest: (bytes) => toOrder(codecs.changeMembershipRequest.decode(bytes)),
  encodeResult: (index) => codecs.changeMembershipResponse.encode({ index: numberToInt64(index, 'index') }),
  decodeResult: (bytes) => logIndex(uint64ToNumber(codecs.changeMembershipResponse.decode(bytes).index, 'index')),
};

/** The calls of this file; `leader_call_table.ts` has all. */
// biome-ignore lint/suspicious/noExplicitAny: calls of any kind; each is typed where it is made.
export const basicCalls: readonly LeaderCall<any, any>[] = [
  appendCall,
  createTopicCall,
  transferCall,
  readIndexCall,
  changeMembershipCall,
];

/** The type of a topic as requests name it; `mixed` when empty. @throws TLedgerError INVALID_ARGUMENT */
export function toTopicType(text: string): TopicType {
  const known = text === '' ? 'mixed' : topicTypes.find((type) => type === text);
  if (known !== undefined) return known;
  throw new TLedgerError('INVALID_ARGUMENT', `${quoted(text)} is no type of topic: ${topicTypes.join(', ')}`);
}

/** Tells how a promise ended. */
export function settleCall<Result>(promise: Promise<Result>, done: Done<Result>): void {
  promise.then(
    (result) => done(null, result),
    (error: Error) => done(error, null),
  );
}
