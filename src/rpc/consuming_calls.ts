// What consumers, transactions and timers ask of the leader, as calls that any node can forward (leader_calls.ts).
import type { GroupInfo, LiteBinding } from '../broker/consuming/groups.ts';
import type { Resolution } from '../broker/parked/ended.ts';
import type { StoreRequest } from '../broker/types.ts';
import type { LogIndex } from '../raft/types.ts';
import type { AddLiteRequest, BindLiteRequest, ClaimLiteRequest } from '../replica/consuming/lite_topics.ts';
import type { MoveRequest, PoppedMessage, PopRequest, Settled, SettleRequest } from '../replica/consuming/types.ts';
import type { AppendResult } from '../replica/types.ts';
import { decodeAppendResult, encodeAppendResult } from '../wire/answer_codec.ts';
import { decodeJsonFrame, encodeJsonFrame } from '../wire/json_frame.ts';
import { type LeaderCall, settleCall } from './leader_calls.ts';

/** A delayed message to recall. */
export interface RecallRequest {
  readonly index: LogIndex;
  readonly topic: string;
}

/** How a transaction ends. */
export interface ResolveRequest {
  readonly topic: string;
  readonly id: string;
  readonly resolution: Resolution;
}

/** A half whose producer is to be asked: its record is as it is stored. */
export interface CheckedHalf {
  readonly id: string;
  readonly topic: string;
  readonly record: Buffer;
}

/** What whoever has producers of these topics asks for. */
export interface TakeChecksRequest {
  readonly topics: readonly string[];
  readonly countMax: number;
}

const header = <T>(bytes: Buffer): T => decodeJsonFrame<T>(bytes).header;

/** Stores messages that a node made. */
export const storeCall: LeaderCall<StoreRequest, AppendResult> = {
  kind: 'STORE',
  run: (replica, request, deadlineMs, done) => replica.store(request, deadlineMs, done),
  encodeRequest: ({ topic, queueId, flags, records }) => encodeJsonFrame({ topic, queueId, flags }, [records]),
  decodeRequest: (bytes) => {
    const { header: fields, blobs } = decodeJsonFrame<Omit<StoreRequest, 'records'>>(bytes);
    return { ...fields, records: blobs[0] ?? Buffer.alloc(0) };
  },
  encodeResult: encodeAppendResult,
  decodeResult: decodeAppendResult,
};

/** Hands out messages, or waits for some. */
export const popCall: LeaderCall<PopRequest, readonly PoppedMessage[]> = {
  kind: 'POP',
  run: (replica, request, deadlineMs, done, onWait) => {
    const takeBack = replica.consuming.pop(request, deadlineMs, done);
    onWait(() => {
      if (takeBack()) done(null, []);
    });
  },
  undo: (replica, request, messages) => replica.consuming.giveBack(request, messages),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<PopRequest>(bytes),
  encodeResult: (messages) =>
    encodeJsonFrame(
      { messages: messages.map(({ record: _, ...receipt }) => receipt) },
      messages.map(({ record }) => record),
    ),
  decodeResult: (bytes) => {
    const { header: fields, blobs } = decodeJsonFrame<{ readonly messages: readonly Omit<PoppedMessage, 'record'>[] }>(
      bytes,
    );
    return fields.messages.map((message, at) => ({ ...message, record: blobs[at]! }));
  },
};

/** Carries out verdicts on deliveries. */
export const verdictsCall: LeaderCall<SettleRequest, readonly Settled[]> = {
  kind: 'SETTLE',
  run: (replica, request, deadlineMs, done) => replica.consuming.settle(request, deadlineMs, done),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<SettleRequest>(bytes),
  encodeResult: (settled) => encodeJsonFrame({ settled }),
  decodeResult: (bytes) => header<{ readonly settled: readonly Settled[] }>(bytes).settled,
};

/** Has a consumer group go on elsewhere. */
export const moveCall: LeaderCall<MoveRequest, LogIndex> = {
  kind: 'MOVE',
  run: (replica, request, deadlineMs, done) => replica.consuming.move(request, deadlineMs, done),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<MoveRequest>(bytes),
  encodeResult: (index) => encodeJsonFrame({ index }),
  decodeResult: (bytes) => header<{ readonly index: LogIndex }>(bytes).index,
};

/** Makes a consumer group, or changes what is said of it. */
export const putGroupCall: LeaderCall<GroupInfo, GroupInfo> = {
  kind: 'PUT_GROUP',
  run: (replica, group, deadlineMs, done) => settleCall(replica.consuming.putGroup(group, deadlineMs), done),
  encodeRequest: (group) => encodeJsonFrame(group),
  decodeRequest: (bytes) => header<GroupInfo>(bytes),
  encodeResult: (group) => encodeJsonFrame(group),
  decodeResult: (bytes) => header<GroupInfo>(bytes),
};

/** Forgets a consumer group; tells whether it was there. */
export const deleteGroupCall: LeaderCall<{ readonly name: string }, boolean> = {
  kind: 'DELETE_GROUP',
  run: (replica, { name }, deadlineMs, done) => settleCall(replica.consuming.deleteGroup(name, deadlineMs), done),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<{ readonly name: string }>(bytes),
  encodeResult: (existed) => encodeJsonFrame({ existed }),
  decodeResult: (bytes) => header<{ readonly existed: boolean }>(bytes).existed,
};

/** The queue of a lite topic, which comes to be if there is none of that name. */
export const addLiteCall: LeaderCall<AddLiteRequest, number> = {
  kind: 'ADD_LITE',
  run: (replica, request, deadlineMs, done) => settleCall(replica.lite.add(request, deadlineMs), done),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<AddLiteRequest>(bytes),
  encodeResult: (queueId) => encodeJsonFrame({ queueId }),
  decodeResult: (bytes) => header<{ readonly queueId: number }>(bytes).queueId,
};

/** What a group of lite topics is bound to, from now on if to nothing so far. */
export const bindLiteCall: LeaderCall<BindLiteRequest, LiteBinding> = {
  kind: 'BIND_LITE',
  run: (replica, request, deadlineMs, done) => settleCall(replica.lite.bind(request, deadlineMs), done),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<BindLiteRequest>(bytes),
  encodeResult: (lite) => encodeJsonFrame(lite),
  decodeResult: (bytes) => header<LiteBinding>(bytes),
};

/** Makes lite topics one client's own. */
export const claimLiteCall: LeaderCall<ClaimLiteRequest, true> = {
  kind: 'CLAIM_LITE',
  run: (replica, request, deadlineMs, done) => settleCall(replica.lite.claim(request, deadlineMs), done),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<ClaimLiteRequest>(bytes),
  encodeResult: () => encodeJsonFrame({}),
  decodeResult: () => true,
};

/** Recalls a delayed message; tells its message id. */
export const recallCall: LeaderCall<RecallRequest, string> = {
  kind: 'RECALL',
  run: (replica, { index, topic }, deadlineMs, done) =>
    settleCall(
      replica.parked.recall(index, topic, deadlineMs).then(({ id }) => id),
      done,
    ),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<RecallRequest>(bytes),
  encodeResult: (id) => encodeJsonFrame({ id }),
  decodeResult: (bytes) => header<{ readonly id: string }>(bytes).id,
};

/** Commits a transaction, or rolls it back. */
export const resolveCall: LeaderCall<ResolveRequest, true> = {
  kind: 'RESOLVE',
  run: (replica, { topic, id, resolution }, deadlineMs, done) =>
    settleCall(
      replica.parked.resolve(topic, id, resolution, deadlineMs).then(() => true as const),
      done,
    ),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<ResolveRequest>(bytes),
  encodeResult: () => encodeJsonFrame({}),
  decodeResult: () => true,
};

/** Takes transactions whose producers are to be asked. */
export const takeChecksCall: LeaderCall<TakeChecksRequest, readonly CheckedHalf[]> = {
  kind: 'TAKE_CHECKS',
  run: (replica, { topics, countMax }, deadlineMs, done) =>
    settleCall(
      replica.parked
        .takeChecks(topics, countMax, deadlineMs)
        .then((checks) => checks.map(({ half, record }) => ({ id: half.id, topic: half.topic, record }))),
      done,
    ),
  encodeRequest: (request) => encodeJsonFrame(request),
  decodeRequest: (bytes) => header<TakeChecksRequest>(bytes),
  encodeResult: (halves) =>
    encodeJsonFrame(
      { halves: halves.map(({ id, topic }) => ({ id, topic })) },
      halves.map(({ record }) => record),
    ),
  decodeResult: (bytes) => {
    const { header: fields, blobs } = decodeJsonFrame<{ readonly halves: readonly Omit<CheckedHalf, 'record'>[] }>(
      bytes,
    );
    return fields.halves.map((half, at) => ({ ...half, record: blobs[at]! }));
  },
};
