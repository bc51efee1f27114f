// The composition root: a node from its configuration. Opens the data directory, recovers, joins the group, serves;
// closes in the reverse order.
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import { Lifecycle } from '../base/lifecycle.ts';
import { SeededRandom } from '../base/random.ts';
import { Broker } from '../broker/broker.ts';
import type { NodeConfig } from '../config/load.ts';
import type { Logger } from '../observe/logger.ts';
import type { LogIndex, RaftConfig } from '../raft/types.ts';
import { Replica } from '../replica/replica.ts';
import { ForwardService } from '../rpc/forward_service.ts';
import type { MemberInfo, NodeFacts } from '../rpc/gateway.ts';
import { GroupGateway } from '../rpc/group_gateway.ts';
import type { PeerIdentity } from '../rpc/peer_identity.ts';
import { peerHandlers } from '../rpc/peer_service.ts';
import { GrpcPeerTransport } from '../rpc/peer_transport.ts';
import { startClientServer, startPeerServer } from '../rpc/server.ts';
import { CommitLog } from '../storage/commit_log.ts';
import { HardStateFile } from '../storage/hard_state.ts';
import { claimDirectory } from '../storage/identity.ts';
import { LevelStateStore } from '../storage/level_state_store.ts';
import { RealDisk } from '../storage/real_disk.ts';
import { forgetOwner, lockDirectory } from './data_directory.ts';

/** What one flush may have to carry before the leader takes no further batch: more only makes flushes slower. */
const UNFLUSHED_BYTES_MAX = 1024 * 1024;
/** What the leader may have in its log without a majority's word. */
const UNAPPLIED_BYTES_MAX = 32 * 1024 * 1024;

/** A node that serves. */
export interface RunningNode {
  /** Hands over leadership, finishes what is under way within the configured time, saves state, closes. */
  stop(): Promise<void>;
  /** Resolves when the node cannot go on; it no longer votes, leads or answers, and its process should end. */
  readonly failed: Promise<Error>;
}

/**
 * Starts a node; resolves when its ports are bound and it takes part in the group.
 * @throws TLedgerError DATA_DIR_LOCKED, DATA_DIR_FOREIGN, DATA_CORRUPTED, STORAGE_FAILED, PORT_IN_USE; everything
 * opened before is closed again.
 */
export async function startNode(config: NodeConfig, logger: Logger): Promise<RunningNode> {
  const lifecycle = new Lifecycle();
  try {
    return await compose(config, logger, lifecycle);
  } catch (error) {
    await lifecycle.close().catch(() => {});
    throw error;
  }
}

async function compose(config: NodeConfig, logger: Logger, lifecycle: Lifecycle): Promise<RunningNode> {
  const storage = await openStorage(config, logger, lifecycle);
  const members = config.members.map(
    ({ nodeId, clientAddress, peerAddress }): MemberInfo => ({ nodeId, clientAddress, peerAddress }),
  );
  const identity: PeerIdentity = {
    cluster: config.cluster,
    group: config.group,
    nodeId: config.nodeId,
    members: members.map(({ nodeId }) => nodeId),
    settings: `members=${namesOf(config)};segmentSizeBytes=${config.segmentSizeBytes}`,
  };
  const clock = systemClock;
  const random = new SeededRandom(randomInt(2 ** 32));
  const onWarning = (message: string): void => logger.warn(message);
  const transport = new GrpcPeerTransport({
    identity,
    members,
    callTimeoutMs: config.electionTimeoutMsMin,
    clock,
    random,
    onWarning,
  });
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<Error>((resolve) => {
    fail = resolve;
  });
  const replica = new Replica({
    ...storage,
    raft: raftConfigOf(config),
    limits: {
      countMax: config.pendingCountMax,
      bytesMax: config.pendingBytesMax,
      batchBytesMax: config.batchBytesMax,
      unflushedBytesMax: UNFLUSHED_BYTES_MAX,
      unappliedBytesMax: UNAPPLIED_BYTES_MAX,
    },
    flush: config.flush,
    checkpointIntervalMs: config.checkpointIntervalMs,
    clock,
    random,
    transport,
    onWarning,
    onFailure: (error) => {
      logger.error('the node cannot go on', { error: error.message });
      fail(error);
    },
  });
  const report = (where: string, error: unknown): void =>
    logger.error('a call failed unexpectedly', { call: where, error });
  const { cluster, group, nodeId } = config;
  const gateway = new GroupGateway({ cluster, group, nodeId, members, replica, transport, clock, facts: factsOf() });
  const forward = new ForwardService(replica, clock, report);
  const self = members.find((member) => member.nodeId === nodeId)!;

  lifecycle.attach(() => transport.close());
  const handlers = peerHandlers({ identity, self, replica, gateway, transport, forward, report });
  const peerServer = await startPeerServer(handlers, { address: config.peerListen, logger });
  lifecycle.attach(() => peerServer.stop(config.shutdownTimeoutMs));
  lifecycle.attach(() => replica.stop(config.shutdownTimeoutMs));
  const clientServer = await startClientServer(gateway, { address: config.clientListen, flush: config.flush, logger });
  lifecycle.attach(() => gateway.close());
  lifecycle.attach(() => clientServer.stop(config.shutdownTimeoutMs));
  replica.start();
  transport.start(replica);
  logStateChanges(gateway, logger);
  return { stop: () => lifecycle.close(), failed };
}

/** The group's state, locked. One that cannot even be opened is put aside; the broker makes it anew from the log. */
async function openState(directory: string, logger: Logger): Promise<LevelStateStore> {
  try {
    return await lockDirectory(directory);
  } catch (error) {
    if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
    const aside = LevelStateStore.setAside(join(directory, 'state'));
    logger.warn('the state is damaged and is made anew from the log', { reason: error.message, aside });
    return await lockDirectory(directory);
  }
}

/** Opens and recovers all that lies in the group's directory. */
async function openStorage(config: NodeConfig, logger: Logger, lifecycle: Lifecycle) {
  const { cluster, group, nodeId, segmentSizeBytes } = config;
  const disk = new RealDisk();
  const directory = join(config.dataDir, group);
  disk.makeDirectory(directory);
  const store = await openState(directory, logger);
  lifecycle.attach(async () => {
    forgetOwner(directory);
    await store.close();
  });
  claimDirectory({ disk, directory, identity: { cluster, group, nodeId, members: namesOf(config), segmentSizeBytes } });
  const hardState = HardStateFile.open({ disk, directory });
  lifecycle.attach(() => hardState.close());
  const log = CommitLog.open({ disk, directory, segmentSizeBytes });
  lifecycle.attach(() => log.close());
  const readLog = log.readAt.bind(log);
  const flushLog = async (upTo: LogIndex): Promise<void> => {
    if (log.flushedIndex < upTo) await log.flush();
  };
  const queues = join(directory, 'consumequeue');
  const { lastIndex } = log;
  const onWarning = (message: string): void => logger.warn(message);
  const options = { disk, directory: queues, store, readLog, flushLog, segmentSizeBytes, lastIndex, onWarning };
  const broker = await Broker.open(options);
  lifecycle.attach(() => broker.close());
  logger.info('recovered', { ...log.recovery, lastIndex: log.lastIndex, appliedIndex: broker.appliedIndex });
  return { log, hardState, broker };
}

/** Names of all members, in an order that all of them agree on. */
function namesOf(config: NodeConfig): string {
  return config.members
    .map(({ nodeId }) => nodeId)
    .sort()
    .join(',');
}

function raftConfigOf(config: NodeConfig): RaftConfig {
  return {
    id: config.nodeId,
    voters: config.members.map(({ nodeId }) => nodeId),
    heartbeatIntervalMs: config.heartbeatIntervalMs,
    electionTimeoutMsMin: config.electionTimeoutMsMin,
    electionTimeoutMsMax: config.electionTimeoutMsMax,
    appendBytesMax: config.appendBytesMax,
    inflightCountMax: config.inflightCountMax,
    inflightBytesMax: config.inflightBytesMax,
  };
}

function factsOf(): () => NodeFacts {
  const startedMs = performance.now();
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return () => ({ uptimeMs: Math.round(performance.now() - startedMs), version, pid: process.pid });
}

function logStateChanges(gateway: GroupGateway, logger: Logger): void {
  let last = '';
  gateway.onChange(() => {
    const { role, term, leaderId } = gateway.localStatus();
    const now = `${role} ${term} ${leaderId}`;
    if (now !== last) logger.info('role', { role, term, leader: leaderId ?? undefined });
    last = now;
  });
}
