// A node whose data are damaged: holds its directory, tells on both ports that it repairs, and asks the others for what it
// lacks. The members are those that the state names, and the founders; whoever is asked checks who asks.
import { randomInt } from 'node:crypto';
import { systemClock } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Lifecycle } from '../base/lifecycle.ts';
import { SeededRandom } from '../base/random.ts';
import { MEMBERSHIP_KEY } from '../broker/state_tables.ts';
import type { NodeConfig } from '../config/load.ts';
import { decodeMembershipEntry } from '../format/membership.ts';
import type { Logger } from '../observe/logger.ts';
import { bootstrap } from '../raft/membership.ts';
import { logIndex, type Membership, type NodeId } from '../raft/types.ts';
import { Repairing } from '../replica/repairing.ts';
import type { NodeAddresses, NodeFacts } from '../rpc/gateway.ts';
import { groupMembersOf } from '../rpc/members.ts';
import type { PeerIdentity } from '../rpc/peer_identity.ts';
import { PeerLink } from '../rpc/peer_link.ts';
import { grpcRepairPeers } from '../rpc/repair_calls.ts';
import { RepairGateway, repairPeerHandlers } from '../rpc/repair_service.ts';
import { startClientServer, startPeerServer } from '../rpc/server.ts';
import type { DamageMap } from '../storage/damage_map.ts';
import type { Disk } from '../storage/disk.ts';
import { HardStateFile } from '../storage/hard_state.ts';
import type { ClaimedDirectory, Founders } from '../storage/identity.ts';
import type { StateStore } from '../storage/state_store.ts';
import type { Found, Phase, PhaseEnd } from './node_run.ts';
import { Promises } from './promises.ts';

/** A group's directory that this process holds. */
export interface HeldDirectory {
  readonly disk: Disk;
  readonly directory: string;
  readonly store: StateStore;
  readonly claimed: ClaimedDirectory;
}

/** What the repair of a node needs. */
export interface RepairNodeOptions {
  readonly config: NodeConfig;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  readonly found: Found;
  readonly self: NodeAddresses;
  readonly founders: Founders;
  readonly facts: () => NodeFacts;
  readonly identityOf: (claimed: ClaimedDirectory, memory: Promises) => PeerIdentity;
  /** Locks the directory and checks whose it is; attached to the lifecycle. */
  readonly openDirectory: () => Promise<HeldDirectory>;
}

/** A log that something was vouched for is not blank, whatever is left of it. */
const NOT_BLANK: Pick<DamageMap['tip'], 'index'> = { index: logIndex(1) };

/**
 * Begins to repair; resolves when both ports answer. Without anybody to ask, when it is done.
 * @throws TLedgerError DATA_CORRUPTED when there is nobody to ask and this node cannot help itself; as `startNode` does.
 */
export async function repairNode(options: RepairNodeOptions): Promise<Phase> {
  const { config, logger, lifecycle, found, self, facts } = options;
  const held = await options.openDirectory();
  const { disk, directory, claimed } = held;
  const membership = found.membership ?? (await membershipOf(held, options.founders));
  const hardState = HardStateFile.open({ disk, directory });
  hardState.close();
  const clock = systemClock;
  const random = new SeededRandom(randomInt(2 ** 32));
  const onWarning = (message: string): void => logger.warn(message);
  let lose: (error: TLedgerError) => void = () => {};
  const lost = new Promise<PhaseEnd>((resolve) => {
    lose = (error) => resolve({ kind: 'failed', error });
  });
  const memory = new Promises({
    claimed,
    hardState,
    log: { lastIndex: NOT_BLANK.index },
    members: () => membership,
    onWarning,
    onLost: lose,
  });
  const identity = options.identityOf(claimed, memory);
  const links = linksTo(membership, { identity, clock, random, onWarning });
  const linkTo = (peer: NodeId): PeerLink => {
    const link = links.get(peer);
    if (link === undefined) throw new TLedgerError('UNKNOWN_NODE', `no link to "${peer}"`);
    return link;
  };
  const repairing = new Repairing({
    place: { disk, directory, segmentSizeBytes: config.segmentSizeBytes },
    damage: found.damage,
    isDispensable: found.isDispensable,
    peers: grpcRepairPeers(() => [...links.keys()], linkTo),
    clock,
    random,
    onEvent: (message) => logger.info(message),
    onWarning,
  });
  const ended = (async (): Promise<PhaseEnd> => {
    try {
      await repairing.run();
      return { kind: 'repaired' };
    } catch (error) {
      return { kind: 'failed', error: error instanceof Error ? error : new Error(messageOf(error)) };
    }
  })();
  // Nothing of it may go on when the directory is given up.
  lifecycle.attach(async () => {
    repairing.stop();
    for (const link of links.values()) link.close();
    await ended;
  });
  if (links.size === 0) {
    const end = await ended;
    if (end.kind === 'failed') throw end.error;
    return { ended };
  }
  const gateway = new RepairGateway({
    cluster: config.cluster,
    group: config.group,
    self,
    members: groupMembersOf({ index: logIndex(0), membership }, logIndex(0)),
    term: hardState.state.term,
    facts,
    says: () => repairing.says,
    linkTo,
  });
  const report = (where: string, error: unknown): void =>
    logger.error('a call failed unexpectedly', { call: where, error });
  const peerServer = await startPeerServer(repairPeerHandlers({ identity, gateway, report }), {
    address: config.peerListen,
    logger,
  });
  lifecycle.attach(() => peerServer.stop(config.shutdownTimeoutMs));
  const clientServer = await startClientServer(gateway, { address: config.clientListen, logger });
  lifecycle.attach(() => clientServer.stop(config.shutdownTimeoutMs));
  return { ended: Promise.race([ended, lost]) };
}

/** The members by the state, as far as it can be read, and the founders. */
async function membershipOf({ store }: HeldDirectory, founders: Founders): Promise<Membership> {
  const first = bootstrap(founders);
  try {
    const row = (await store.load()).get(MEMBERSHIP_KEY);
    if (row === undefined) return first;
    const { membership } = decodeMembershipEntry(Buffer.from(row)) ?? { membership: first };
    return { ...membership, addresses: { ...first.addresses, ...membership.addresses } };
  } catch (error) {
    if (!(error instanceof TLedgerError) || error.code !== 'DATA_CORRUPTED') throw error;
    return first;
  }
}

function linksTo(
  { addresses }: Membership,
  options: Pick<ConstructorParameters<typeof PeerLink>[0], 'identity' | 'clock' | 'random' | 'onWarning'>,
): Map<NodeId, PeerLink> {
  const nothing = (): void => {};
  const links = new Map<NodeId, PeerLink>();
  for (const [peer, { peer: address }] of Object.entries(addresses)) {
    if (peer === options.identity.nodeId || address === '') continue;
    const told = { onUp: nothing, onDown: nothing, onResponse: nothing };
    links.set(peer, new PeerLink({ ...options, ...told, peer, address }));
  }
  return links;
}
