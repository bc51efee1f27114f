// Memberships as bytes: the body of a membership record, and the same with its index for headers and tables. A
// membership has one encoding only, so whatever is not exactly that is refused.
//
//   record body   {"v":1,"voters":["a","b"],"outgoing":[],"learners":[{"id":"c","promote":true,"replaces":null}],
//                  "addresses":{"a":{"peer":"h:p","client":"h:p"},…}}        a learner may have "stays":true
//   entry         {"v":1,"index":7,"voters":…}
import { assert } from '../base/assert.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import {
  type Learner,
  type LogIndex,
  logIndex,
  type MemberAddress,
  type Membership,
  type MembershipEntry,
  type NodeId,
} from '../raft/types.ts';
import { indexAt, isRecordWhole, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from './record.ts';

/** Limits of one membership. */
export const membershipLimits = {
  /** Learners included; the same as the limit of consensus. */
  membersMax: 15,
  /** UTF-16 units of a member's name. */
  idCharactersMax: 63,
  /** Characters of one address: a host name of 253, a colon and a port, and some more for IPv6 zones. */
  addressCharactersMax: 300,
  /** Encoded, with its index. */
  bytesMax: 32 * 1024,
} as const;

const MEMBERSHIP_VERSION = 1;
/** Magic and size. */
const FILLER_HEADER_BYTES = 8;
/** Printable ASCII. */
const ADDRESS_PATTERN = /^[\x21-\x7e]+$/;

/** @throws TLedgerError INVALID_ARGUMENT for a name or addresses that no membership record can hold. */
export function checkMember(id: NodeId, { peer, client }: MemberAddress): void {
  if (id.length < 1 || id.length > membershipLimits.idCharactersMax) {
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `a member's name has 1 to ${membershipLimits.idCharactersMax} characters`,
    );
  }
  for (const address of [peer, client]) {
    if (address.length <= membershipLimits.addressCharactersMax && ADDRESS_PATTERN.test(address)) continue;
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `${JSON.stringify(address.slice(0, 40))} is no address of 1 to ${membershipLimits.addressCharactersMax} printable characters`,
    );
  }
}

/** The body of a membership record. The membership is well formed (`checkMembership` of consensus) and within limits. */
export function encodeMembership(membership: Membership): Buffer {
  return encode(membership, {});
}

/** The membership in the body of a record. @throws TLedgerError DATA_CORRUPTED for anything this version does not write. */
export function decodeMembership(body: Buffer): Membership {
  return refuseNonsense(() => {
    const fields = fieldsOf(parse(body), ['v', 'voters', 'outgoing', 'learners', 'addresses']);
    const membership = readMembership(fields);
    assert(encodeMembership(membership).equals(body), 'it is not in its one form');
    return membership;
  });
}

/** A membership with its index, as snapshots and the state's tables hold it. */
export function encodeMembershipEntry({ index, membership }: MembershipEntry): Buffer {
  return encode(membership, { index });
}

/** The reverse; null for no bytes, which stand for none. @throws TLedgerError DATA_CORRUPTED */
export function decodeMembershipEntry(bytes: Buffer): MembershipEntry | null {
  if (bytes.length === 0) return null;
  return refuseNonsense(() => {
    const fields = fieldsOf(parse(bytes), ['v', 'index', 'voters', 'outgoing', 'learners', 'addresses']);
    const index = fields.get('index');
    assert(Number.isSafeInteger(index) && (index as number) >= 0, 'its index is a count');
    const entry = { index: logIndex(index as number), membership: readMembership(fields) };
    assert(encodeMembershipEntry(entry).equals(bytes), 'it is not in its one form');
    return entry;
  });
}

/**
 * The membership records among the whole records in `[start, end)`, ascending; fillers and others are skipped.
 * @throws TLedgerError DATA_CORRUPTED when one cannot be read, or a record is cut off.
 */
export function membershipsIn(buffer: Buffer, start: number, end: number): MembershipEntry[] {
  const found: MembershipEntry[] = [];
  for (let at = start; at < end; ) {
    const isFiller = end - at >= FILLER_HEADER_BYTES && magicAt(buffer, at) === recordMagic.filler;
    if (isFiller ? sizeAt(buffer, at) < FILLER_HEADER_BYTES : !isRecordWhole(buffer, at, end)) {
      throw new TLedgerError(
        'DATA_CORRUPTED',
        `no whole record begins ${end - at} bytes before the end of the records`,
      );
    }
    const next = at + sizeAt(buffer, at);
    if (magicAt(buffer, at) === recordMagic.membership) {
      const membership = decodeMembership(buffer.subarray(at + RECORD_HEADER_BYTES, next));
      found.push({ index: indexAt(buffer, at), membership });
    }
    at = next;
  }
  return found;
}

function encode(membership: Membership, head: { readonly index?: LogIndex }): Buffer {
  checkWellFormed(membership);
  const { voters, outgoing, learners, addresses } = membership;
  const learnerRows = learners.map(({ id, promote, replaces, stays }) => {
    return { id, promote, replaces, ...(stays === true ? { stays } : {}) };
  });
  // Object.fromEntries defines own properties, whatever a member is called.
  const addressRows = Object.fromEntries(
    membersOf(membership).map((id) => [id, { peer: addresses[id]!.peer, client: addresses[id]!.client }]),
  );
  const bytes = Buffer.from(
    JSON.stringify({ v: MEMBERSHIP_VERSION, ...head, voters, outgoing, learners: learnerRows, addresses: addressRows }),
  );
  assert(bytes.length <= membershipLimits.bytesMax, `a membership has at most ${membershipLimits.bytesMax} bytes`);
  return bytes;
}

function readMembership(fields: ReadonlyMap<string, unknown>): Membership {
  const v = fields.get('v');
  assert(v === MEMBERSHIP_VERSION, () => `version ${String(v)} is not understood`);
  const membership = {
    voters: readList(fields.get('voters')).map(readId),
    outgoing: readList(fields.get('outgoing')).map(readId),
    learners: readList(fields.get('learners')).map(readLearner),
    addresses: Object.fromEntries(
      [...fieldsOf(fields.get('addresses'))].map(([id, address]) => [id, readAddress(address)]),
    ),
  };
  checkWellFormed(membership);
  return membership;
}

function readLearner(value: unknown): Learner {
  const stays = fieldsOf(value).has('stays');
  const fields = fieldsOf(value, ['id', 'promote', 'replaces', ...(stays ? ['stays'] : [])]);
  const promote = fields.get('promote');
  assert(!stays || (fields.get('stays') === true && promote === true), 'only who waits for promotion has a way back');
  const replaces = fields.get('replaces');
  assert(typeof promote === 'boolean', 'a learner waits for promotion or not');
  const learner = { id: readId(fields.get('id')), promote, replaces: replaces === null ? null : readId(replaces) };
  return stays ? { ...learner, stays: true } : learner;
}

function readAddress(value: unknown): MemberAddress {
  const fields = fieldsOf(value, ['peer', 'client']);
  const [peer, client] = [fields.get('peer'), fields.get('client')];
  assert(typeof peer === 'string' && typeof client === 'string', 'an address is text');
  return { peer, client };
}

function readId(value: unknown): NodeId {
  assert(typeof value === 'string', 'a member is named by text');
  return value;
}

function readList(value: unknown): readonly unknown[] {
  assert(Array.isArray(value), 'members stand in lists');
  return value;
}

/** An object's own fields. @param names what they must be called, if that is known. */
function fieldsOf(value: unknown, names?: readonly string[]): ReadonlyMap<string, unknown> {
  assert(typeof value === 'object' && value !== null && !Array.isArray(value), 'it is an object');
  const fields = new Map<string, unknown>(Object.entries(value));
  for (const name of names ?? []) assert(fields.has(name), () => `it has a field ${name}`);
  assert(names === undefined || fields.size === names.length, 'it has no other fields');
  return fields;
}

function parse(bytes: Buffer): unknown {
  assert(bytes.length <= membershipLimits.bytesMax, `it has at most ${membershipLimits.bytesMax} bytes`);
  return JSON.parse(bytes.toString());
}

/** Asserts what consensus asserts of a membership in the log, and the limits. */
function checkWellFormed(membership: Membership): void {
  const { voters, outgoing, learners, addresses } = membership;
  const hasVote = (id: NodeId): boolean => voters.includes(id) || outgoing.includes(id);
  const learnerIds = learners.map(({ id }) => id);
  for (const ids of [voters, outgoing, learnerIds]) assert(isSortedSet(ids), 'members are sorted and distinct');
  const members = membersOf(membership);
  assert(voters.length > 0 || members.length === 0, 'a group has at least one voter');
  assert(members.length <= membershipLimits.membersMax, `a group has at most ${membershipLimits.membersMax} members`);
  for (const { id, replaces } of learners) {
    assert(!hasVote(id), 'a learner has no vote');
    assert(replaces === null || hasVote(replaces), 'a learner replaces a voter');
  }
  const named = Object.keys(addresses).sort();
  assert(
    named.length === members.length && named.every((id, at) => id === members[at]),
    'exactly the members have an address',
  );
  for (const id of members) checkMember(id, addresses[id]!);
}

function membersOf({ voters, outgoing, learners }: Membership): NodeId[] {
  return [...new Set([...voters, ...outgoing, ...learners.map(({ id }) => id)])].sort();
}

function isSortedSet(ids: readonly NodeId[]): boolean {
  return ids.every((id, at) => at === 0 || ids[at - 1]! < id);
}

function refuseNonsense<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new TLedgerError('DATA_CORRUPTED', `a membership cannot be read: ${messageOf(error)}`, error);
  }
}
