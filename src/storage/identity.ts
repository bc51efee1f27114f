// Whose data a directory holds: written when the directory is first used, and compared ever after, so that a mistyped
// path or a mixed-up volume is refused before it can do harm.
import { createHash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { crc32 } from '../base/crc.ts';
import { TLedgerError } from '../base/errors.ts';
import type { MemberAddress, NodeId } from '../raft/types.ts';
import type { Disk } from './disk.ts';

/**
 * Version 1 named the founding members in the place of the group id, which is made from them. Version 2 had no `promised`;
 * software that knows no more than that would drop it with its next change.
 */
const FORMAT_VERSION = 3;
const IDENTITY_BYTES_MAX = 64 * 1024;
const GROUP_ID = /^[0-9a-f]{16}$/;
/** Lies in a directory while a backup is restored into it: what else is there is not a whole. */
export const RESTORING_FILE = 'restoring';

/** What must stay the same for the life of a group directory. */
export interface Identity {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  /** Where the log rolls is part of its bytes, so it can't change. */
  readonly segmentSizeBytes: number;
}

/** What a group learns in the course of its life. */
interface Belonging {
  /**
   * Tells groups of the same name apart: nodes of different ones count different majorities. Null while the node waits
   * for a group to take it in.
   */
  readonly groupId: string | null;
  /** Whether this node has been a member, so that it knows the group without it for one that removed it. */
  readonly wasMember: boolean;
  /** The members that the group was founded with, as this node was told at its first start; empty if it joined. */
  readonly founders: Founders;
  /** Members that are known to have promised something: should they come back empty, they have lost their data. */
  readonly promised: readonly NodeId[];
}

/** The first members of a group and how they were reached then. */
export type Founders = Readonly<Record<NodeId, MemberAddress>>;

/** The id of the group that these members found: the same on all of them, without asking anybody. */
export function foundersGroupId(cluster: string, group: string, founders: readonly NodeId[]): string {
  const text = JSON.stringify([cluster, group, ...[...founders].sort()]);
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** A directory that belongs to this node. What changes is on disk before the call that changes it returns. */
export class ClaimedDirectory {
  readonly identity: Identity;
  readonly #disk: Disk;
  readonly #path: string;
  #belonging: Belonging;

  /** @see claimDirectory */
  constructor(disk: Disk, path: string, identity: Identity, belonging: Belonging) {
    this.#disk = disk;
    this.#path = path;
    this.identity = identity;
    this.#belonging = belonging;
  }

  /** 16 hex digits; null while no group has taken the node in. */
  get groupId(): string | null {
    return this.#belonging.groupId;
  }

  get wasMember(): boolean {
    return this.#belonging.wasMember;
  }

  /** Of the group that the node was founded with, if it was. Addresses are empty when version 1 did not keep them. */
  get founders(): Founders {
    return this.#belonging.founders;
  }

  /** Members that are known to have voted or to hold records, in the order in which they were noted. */
  get promised(): readonly NodeId[] {
    return this.#belonging.promised;
  }

  /** Remembers that a member has promised something. @throws Error when the file cannot be written. */
  notePromised(nodeId: NodeId): void {
    if (!this.promised.includes(nodeId)) {
      this.#save({ ...this.#belonging, promised: [...this.promised, nodeId] });
    }
  }

  /**
   * Forgets those that are no members any more: their names are free for new nodes.
   * @throws Error when the file cannot be written.
   */
  forgetAllBut(isMember: (nodeId: NodeId) => boolean): void {
    const promised = this.promised.filter(isMember);
    if (promised.length < this.promised.length) this.#save({ ...this.#belonging, promised });
  }

  /** Joins the group of that id, once and for ever. @throws Error when the file cannot be written. */
  adopt(groupId: string): void {
    assert(this.groupId === null && GROUP_ID.test(groupId), 'a node without a group joins one, once');
    this.#save({ ...this.#belonging, groupId });
  }

  /** Remembers that this node is a member. @throws Error when the file cannot be written. */
  noteMember(): void {
    if (!this.wasMember) this.#save({ ...this.#belonging, wasMember: true });
  }

  /** Leaves the group for one of its own making (forced recovery), in which nobody has promised anything yet. @throws Error when the file cannot be written. */
  secede(groupId: string): void {
    assert(GROUP_ID.test(groupId), 'a group id is 16 hex digits');
    this.#save({ ...this.#belonging, groupId, wasMember: true, promised: [] });
  }

  #save(belonging: Belonging): void {
    writeWhole(this.#disk, this.#path, encode(this.identity, belonging));
    this.#belonging = belonging;
  }
}

/**
 * Claims `directory` for `identity`, or checks that it belongs to it already. The file `identity` is one line: the
 * CRC-32 of the rest in 8 hex digits, a space, and a JSON object.
 * @param options.founders the members that this node founds the group with, if it does; counts for a new directory only.
 * @throws TLedgerError DATA_DIR_FOREIGN naming what the directory belongs to and what it was asked for, also when a
 * newer version wrote it; DATA_CORRUPTED when the file is damaged, or missing beside a log, or a restore was interrupted.
 */
export function claimDirectory(options: {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: Identity;
  readonly founders: Founders;
}): ClaimedDirectory {
  const { disk, directory, identity, founders } = options;
  const path = `${directory}/identity`;
  disk.makeDirectory(directory);
  refuseHalfRestored(disk, directory);
  if (!disk.exists(path)) {
    if (disk.list(`${directory}/commitlog`).length > 0) {
      throw new TLedgerError('DATA_CORRUPTED', `${path} is missing beside a log`);
    }
    const names = Object.keys(founders);
    const isFounder = names.length > 0;
    const groupId = isFounder ? foundersGroupId(identity.cluster, identity.group, names) : null;
    const belonging = { groupId, wasMember: isFounder, founders, promised: [] };
    writeWhole(disk, path, encode(identity, belonging));
    return new ClaimedDirectory(disk, path, identity, belonging);
  }
  const found = readIdentity(disk, directory);
  for (const name of ['cluster', 'group', 'nodeId', 'segmentSizeBytes'] as const) {
    if (found.identity[name] === identity[name]) continue;
    throw new TLedgerError(
      'DATA_DIR_FOREIGN',
      `${directory} belongs to ${name} ${JSON.stringify(found.identity[name])}, not ${JSON.stringify(identity[name])}`,
    );
  }
  return found;
}

/**
 * Whose directory it is.
 * @throws TLedgerError DATA_DIR_FOREIGN when there is no identity, or one of a newer version; DATA_CORRUPTED.
 */
export function readIdentity(disk: Disk, directory: string): ClaimedDirectory {
  const path = `${directory}/identity`;
  refuseHalfRestored(disk, directory);
  if (!disk.exists(path)) throw new TLedgerError('DATA_DIR_FOREIGN', `${directory} holds no data of a node`);
  const found = decode(path, readWhole(disk, path));
  const { formatVersion, groupId, wasMember, founders, promised, members, ...rest } = found;
  if (typeof formatVersion !== 'number' || formatVersion > FORMAT_VERSION) {
    throw new TLedgerError(
      'DATA_DIR_FOREIGN',
      `${directory} was written in format version ${formatVersion}; this software reads up to version ${FORMAT_VERSION}`,
    );
  }
  const identity = rest as unknown as Identity;
  if (formatVersion === 1) {
    const names = String(members).split(',');
    const founded = foundersGroupId(identity.cluster, identity.group, names);
    const unknown = Object.fromEntries(names.map((id) => [id, { peer: '', client: '' }]));
    const belonging = { groupId: founded, wasMember: true, founders: unknown, promised: [] };
    return new ClaimedDirectory(disk, path, identity, belonging);
  }
  const belonging = {
    groupId: groupId as string | null,
    wasMember: wasMember === true,
    founders: founders as Founders,
    promised: (promised ?? []) as readonly NodeId[],
  };
  return new ClaimedDirectory(disk, path, identity, belonging);
}

/**
 * Writes the identity of a directory that was made from a backup: its node is a member of a group of that id, all of whose
 * members hold the same records, and so have promised them.
 */
export function settleIdentity(
  disk: Disk,
  directory: string,
  identity: Identity,
  group: { readonly groupId: string; readonly members: Founders },
): void {
  const { groupId, members: founders } = group;
  assert(GROUP_ID.test(groupId), 'a group id is 16 hex digits');
  const promised = Object.keys(founders)
    .filter((nodeId) => nodeId !== identity.nodeId)
    .sort();
  writeWhole(disk, `${directory}/identity`, encode(identity, { groupId, wasMember: true, founders, promised }));
}

function refuseHalfRestored(disk: Disk, directory: string): void {
  if (!disk.exists(`${directory}/${RESTORING_FILE}`)) return;
  throw new TLedgerError(
    'DATA_CORRUPTED',
    `${directory} holds half of a backup: the restore was interrupted, and has to be run again`,
  );
}

function encode({ cluster, group, nodeId, segmentSizeBytes }: Identity, belonging: Belonging): Buffer {
  const fields = { formatVersion: FORMAT_VERSION, cluster, group, nodeId, segmentSizeBytes, ...belonging };
  const json = JSON.stringify(fields);
  return Buffer.from(`${checksum(json)} ${json}\n`);
}

function decode(path: string, bytes: Buffer): Record<string, unknown> {
  const line = bytes.toString();
  const json = line.slice(9, -1);
  if (line.slice(0, 9) !== `${checksum(json)} ` || line.at(-1) !== '\n') {
    throw new TLedgerError('DATA_CORRUPTED', `${path} does not match its checksum`);
  }
  return JSON.parse(json) as Record<string, unknown>;
}

function checksum(json: string): string {
  return crc32(Buffer.from(json)).toString(16).padStart(8, '0');
}

function readWhole(disk: Disk, path: string): Buffer {
  const file = disk.open(path);
  try {
    const bytes = Buffer.alloc(Math.min(file.sizeBytes(), IDENTITY_BYTES_MAX));
    file.read(bytes, 0);
    return bytes;
  } finally {
    file.close();
  }
}

/** Writes beside and renames, so that the file is there as a whole or not at all, old or new. */
function writeWhole(disk: Disk, path: string, bytes: Buffer): void {
  const draft = `${path}.new`;
  disk.remove(draft);
  const file = disk.open(draft, { create: true });
  try {
    file.write(bytes, 0);
    file.flushNow();
  } finally {
    file.close();
  }
  disk.rename(draft, path);
}
