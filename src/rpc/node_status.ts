// A replica's state as the message that other members and clients get, and back.
import { assert } from '../base/assert.ts';
import { type PhysicalOffset, physicalOffset } from '../format/record.ts';
import { type LogIndex, logIndex, type Term, term } from '../raft/types.ts';
import { type DiskStatus, diskLevels } from '../replica/disk_watch.ts';
import type { ScrubStatus } from '../replica/scrub_status.ts';
import type * as wire from '../wire/admin_messages.ts';
import type { MembershipRole, NodeStatus } from '../wire/admin_messages.ts';
import { uint64ToNumber } from '../wire/int64.ts';
import type { LocalStatus, MemberStatus } from './gateway.ts';

const roles: readonly string[] = [
  'follower',
  'pre-candidate',
  'candidate',
  'leader',
  'repairing',
] satisfies LocalStatus['role'][];

const membershipRoles: readonly MembershipRole[] = ['voter', 'learner', 'leaving', 'joining', 'removed'];

/**
 * The message about a member; an unreachable one has only its name, its addresses and the reason.
 * @param replication how the leader brings it up to date, if this node leads.
 */
export function toNodeStatus({ member, status, error }: MemberStatus, replication = ''): NodeStatus {
  return {
    nodeId: member.nodeId,
    reachable: status !== null,
    error: error ?? status?.repair ?? '',
    role: status?.role ?? '',
    term: String(status?.term ?? 0),
    leaderId: status?.leaderId ?? '',
    firstIndex: String(status?.firstIndex ?? 0),
    lastIndex: String(status?.lastIndex ?? 0),
    flushedIndex: String(status?.flushedIndex ?? 0),
    committedIndex: String(status?.committedIndex ?? 0),
    appliedIndex: String(status?.appliedIndex ?? 0),
    flushedPosition: String(status?.flushedPosition ?? 0),
    endPosition: String(status?.endPosition ?? 0),
    clientAddress: member.clientAddress,
    peerAddress: member.peerAddress,
    uptimeMs: String(status?.uptimeMs ?? 0),
    version: status?.version ?? '',
    pid: status?.pid ?? 0,
    membershipRole: status?.membershipRole ?? '',
    replication,
    scrub: toScrub(status?.scrub ?? null),
    diskLevel: status?.disk?.level ?? '',
    diskUsedPercent: status?.disk?.usedPercent ?? 0,
    diskFreeBytes: String(status?.disk?.freeBytes ?? 0),
  };
}

/** What another member said of itself. @throws TLedgerError INVALID_ARGUMENT when a number is out of range. */
export function fromNodeStatus(message: NodeStatus): LocalStatus {
  assert(roles.includes(message.role), () => `a member's role is one of ${roles.join(', ')}`);
  const index = (value: string, field: string): LogIndex => logIndex(uint64ToNumber(value, field));
  const position = (value: string, field: string): PhysicalOffset => physicalOffset(uint64ToNumber(value, field));
  return {
    nodeId: message.nodeId,
    role: message.role as LocalStatus['role'],
    repair: message.role === 'repairing' ? message.error : null,
    term: term(uint64ToNumber(message.term, 'term')) as Term,
    leaderId: message.leaderId === '' ? null : message.leaderId,
    firstIndex: index(message.firstIndex, 'first_index'),
    lastIndex: index(message.lastIndex, 'last_index'),
    flushedIndex: index(message.flushedIndex, 'flushed_index'),
    committedIndex: index(message.committedIndex, 'committed_index'),
    appliedIndex: index(message.appliedIndex, 'applied_index'),
    flushedPosition: position(message.flushedPosition, 'flushed_position'),
    endPosition: position(message.endPosition, 'end_position'),
    uptimeMs: uint64ToNumber(message.uptimeMs, 'uptime_ms'),
    version: message.version,
    pid: message.pid,
    membershipRole: membershipRoles.find((one) => one === message.membershipRole) ?? 'joining',
    scrub: fromScrub(message.scrub ?? null),
    disk: fromDisk(message),
  };
}

function fromDisk({ diskLevel, diskUsedPercent, diskFreeBytes }: NodeStatus): DiskStatus | null {
  const level = diskLevels.find((one) => one === diskLevel);
  if (level === undefined) return null;
  return {
    level,
    usedPercent: diskUsedPercent ?? 0,
    freeBytes: uint64ToNumber(diskFreeBytes ?? '0', 'disk_free_bytes'),
  };
}

function toScrub(scrub: ScrubStatus | null): wire.ScrubStatus | null {
  if (scrub === null) return null;
  return {
    running: scrub.isRunning,
    pass: String(scrub.pass),
    startedAtMs: String(scrub.startedAtMs),
    bytesPerSecond: String(scrub.bytesPerSecond),
    index: String(scrub.index),
    goal: String(scrub.goal),
    checkedBytes: String(scrub.checkedBytes),
    totalBytes: String(scrub.totalBytes),
    nextAtMs: String(Math.round(scrub.nextAtMs)),
    lastPass: String(scrub.lastPass),
    lastAtMs: String(scrub.lastAtMs),
    lastIndex: String(scrub.lastIndex),
    faults: scrub.faults.map((fault) => ({ ...fault, index: String(fault.index), atMs: String(fault.atMs) })),
    snapshots: scrub.snapshots.map(({ index, dataCrc, sizeBytes }) => ({
      ...{ index: String(index), dataCrc, sizeBytes: String(sizeBytes) },
    })),
  };
}

function fromScrub(scrub: wire.ScrubStatus | null): ScrubStatus | null {
  if (scrub === null) return null;
  const number = (value: string): number => uint64ToNumber(value, 'scrub');
  return {
    isRunning: scrub.running,
    pass: number(scrub.pass),
    startedAtMs: number(scrub.startedAtMs),
    bytesPerSecond: number(scrub.bytesPerSecond),
    index: logIndex(number(scrub.index)),
    goal: logIndex(number(scrub.goal)),
    checkedBytes: number(scrub.checkedBytes),
    totalBytes: number(scrub.totalBytes),
    nextAtMs: number(scrub.nextAtMs),
    lastPass: number(scrub.lastPass),
    lastAtMs: number(scrub.lastAtMs),
    lastIndex: logIndex(number(scrub.lastIndex)),
    faults: scrub.faults.map((one) => ({ ...one, index: logIndex(number(one.index)), atMs: number(one.atMs) })),
    snapshots: scrub.snapshots.map(({ index, dataCrc, sizeBytes }) => ({
      ...{ index: logIndex(number(index)), dataCrc, sizeBytes: number(sizeBytes) },
    })),
  };
}
