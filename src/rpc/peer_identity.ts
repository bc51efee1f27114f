// Nodes of a group introduce themselves on every peer call. One of another cluster or group, a call meant for another
// node and a node with other settings are each refused by name. Who is a member is no matter of the introduction: the log
// says so, and whoever calls may know more of it than whoever is called. Each side also says whether it has ever promised
// anything, so that a node whose data is lost is not taken for one that is new.
import { Metadata } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import { NAME, NAME_LENGTH_MAX } from '../base/names.ts';
import type { NodeId } from '../raft/types.ts';

/** The group that this node is of: told from others of the same name by an id. */
export interface GroupBelonging {
  /** Null until a group has taken the node in. */
  readonly groupId: string | null;
  /** Joins the group of that id for good; durable when it returns. */
  adopt(groupId: string): void;
}

/** Who has promised anything, by a vote or an acknowledgement, as far as this node knows. */
export interface PromiseMemory {
  /** This node has not, or has forgotten: it never took part in a term and holds nothing. */
  readonly isBlank: boolean;
  hasPromised(peer: NodeId): boolean;
  /** `peer` says that it has. Durable when it returns; of members only. @throws Error when it cannot be written. */
  notePromised(peer: NodeId): void;
  /** This node is blank, and a peer knows better. */
  onDataLost(says: string): void;
}

/** Who this node is among its peers. */
export interface PeerIdentity {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  /** Asked anew for every call, as a node that joins gets its group by the first call of a member. */
  readonly belonging: GroupBelonging;
  /** Asked anew for every call, too. */
  readonly memory: PromiseMemory;
  /** What must be equal on all members for their logs to be byte-identical, as text: `segmentSizeBytes=…`. */
  readonly settings: string;
}

const key = {
  cluster: 'tledger-cluster',
  group: 'tledger-group',
  groupId: 'tledger-group-id',
  from: 'tledger-from',
  to: 'tledger-to',
  settings: 'tledger-settings',
  /** `1`: the sender has never promised anything; `0`: it has. */
  blank: 'tledger-blank',
  /** `1`: the caller knows that the callee has promised something before. */
  known: 'tledger-known',
} as const;

const GROUP_ID = /^[0-9a-f]{16}$/;

/** The metadata of a call from `self` to `to`. */
export function introduce(self: PeerIdentity, to: NodeId, options: { readonly waitForReady: boolean }): Metadata {
  const metadata = new Metadata(options);
  metadata.set(key.cluster, self.cluster);
  metadata.set(key.group, self.group);
  metadata.set(key.groupId, self.belonging.groupId ?? '');
  metadata.set(key.from, self.nodeId);
  metadata.set(key.to, to);
  metadata.set(key.settings, self.settings);
  metadata.set(key.blank, self.memory.isBlank ? '1' : '0');
  metadata.set(key.known, self.memory.hasPromised(to) ? '1' : '0');
  return metadata;
}

/** The metadata that answers a stream: whether this node has promised anything. */
export function introduceBack({ memory }: PeerIdentity): Metadata {
  const metadata = new Metadata();
  metadata.set(key.blank, memory.isBlank ? '1' : '0');
  return metadata;
}

/**
 * Takes note of what a peer's answer to a stream says.
 * @returns whether the peer has promised anything; `lost` when it is blank and must first be told that it was not: nothing
 * may be sent on that stream.
 * @throws Error when it cannot be written.
 */
export function heedAnswer({ memory }: PeerIdentity, peer: NodeId, answer: Metadata): 'promised' | 'blank' | 'lost' {
  const blank = answer.get(key.blank)[0];
  if (blank === '0') memory.notePromised(peer);
  if (blank === '1' && memory.hasPromised(peer)) return 'lost';
  return blank === '0' ? 'promised' : 'blank';
}

/**
 * Checks who calls. A node that waits to be taken in joins the caller's group. That the caller has promised something is
 * remembered before the call is handled.
 * @returns the calling node.
 * @throws TLedgerError NOT_A_MEMBER, WRONG_CLUSTER or UNKNOWN_GROUP, naming what was said and what was expected; DATA_LOST
 * when one of the two is blank and the other knows that it was not; Error when what changes cannot be written. The texts
 * are read elsewhere, so that they name nodes.
 */
export function identify(self: PeerIdentity, metadata: Metadata): NodeId {
  const said = (name: string): string => String(metadata.get(name)[0] ?? '');
  const from = said(key.from);
  if (said(key.cluster) !== self.cluster) {
    throw new TLedgerError(
      'WRONG_CLUSTER',
      `node "${self.nodeId}" is of cluster "${self.cluster}", the caller of "${said(key.cluster)}"`,
    );
  }
  if (said(key.group) !== self.group) {
    throw new TLedgerError(
      'UNKNOWN_GROUP',
      `node "${self.nodeId}" serves group "${self.group}", not "${said(key.group)}"`,
    );
  }
  if (!NAME.test(from) || from.length > NAME_LENGTH_MAX || from === self.nodeId) {
    throw new TLedgerError('NOT_A_MEMBER', `"${from}" is not another node of group "${self.group}"`);
  }
  if (said(key.to) !== self.nodeId) {
    throw new TLedgerError('WRONG_CLUSTER', `this is node "${self.nodeId}", the call is meant for "${said(key.to)}"`);
  }
  if (said(key.settings) !== self.settings) {
    throw new TLedgerError(
      'WRONG_CLUSTER',
      `node "${from}" has ${said(key.settings)}, node "${self.nodeId}" has ${self.settings}: they must be equal`,
    );
  }
  checkGroup(self, from, said(key.groupId));
  checkPromises(self, from, { isBlank: said(key.blank) === '1', isKnown: said(key.known) === '1' });
  // Last: a call that is refused must not make a node join.
  if (self.belonging.groupId === null) self.belonging.adopt(said(key.groupId));
  if (said(key.blank) === '0') self.memory.notePromised(from);
  return from;
}

function checkGroup({ belonging, group, nodeId }: PeerIdentity, from: NodeId, groupId: string): void {
  if (!GROUP_ID.test(groupId)) {
    throw new TLedgerError('NOT_A_MEMBER', `node "${from}" waits itself to be added to a group`);
  }
  if (belonging.groupId === null || belonging.groupId === groupId) return;
  throw new TLedgerError(
    'WRONG_CLUSTER',
    `node "${from}" is of another group named "${group}" (id ${groupId}, "${nodeId}" of ${belonging.groupId}), founded by others or recovered by force; whichever is to join: delete its data and start it with --join`,
  );
}

/** Neither side may take a node that lost its data for the member it was. */
function checkPromises(
  { memory, nodeId }: PeerIdentity,
  from: NodeId,
  caller: { readonly isBlank: boolean; readonly isKnown: boolean },
): void {
  if (caller.isKnown && memory.isBlank) {
    const lost = dataLost(nodeId);
    memory.onDataLost(lost.message);
    throw lost;
  }
  if (caller.isBlank && memory.hasPromised(from)) throw dataLost(from);
}

function dataLost(nodeId: NodeId): TLedgerError {
  return new TLedgerError(
    'DATA_LOST',
    `${nodeId} has lost its data: it may have voted and acknowledged what it does not remember; remove it (tledger member remove ${nodeId}), start it with --join and an empty data directory, and add it again (tledger member add ${nodeId} …)`,
  );
}
