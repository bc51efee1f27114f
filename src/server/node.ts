// The composition root: a node from its configuration. Opens the data directory, recovers, joins the group, serves;
// closes in the reverse order.
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Lifecycle } from '../base/lifecycle.ts';
import { SeededRandom } from '../base/random.ts';
import type { NodeConfig } from '../config/load.ts';
import type { Logger } from '../observe/logger.ts';
import { bootstrap } from '../raft/membership.ts';
import type { Membership, RaftConfig } from '../raft/types.ts';
import { type DiskPlace, makeRoom } from '../replica/disk_watch.ts';
import { openGroup } from '../replica/open_group.ts';
import { Replica } from '../replica/replica.ts';
import { ForwardService } from '../rpc/forward_service.ts';
import type { NodeAddresses, NodeFacts } from '../rpc/gateway.ts';
import { GroupGateway } from '../rpc/group_gateway.ts';
import type { PeerIdentity } from '../rpc/peer_identity.ts';
import { peerHandlers } from '../rpc/peer_service.ts';
import { GrpcPeerTransport } from '../rpc/peer_transport.ts';
import { startClientServer, startPeerServer } from '../rpc/server.ts';
import { type Damage, damageOf } from '../storage/damage.ts';
import { type ClaimedDirectory, claimDirectory, type Founders, foundersGroupId } from '../storage/identity.ts';
import { defaultKeyIndexLayout } from '../storage/key_index.ts';
import { LevelStateStore } from '../storage/level_state_store.ts';
import { RealDisk } from '../storage/real_disk.ts';
import { Backups, type BackupsOptions } from './backups.ts';
import { forgetOwner, lockDirectory } from './data_directory.ts';
import { MembershipWatch } from './membership_watch.ts';
import { NodeRun, type Phase, type PhaseEnd } from './node_run.ts';
import { Promises } from './promises.ts';
import { type HeldDirectory, repairNode } from './repair_node.ts';
import { scrubberOf } from './scrubbing.ts';

/**
 * What one flush may have to carry before the leader takes no further batch: more only makes flushes slower. Where nobody
 * waits for flushes, it bounds what a power loss takes.
 */
const UNFLUSHED_BYTES_MAX = { sync: 1024 * 1024, async: 64 * 1024 * 1024 } as const;
/** What the leader may have in its log without a majority's word. */
const UNAPPLIED_BYTES_MAX = 32 * 1024 * 1024;
/** How many election timeouts a member that left is still told what happens: that it is out. */
const LINGER_TIMEOUTS = 3;

/** A node that serves, or repairs what is damaged until it can. */
export interface RunningNode {
  /** Hands over leadership, finishes what is under way within the configured time, saves state, closes. */
  stop(): Promise<void>;
  /** Resolves when the node cannot go on; it no longer votes, leads or answers, and its process should end. */
  readonly failed: Promise<Error>;
}

/**
 * Starts a node; resolves when its ports are bound and it takes part in the group. A node whose data are damaged starts,
 * too: it repairs them with the help of the others, says so to whoever asks, and takes part when they are whole.
 * @throws TLedgerError DATA_DIR_LOCKED, DATA_DIR_FOREIGN, DATA_LOST, STORAGE_FAILED, PORT_IN_USE; DATA_CORRUPTED when nobody
 * could help; everything opened before is closed again.
 */
export async function startNode(config: NodeConfig, logger: Logger): Promise<RunningNode> {
  const facts = factsOf();
  return await NodeRun.start({
    serve: (lifecycle, damage) => compose(config, logger, lifecycle, { facts, damage }),
    repair: (lifecycle, found) =>
      repairNode({
        config,
        logger,
        lifecycle,
        found,
        self: selfOf(config),
        founders: foundersOf(config),
        facts,
        identityOf: (claimed, memory) => identityOf(config, claimed, memory),
        openDirectory: () => openDirectory(config, logger, lifecycle),
      }),
    clock: systemClock,
    onTurn: (message, fields) => logger.info(message, fields),
  });
}

async function compose(
  config: NodeConfig,
  logger: Logger,
  lifecycle: Lifecycle,
  { facts, damage: found }: { readonly facts: () => NodeFacts; readonly damage: Damage | null },
): Promise<Phase> {
  const opened = await openStorage(config, logger, lifecycle, found);
  const { claimed, parts } = opened;
  const onWarning = (message: string): void => logger.warn(message);
  const memory = new Promises({
    ...parts,
    claimed,
    members: () => replica.membership.membership,
    onWarning,
    onLost: (error) => {
      transport.close();
      void replica.stop(0);
      ending.end({ kind: 'failed', error });
    },
  });
  const identity = identityOf(config, claimed, memory);
  const clock = systemClock;
  const random = new SeededRandom(randomInt(2 ** 32));
  const watch = new MembershipWatch({
    nodeId: config.nodeId,
    clock,
    belonging: claimed,
    info: (message, fields) => logger.info(message, fields),
    warn: (message, fields) => logger.warn(message, fields),
    // Nobody expects calls of it any more; a leader that adds it anew calls itself.
    onRemoved: () => transport.setMembers({ addresses: {} }),
  });
  const transport = new GrpcPeerTransport({
    identity,
    callTimeoutMs: config.electionTimeoutMsMin,
    lingerMs: LINGER_TIMEOUTS * config.electionTimeoutMsMax,
    clock,
    random,
    onWarning,
    onOutcast: (message) => watch.onOutcast(message),
  });
  const ending = new Ending(logger, () => replica.membership.membership);
  const replica = new Replica({
    ...parts,
    ...replicaSettingsOf(config),
    space: spaceOf(config),
    membership: bootstrapOf(config, claimed),
    clock,
    random,
    transport,
    onWarning,
    onEvent: (message) => logger.info(message),
    onDamage: (damage) => ending.onDamage(damage),
    onFailure: (error) => ending.onFailure(error),
  });
  checkFounders(config, claimed, replica.membership.membership);
  const scrubber = scrubberOf(config, { ...opened, clock, logger, replica, others: () => gateway });
  lifecycle.attach(() => scrubber.stop());
  const backups = backupsOf(config, { ...opened.parts, claimed, replica, clock, logger });
  const links = { replica, transport, backups, scrubber: () => scrubber };
  const gateway = new GroupGateway({ ...aboutOf(config, facts), ...links, standing: watch, clock });
  const report = reporterOf(logger);
  const forward = new ForwardService(replica, clock, report);

  lifecycle.attach(() => transport.close());
  const handlers = peerHandlers({ identity, replica, gateway, transport, forward, report });
  const peerServer = await startPeerServer(handlers, { address: config.peerListen, logger });
  lifecycle.attach(() => peerServer.stop(config.shutdownTimeoutMs));
  lifecycle.attach(() => replica.stop(config.shutdownTimeoutMs));
  const clientServer = await startClientServer(gateway, { ...clientServerSettingsOf(config), logger });
  lifecycle.attach(() => backups.close().then(() => gateway.close()));
  lifecycle.attach(() => clientServer.stop(config.shutdownTimeoutMs));
  memory.check();
  watch.start(replica);
  replica.onChange(() => transport.announce());
  replica.start();
  transport.start(replica);
  logStateChanges(gateway, logger);
  scrubber.start();
  return ending;
}

/** How a node that serves comes to its end. */
class Ending implements Phase {
  readonly ended: Promise<PhaseEnd>;
  readonly #logger: Logger;
  readonly #membership: () => Membership;
  #end: (how: PhaseEnd) => void = () => {};

  constructor(logger: Logger, membership: () => Membership) {
    this.#logger = logger;
    this.#membership = membership;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** The first end counts. */
  end(how: PhaseEnd): void {
    this.#end(how);
  }

  onDamage(damage: Damage): void {
    const isDispensable = damage.kind === 'snapshot';
    this.#end({ kind: 'damaged', found: { damage, membership: this.#membership(), isDispensable } });
  }

  onFailure(error: Error): void {
    const damage = damageOf(error);
    // That of a snapshot is told by whoever finds it.
    if (damage !== null && damage.kind !== 'snapshot') return this.onDamage(damage);
    this.#logger.error('the node cannot go on', { error: error.message });
    this.#end({ kind: 'failed', error });
  }
}

function aboutOf(config: NodeConfig, facts: () => NodeFacts) {
  const { cluster, group } = config;
  return { cluster, group, self: selfOf(config), facts };
}

function reporterOf(logger: Logger): (where: string, error: unknown) => void {
  return (where, error) => logger.error('a call failed unexpectedly', { call: where, error });
}

function backupsOf(
  config: NodeConfig,
  parts: Pick<BackupsOptions, 'claimed' | 'log' | 'broker' | 'clock'> & {
    readonly replica: Replica;
    readonly logger: Logger;
  } & {
    readonly claimed: ClaimedDirectory;
  },
): Backups {
  const { dataDir, group } = config;
  const { replica, logger, claimed } = parts;
  return new Backups({
    ...parts,
    ...{ disk: new RealDisk(), dataDir, directory: join(dataDir, group), founders: bootstrapOf(config, claimed) },
    onDamage: (damage) => replica.damaged(damage),
    onEvent: (message) => logger.info(message),
  });
}

function identityOf(config: NodeConfig, belonging: ClaimedDirectory, memory: Promises): PeerIdentity {
  const { cluster, group, nodeId } = config;
  return { cluster, group, nodeId, belonging, memory, settings: settingsOf(config) };
}

/**
 * What nodes must have in common, for their peers to compare. A lease is worth what the others promise, and they promise
 * not to vote for their own shortest election timeout: with leases that must be the same, too.
 */
export function settingsOf({
  segmentSizeBytes,
  reads,
  electionTimeoutMsMin,
}: Pick<NodeConfig, 'segmentSizeBytes' | 'reads' | 'electionTimeoutMsMin'>): string {
  const lease = reads === 'lease' ? `;electionTimeoutMsMin=${electionTimeoutMsMin}` : '';
  return `segmentSizeBytes=${segmentSizeBytes};reads=${reads}${lease}`;
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

/** Locks the group's directory, and checks whose it is. */
async function openDirectory(config: NodeConfig, logger: Logger, lifecycle: Lifecycle): Promise<HeldDirectory> {
  const { cluster, group, nodeId, segmentSizeBytes } = config;
  const disk = new RealDisk();
  const directory = join(config.dataDir, group);
  disk.makeDirectory(directory);
  const store = await openState(directory, logger);
  lifecycle.attach(async () => {
    forgetOwner(directory);
    await store.close();
  });
  const identity = { cluster, group, nodeId, segmentSizeBytes };
  return {
    disk,
    directory,
    store,
    claimed: claimDirectory({ disk, directory, identity, founders: foundersOf(config) }),
  };
}

/** Opens and recovers all that lies in the group's directory. */
async function openStorage(config: NodeConfig, logger: Logger, lifecycle: Lifecycle, damage: Damage | null) {
  const { claimed, ...held } = await openDirectory(config, logger, lifecycle);
  const onWarning = (message: string): void => logger.warn(message);
  makeRoom(spaceOf(config));
  const parts = await openGroup({ ...held, onWarning, ...logSettingsOf(config), damage: damage ?? undefined });
  lifecycle.attach(() => parts.close());
  const { log, broker } = parts;
  logger.info('recovered', { ...log.recovery, lastIndex: log.lastIndex, appliedIndex: broker.appliedIndex });
  return { claimed, parts, ...held };
}

function foundersOf(config: NodeConfig): Founders {
  return Object.fromEntries(
    config.members.map(({ nodeId, peerAddress, clientAddress }) => [
      nodeId,
      { peer: peerAddress, client: clientAddress },
    ]),
  );
}

/**
 * Who the members are while no record of the log says so: those of the configuration, if they are the ones that founded
 * the group of this directory; nobody otherwise.
 */
function bootstrapOf(config: NodeConfig, { groupId }: ClaimedDirectory): Membership {
  const founders = foundersOf(config);
  const names = Object.keys(founders);
  const isFounder = names.length > 0 && groupId === foundersGroupId(config.cluster, config.group, names);
  return bootstrap(isFounder ? founders : {});
}

/** @throws TLedgerError DATA_DIR_FOREIGN when neither the log nor the configuration tells who the members are. */
function checkFounders(config: NodeConfig, { wasMember, founders }: ClaimedDirectory, { voters }: Membership): void {
  if (voters.length > 0 || !wasMember) return;
  const [these, those] = [founders, foundersOf(config)].map((one) => Object.keys(one).sort().join(', '));
  throw new TLedgerError(
    'DATA_DIR_FOREIGN',
    `${join(config.dataDir, config.group)} belongs to the group that ${these} founded, not ${those || 'nobody'}: peers must name those until the group has changed its members once`,
  );
}

/** Addresses of this node until the group tells others of them. */
function selfOf({ nodeId, members, clientListen, peerListen }: NodeConfig): NodeAddresses {
  const founder = members.find((member) => member.nodeId === nodeId);
  return founder ?? { nodeId, clientAddress: clientListen, peerAddress: peerListen };
}

function replicaSettingsOf(config: NodeConfig) {
  return {
    raft: raftConfigOf(config),
    limits: {
      countMax: config.pendingCountMax,
      bytesMax: config.pendingBytesMax,
      batchBytesMax: config.batchBytesMax,
      unflushedBytesMax: UNFLUSHED_BYTES_MAX[config.flush],
      unappliedBytesMax: UNAPPLIED_BYTES_MAX,
    },
    flush: config.flush,
    flushIntervalMs: config.flushIntervalMs,
    checkpointIntervalMs: config.checkpointIntervalMs,
    retentionBytes: config.retentionBytes,
    retentionMs: config.retentionMs,
    diskStallMs: config.diskStallMs,
  };
}

/** The disk that may become full. */
function spaceOf(config: NodeConfig): DiskPlace {
  return {
    disk: new RealDisk(),
    directory: join(config.dataDir, config.group),
    warnPercent: config.diskWarnPercent,
    cleanPercent: config.diskCleanPercent,
    refusePercent: config.diskRefusePercent,
    reserveBytes: config.diskReserveBytes,
  };
}

/** How the log is laid out, and what of it is kept in memory. */
function logSettingsOf(config: NodeConfig) {
  return {
    segmentSizeBytes: config.segmentSizeBytes,
    keyIndex: config.keyIndex === 'on' ? defaultKeyIndexLayout : ('off' as const),
    cacheBytesMax: config.tailCacheBytes,
    // More than a leader lets wait to be applied, so that it never reads that from files.
    neededBytesMax: 2 * UNAPPLIED_BYTES_MAX,
    cold: {
      chunkBytes: config.coldReadChunkBytes,
      cacheBytesMax: config.coldReadCacheBytes,
      readsMax: config.coldReadCountMax,
      bytesPerSecond: config.coldReadBytesPerSecond,
    },
  };
}

function clientServerSettingsOf(config: NodeConfig) {
  const { coldReadBacklogBytes } = config;
  return {
    address: config.clientListen,
    coldUnsentBytesMax: config.coldReadUnsentBytes,
    ...(coldReadBacklogBytes === 0 ? {} : { coldBacklogBytes: coldReadBacklogBytes }),
  };
}

function raftConfigOf(config: NodeConfig): RaftConfig {
  const idleMs = Math.max(config.heartbeatIntervalMs, Math.floor(config.electionTimeoutMsMin / 2));
  return {
    id: config.nodeId,
    heartbeatIntervalMs: config.heartbeatIntervalMs,
    idleHeartbeatIntervalMs: config.idleHeartbeatIntervalMs === 0 ? idleMs : config.idleHeartbeatIntervalMs,
    electionTimeoutMsMin: config.electionTimeoutMsMin,
    electionTimeoutMsMax: config.electionTimeoutMsMax,
    preferredLeaders: config.preferredLeaders,
    leaseReads: config.reads === 'lease',
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
