// tledger.v1.Admin: looking at a group and operating it, over its gateway.
import { TLedgerError } from '../base/errors.ts';
import { checkTopicName } from '../format/limits.ts';
import { logIndex } from '../raft/types.ts';
import type {
  ChangeMembershipRequest,
  ChangeMembershipResponse,
  ClusterStatusRequest,
  ClusterStatusResponse,
  CreateTopicRequest,
  CreateTopicResponse,
  ReadLogRequest,
  ScrubRequest,
  ScrubResponse,
  TransferLeadershipRequest,
  TransferLeadershipResponse,
  UpdateTopicRequest,
  UpdateTopicResponse,
  VerifyLogRequest,
  VerifyLogResponse,
} from '../wire/admin_messages.ts';
import type { ListClientsRequest } from '../wire/client_messages.ts';
import type {
  DeleteGroupRequest,
  DescribeGroupsRequest,
  PutGroupRequest,
  ResendDeadLettersRequest,
  ResetGroupRequest,
} from '../wire/group_messages.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import type { AdminHandlers } from '../wire/services.ts';
import { serveBackup } from './backup.ts';
import { type CallContext, type OpenCall, streaming, unary } from './calls.ts';
import { deleteGroup, describeGroups, putGroup, resendDeadLetters, resetGroup } from './consumer_groups.ts';
import type { Gateway, MemberDigest, MemberStatus } from './gateway.ts';
import { addQueuesCall, toTopicType } from './leader_calls.ts';
import { toMembership, toOrder } from './members.ts';
import { toNodeStatus } from './node_status.ts';
import { readLog } from './read_log.ts';
import { rangesOf, toLeader, toTopic } from './replies.ts';

/** Queues of a topic that is created without a number. */
export const QUEUES_DEFAULT = 4;

/** Handlers for `adminService`. */
export function adminHandlers(gateway: Gateway, context: CallContext): AdminHandlers {
  return {
    listClients: unary(context, 'ListClients', (request: ListClientsRequest) => gateway.clients.page(request)),
    clusterStatus: unary(context, 'ClusterStatus', (request: ClusterStatusRequest) => clusterStatus(gateway, request)),
    createTopic: unary(context, 'CreateTopic', (request: CreateTopicRequest, open) =>
      createTopic(gateway, request, open),
    ),
    updateTopic: unary(context, 'UpdateTopic', (request: UpdateTopicRequest, open) =>
      updateTopic(gateway, request, open),
    ),
    transferLeadership: unary(context, 'TransferLeadership', (request: TransferLeadershipRequest, open) =>
      transferLeadership(gateway, request, open),
    ),
    changeMembership: unary(context, 'ChangeMembership', (request: ChangeMembershipRequest, open) =>
      changeMembership(gateway, request, open),
    ),
    verifyLog: unary(context, 'VerifyLog', (request: VerifyLogRequest) => verifyLog(gateway, request)),
    readLog: unary(context, 'ReadLog', async (request: ReadLogRequest) => readLog(gateway, request)),
    scrub: unary(context, 'Scrub', (request: ScrubRequest) => scrub(gateway, request)),
    describeGroups: unary(context, 'DescribeGroups', (request: DescribeGroupsRequest, open) =>
      describeGroups(gateway, request, open),
    ),
    putGroup: unary(context, 'PutGroup', (request: PutGroupRequest, open) => putGroup(gateway, request, open)),
    deleteGroup: unary(context, 'DeleteGroup', (request: DeleteGroupRequest, open) =>
      deleteGroup(gateway, request, open),
    ),
    resetGroup: unary(context, 'ResetGroup', (request: ResetGroupRequest, open) => resetGroup(gateway, request, open)),
    resendDeadLetters: unary(context, 'ResendDeadLetters', (request: ResendDeadLettersRequest, open) =>
      resendDeadLetters(gateway, request, open),
    ),
    backup: streaming(context, 'Backup', (call, open) => serveBackup(gateway, context, call, open)),
  };
}

async function clusterStatus(gateway: Gateway, request: ClusterStatusRequest): Promise<ClusterStatusResponse> {
  const statuses: MemberStatus[] = request.localOnly
    ? [{ member: gateway.self, status: gateway.localStatus(), error: null }]
    : await gateway.clusterStatus();
  const { members } = gateway;
  const replication = gateway.replication();
  return {
    cluster: gateway.cluster,
    group: gateway.group,
    leaderId: gateway.leader()?.nodeId ?? '',
    nodes: statuses.map((status) => toNodeStatus(status, replication.get(status.member.nodeId))),
    membership: toMembership(members),
    outside: gateway.outside()?.message ?? '',
  };
}

async function createTopic(
  gateway: Gateway,
  request: CreateTopicRequest,
  open: OpenCall,
): Promise<CreateTopicResponse> {
  checkTopicName(request.topic);
  if (request.queues < 0) throw new TLedgerError('INVALID_ARGUMENT', `queues: ${request.queues} is negative`);
  const queues = request.queues === 0 ? QUEUES_DEFAULT : request.queues;
  const { topic, created } = await gateway.createTopic(
    { name: request.topic, queues, messageType: toTopicType(request.messageType ?? '') },
    open.stepDeadlineMs,
  );
  return { topic: toTopic(topic, rangesOf(gateway.broker, topic)), created };
}

async function updateTopic(
  gateway: Gateway,
  { topic: name, queues }: UpdateTopicRequest,
  open: OpenCall,
): Promise<UpdateTopicResponse> {
  checkTopicName(name);
  const deadlineMs = open.stepDeadlineMs;
  const { topic, changed } = await gateway.atLeader(
    addQueuesCall,
    { topic: name, queues },
    { sizeBytes: 0, deadlineMs },
  );
  try {
    // Visible here, too, before the caller is answered.
    if ((gateway.broker.topic(name)?.queues ?? 0) < topic.queues) await gateway.readBarrier(deadlineMs);
  } catch (error) {
    throw new TLedgerError('OUTCOME_UNKNOWN', `topic "${name}" is changed, but this node could not catch up`, error);
  }
  const now = gateway.broker.topic(name) ?? topic;
  return { topic: toTopic(now, rangesOf(gateway.broker, now)), changed };
}

async function transferLeadership(
  gateway: Gateway,
  request: TransferLeadershipRequest,
  open: OpenCall,
): Promise<TransferLeadershipResponse> {
  const target = request.target === '' ? null : request.target;
  return { leader: toLeader(await gateway.transferLeadership(target, open.stepDeadlineMs)) };
}

async function changeMembership(
  gateway: Gateway,
  request: ChangeMembershipRequest,
  open: OpenCall,
): Promise<ChangeMembershipResponse> {
  const index = await gateway.changeMembership(toOrder(request), open.stepDeadlineMs);
  return { index: String(index) };
}

async function verifyLog(gateway: Gateway, request: VerifyLogRequest): Promise<VerifyLogResponse> {
  const asked = uint64ToNumber(request.index, 'index');
  const { index, digests } = await gateway.verifyLog(asked === 0 ? null : logIndex(asked));
  return {
    index: String(index),
    identical: areIdentical(digests),
    replicas: digests.map(({ member, isReachable, digest, error }) => ({
      nodeId: member.nodeId,
      reachable: isReachable,
      error: error ?? '',
      index: String(digest?.index ?? 0),
      chainCrc: digest?.chainCrc ?? 0,
      endPosition: String(digest?.endPosition ?? 0),
    })),
  };
}

async function scrub(gateway: Gateway, request: ScrubRequest): Promise<ScrubResponse> {
  const rate = uint64ToNumber(request.bytesPerSecond, 'bytes_per_second');
  const begun = await gateway.scrub(rate === 0 ? null : rate);
  return { members: begun.map(({ nodeId, pass, error }) => ({ nodeId, pass: String(pass ?? 0), error })) };
}

/** Every member answered, and all say the same. */
function areIdentical(digests: readonly MemberDigest[]): boolean {
  const first = digests[0]?.digest;
  if (!first) return false;
  return digests.every(
    ({ digest }) =>
      digest !== null &&
      digest.index === first.index &&
      digest.chainCrc === first.chainCrc &&
      digest.endPosition === first.endPosition,
  );
}
