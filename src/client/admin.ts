// Operating a group from a program: topics, state, leadership, verification.
import { TLedgerError } from '../base/errors.ts';
import type {
  BackupProgress,
  ClusterStatusResponse,
  CreateTopicResponse,
  ReadLogRequest,
  ReadLogResponse,
  ScrubResponse,
  TransferLeadershipResponse,
  UpdateTopicResponse,
  VerifyLogResponse,
} from '../wire/admin_messages.ts';
import type { AskedNode, ConnectedClient } from '../wire/client_messages.ts';
import type {
  ConsumerGroup,
  DeleteGroupResponse,
  DescribeGroupsResponse,
  PutGroupResponse,
  ResendDeadLettersRequest,
  ResendDeadLettersResponse,
  ResetGroupRequest,
  ResetGroupResponse,
} from '../wire/group_messages.ts';
import { numberToInt64 } from '../wire/int64.ts';
import type { MetadataRequest, MetadataResponse, Topic } from '../wire/ledger_messages.ts';
import { adminService, type Incoming, ledgerService, type Method } from '../wire/services.ts';
import { answeredCode, errorOf } from '../wire/status.ts';
import { Backoff, sleep } from './backoff.ts';
import { type BackupWish, backup, backupNodeOf } from './backup.ts';
import type { Cluster } from './cluster.ts';
import type { Endpoint } from './endpoint.ts';
import {
  type ChangeMembersOptions,
  follow,
  type MembersChanged,
  type MembershipWish,
  toChangeRequest,
} from './membership.ts';
import { RESUME_TIMEOUT_MS } from './options.ts';
import { serverStream } from './server_stream.ts';
import { fetchMetadata, fetchTopic, type MetadataQuery } from './topics.ts';

/** Milliseconds for one call, retries included; the client's `timeoutMs` by default. */
export interface AdminCallOptions {
  readonly timeoutMs?: number | undefined;
}

/** How to ask for what the group holds. */
export interface ReadCallOptions extends AdminCallOptions {
  /**
   * Take what the node that answers knows, which works without a leader but may miss what was committed lately, whole
   * topics too. Default false: the answer shows all that was committed when the question came, or fails.
   */
  readonly stale?: boolean | undefined;
}

/** Clients by id, and the nodes that were asked for them. */
export interface ClientList {
  readonly clients: readonly ConnectedClient[];
  readonly nodes: readonly AskedNode[];
}

/** Waits of the node that is asked, for the members it asks in turn, fit into this. */
const STATUS_ATTEMPT_MS = 5_000;

/** Made by `TLedgerClient.admin`. Every method rejects with a TLedgerError. */
export class Admin {
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /**
   * Creates a topic; `created` is false when it existed with as many queues.
   * @throws TLedgerError ILLEGAL_TOPIC, TOPIC_EXISTS (with other settings), TOO_MANY_TOPICS; NO_LEADER, UNREACHABLE when
   * nothing happened; OUTCOME_UNKNOWN when the topic may exist now or later.
   */
  createTopic(
    topic: string,
    options: AdminCallOptions & {
      readonly queues?: number | undefined;
      readonly messageType?: string | undefined;
    } = {},
  ): Promise<CreateTopicResponse> {
    const { timeoutMs } = options;
    // Whoever asks twice gets the same topic, so a lost answer is asked for again; the leader may take an election.
    const call = { timeoutMs, attemptTimeoutMs: STATUS_ATTEMPT_MS, effects: 'repeatable' } as const;
    return this.#cluster.call(
      adminService.createTopic,
      { topic, queues: options.queues ?? 0, messageType: options.messageType ?? '' },
      call,
    );
  }

  /**
   * Gives a topic more queues; nothing else of it changes. Messages of one key or message group go to another queue from then
   * on, so those sent before may be read after those sent later.
   * @throws TLedgerError TOPIC_NOT_FOUND, INVALID_ARGUMENT (fewer, or more than may be), TOO_MANY_TOPICS; NO_LEADER; UNREACHABLE.
   */
  updateTopic(topic: string, options: AdminCallOptions & { readonly queues: number }): Promise<UpdateTopicResponse> {
    return this.#repeatable(adminService.updateTopic, { topic, queues: options.queues }, options);
  }

  /** Consumer groups (all when none is named) with what they have consumed. @throws TLedgerError GROUP_NOT_FOUND, NO_LEADER. */
  describeGroups(names: readonly string[] = [], options: AdminCallOptions = {}): Promise<DescribeGroupsResponse> {
    return this.#repeatable(adminService.describeGroups, { names }, options);
  }

  /** Makes a consumer group, or changes it. @throws TLedgerError ILLEGAL_GROUP, INVALID_ARGUMENT, TOO_MANY_GROUPS, NO_LEADER. */
  putGroup(group: ConsumerGroup, options: AdminCallOptions = {}): Promise<PutGroupResponse> {
    return this.#repeatable(adminService.putGroup, { group }, options);
  }

  /** Forgets a consumer group. @throws TLedgerError ILLEGAL_GROUP, NO_LEADER. */
  deleteGroup(name: string, options: AdminCallOptions = {}): Promise<DeleteGroupResponse> {
    return this.#repeatable(adminService.deleteGroup, { name }, options);
  }

  /** Has a consumer group go on elsewhere. @throws TLedgerError GROUP_NOT_FOUND, TOPIC_NOT_FOUND, OFFSET_OUT_OF_RANGE, NO_LEADER. */
  resetGroup(request: ResetGroupRequest, options: AdminCallOptions = {}): Promise<ResetGroupResponse> {
    return this.#repeatable(adminService.resetGroup, request, options);
  }

  /** Sends dead letters again, each once. @throws TLedgerError GROUP_NOT_FOUND, NO_LEADER: some may have been sent. */
  resendDeadLetters(
    request: ResendDeadLettersRequest,
    options: AdminCallOptions = {},
  ): Promise<ResendDeadLettersResponse> {
    return this.#repeatable(adminService.resendDeadLetters, request, options);
  }

  /**
   * Clients of RocketMQ's protocol: all, or the consumers of a group. Works as long as any node answers.
   * @returns nodes that could not be asked, too: their clients are missing.
   */
  async listClients(group = '', options: AdminCallOptions = {}): Promise<ClientList> {
    const call = { timeoutMs: options.timeoutMs, attemptTimeoutMs: STATUS_ATTEMPT_MS };
    const clients: ConnectedClient[] = [];
    const nodes = new Map<string, AskedNode>();
    for (let after: ConnectedClient | undefined; ; ) {
      const { clientId: afterClientId = '', nodeId: afterNodeId = '' } = after ?? {};
      const request = { group, localOnly: false, afterClientId, afterNodeId };
      const page = await this.#cluster.call(adminService.listClients, request, call);
      clients.push(...page.clients);
      // Who did not answer once may have clients that are missing.
      for (const node of page.nodes) if ((nodes.get(node.nodeId)?.error ?? '') === '') nodes.set(node.nodeId, node);
      after = page.clients.at(-1);
      if (page.complete || after === undefined) return { clients, nodes: [...nodes.values()] };
    }
  }

  #repeatable<Request, Response>(
    method: Method<Request, Incoming<Request>, Response>,
    request: Request,
    { timeoutMs }: AdminCallOptions,
  ): Promise<Response> {
    return this.#cluster.call(method, request, {
      timeoutMs,
      attemptTimeoutMs: STATUS_ATTEMPT_MS,
      effects: 'repeatable',
    });
  }

  /** Members, leader and topics (all when none are named). @throws TLedgerError NO_LEADER unless `stale`; UNREACHABLE. */
  metadata(topics: readonly string[] = [], options: ReadCallOptions = {}): Promise<MetadataResponse> {
    return fetchMetadata(this.#cluster, topics, queryOf(options));
  }

  /** One topic and its queues' offsets. @throws TLedgerError TOPIC_NOT_FOUND, NO_LEADER unless `stale`, UNREACHABLE. */
  topic(name: string, options: ReadCallOptions = {}): Promise<Topic> {
    return fetchTopic(this.#cluster, name, queryOf(options));
  }

  /** State of every member as one node sees it. Works as long as any node answers, majority or not. */
  async clusterStatus(
    options: AdminCallOptions & { readonly localOnly?: boolean } = {},
  ): Promise<ClusterStatusResponse> {
    const { timeoutMs } = options;
    const call = { timeoutMs, attemptTimeoutMs: STATUS_ATTEMPT_MS };
    const localOnly = options.localOnly ?? false;
    const status = await this.#cluster.call(adminService.clusterStatus, { localOnly }, call);
    const leader = status.nodes.find(({ nodeId, role }) => nodeId === status.leaderId && role === 'leader');
    if (leader !== undefined) {
      this.#cluster.noteLeader({ nodeId: leader.nodeId, clientAddress: leader.clientAddress, term: leader.term });
    }
    this.#cluster.noteMembers(status.membership);
    return status;
  }

  /**
   * Changes who belongs to the group, one change at a time, and waits until that is done: a new member has to catch up
   * before it becomes a voter. The change goes on by itself when nobody waits for it.
   * @throws TLedgerError INVALID_ARGUMENT, UNKNOWN_NODE, NO_HEALTHY_MAJORITY (see `force`), MEMBERSHIP_CHANGING when
   * nothing began; MEMBERSHIP_CANCELLED when somebody took it back; OUTCOME_UNKNOWN.
   */
  async changeMembers(wish: MembershipWish, options: ChangeMembersOptions = {}): Promise<MembersChanged> {
    const { timeoutMs, signal, force } = options;
    let index: number | undefined;
    let lost: TLedgerError | undefined;
    try {
      const request = toChangeRequest(wish, force ?? false);
      const call = { timeoutMs, signal, effects: 'once' } as const;
      index = Number((await this.#cluster.call(adminService.changeMembership, request, call)).index);
    } catch (error) {
      // The leader that takes itself out may be gone before its answer is here: the members themselves tell.
      if (!(error instanceof TLedgerError) || error.code !== 'OUTCOME_UNKNOWN' || options.wait === false) throw error;
      lost = error;
    }
    if (options.wait === false) return { index, isDone: false, text: 'the change is under way' };
    return follow(wish, index, lost, () => this.clusterStatus(), options);
  }

  /**
   * Hands leadership to `target`, or to the most caught-up follower.
   * @throws TLedgerError TRANSFER_FAILED (the old leader goes on), UNKNOWN_NODE, NO_LEADER, OUTCOME_UNKNOWN.
   */
  async transferLeadership(target = '', options: AdminCallOptions = {}): Promise<TransferLeadershipResponse> {
    const call = { timeoutMs: options.timeoutMs, effects: 'once' } as const;
    const response = await this.#cluster.call(adminService.transferLeadership, { target }, call);
    this.#cluster.noteLeader(response.leader);
    return response;
  }

  /** Digests of all replicas at `index`, or at the highest index that is committed on all that can be reached. */
  verifyLog(options: AdminCallOptions & { readonly index?: number | undefined } = {}): Promise<VerifyLogResponse> {
    const { timeoutMs } = options;
    const call = { timeoutMs, attemptTimeoutMs: STATUS_ATTEMPT_MS };
    return this.#cluster.call(adminService.verifyLog, { index: numberToInt64(options.index ?? 0, 'index') }, call);
  }

  /** Committed records of one node, as they lie on its disk; see admin.proto. */
  readLog(request: Partial<ReadLogRequest>, options: AdminCallOptions = {}): Promise<ReadLogResponse> {
    const nothing = {
      fromIndex: '0',
      byPosition: false,
      position: '0',
      topic: '',
      queueId: 0,
      offset: '0',
      countMax: 0,
    };
    const call = { timeoutMs: options.timeoutMs, effects: 'none' } as const;
    return this.#cluster.call(adminService.readLog, { ...nothing, ...request }, call);
  }

  /**
   * Has every member that can be reached check all that it stores, from the beginning; `clusterStatus` tells how far it is.
   * @param options.bytesPerSecond as each node is configured when left out.
   */
  scrub(options: AdminCallOptions & { readonly bytesPerSecond?: number | undefined } = {}): Promise<ScrubResponse> {
    const { timeoutMs, bytesPerSecond = 0 } = options;
    const call = { timeoutMs, attemptTimeoutMs: STATUS_ATTEMPT_MS, effects: 'repeatable' } as const;
    const request = { bytesPerSecond: numberToInt64(bytesPerSecond, 'bytesPerSecond') };
    return this.#cluster.call(adminService.scrub, request, call);
  }

  /**
   * Has a node make a backup of the group, or bring the one that lies there up to date. Yields how far it is, a few times a
   * second; the last message says what was made. Leaving the loop ends it, and leaves nothing half behind.
   * @throws TLedgerError INVALID_ARGUMENT, DATA_DIR_FOREIGN, DATA_CORRUPTED, STORAGE_FAILED: then the earlier backup is what
   * it was. NO_LEADER unless `stale`; OVERLOADED while the node makes another one; UNREACHABLE when it went away.
   */
  async *backup(wish: BackupWish): AsyncGenerator<BackupProgress, void, void> {
    const node = backupNodeOf(await this.clusterStatus(), wish.nodeId);
    yield* backup(node, wish, this.#cluster.closing);
  }

  /**
   * Metadata now and after each change of leader, term or topics, from whichever node can be reached. Ends when `signal`
   * is aborted or the client closed. @throws TLedgerError UNREACHABLE after 30 s without any node.
   */
  async *watch(
    options: { readonly topics?: readonly string[]; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<MetadataResponse, void, void> {
    const { signal } = options;
    const request: MetadataRequest = { topics: options.topics ?? [] };
    const backoff = new Backoff();
    const isStopped = () => signal?.aborted === true || this.#cluster.isClosed;
    while (!isStopped()) {
      const endpoint = await this.#pickForWatch(signal);
      if (endpoint === undefined) return;
      try {
        for await (const metadata of serverStream(endpoint, ledgerService.watchMetadata, request, [
          signal,
          this.#cluster.closing,
        ])) {
          backoff.reset();
          this.#cluster.noteLeader(metadata.leader);
          this.#cluster.noteMembers({ index: metadata.membershipIndex, members: metadata.members });
          yield metadata;
        }
      } catch (error) {
        const known = errorOf(error);
        if (!isStopped() && answeredCode(error) !== undefined && !known.retryable) throw known;
      }
      endpoint.avoid();
      await sleep(backoff.next(), signal);
    }
  }

  async #pickForWatch(signal: AbortSignal | undefined): Promise<Endpoint | undefined> {
    try {
      return await this.#cluster.pick(Date.now() + RESUME_TIMEOUT_MS, signal);
    } catch (error) {
      if (signal?.aborted || this.#cluster.isClosed) return undefined;
      throw error instanceof TLedgerError ? error : errorOf(error);
    }
  }
}

function queryOf({ timeoutMs, stale }: ReadCallOptions): MetadataQuery {
  return { timeoutMs, current: stale !== true };
}
