// Changing who belongs to the group, from a program: what can be asked for, and how far such a change is. A change goes
// on by itself once it has begun; whoever asked may watch, or leave.
import { TLedgerError } from '../base/errors.ts';
import type {
  ChangeMembershipRequest,
  ClusterStatusResponse,
  GroupMember,
  Membership,
  NodeStatus,
} from '../wire/admin_messages.ts';
import { sleep } from './backoff.ts';
import { shortly } from './shortly.ts';

/** Where a member is reached, `host:port` each. */
export interface MemberAddresses {
  readonly client: string;
  readonly peer: string;
}

/**
 * A change of members. `add` takes a node in that was started to join: it gets the log and becomes a voter once it has
 * caught up (unless `learnerOnly`), in the place of `replaces` if that is given. `cancel` takes back what is under way.
 */
export type MembershipWish =
  | {
      readonly kind: 'add';
      readonly nodeId: string;
      readonly addresses: MemberAddresses;
      readonly learnerOnly?: boolean | undefined;
      readonly replaces?: string | undefined;
    }
  | { readonly kind: 'promote' | 'remove'; readonly nodeId: string }
  | { readonly kind: 'readdress'; readonly nodeId: string; readonly addresses: MemberAddresses }
  | { readonly kind: 'cancel' };

/** How far a change is; `text` is a sentence for people. */
export type ChangeProgress =
  | { readonly kind: 'waiting'; readonly text: string }
  | { readonly kind: 'done'; readonly text: string }
  /** Somebody took it back. */
  | { readonly kind: 'undone'; readonly text: string };

/** How to have the members changed. */
export interface ChangeMembersOptions {
  /**
   * Milliseconds until the change must have begun; and, if it is given, until it must be done. Default: the client's
   * `timeoutMs` to begin, and no limit to end.
   */
  readonly timeoutMs?: number | undefined;
  /** Do it although the group would be left without a majority that answers. */
  readonly force?: boolean | undefined;
  /** Resolve when the change has begun instead of when it is done. */
  readonly wait?: boolean | undefined;
  /** Told what is waited for, whenever that changes; and every 10 s, with the time waited, while it does not. */
  readonly onProgress?: ((text: string) => void) | undefined;
  /** Ends the wait, not the change. */
  readonly signal?: AbortSignal | undefined;
}

/** A change that has begun, or is done. */
export interface MembersChanged {
  /** Index of the record that began it; undefined when the answer was lost. */
  readonly index: number | undefined;
  readonly isDone: boolean;
  readonly text: string;
}

const NOTHING_YET = 'the change leaves no trace yet';
const POLL_INTERVAL_MS = 250;
/** How often a wait says that it goes on, while there is nothing new. */
const REPEAT_INTERVAL_MS = 10_000;
/** How long a change whose answer was lost may leave no trace until nobody waits for it any more. */
const TRACE_TIMEOUT_MS = 5_000;

/**
 * Waits until the change that `index` began is done.
 * @param lost what became of the question, when nobody knows whether the change began.
 * @param ask tells the state of the group; failures of it are waited out.
 * @throws TLedgerError MEMBERSHIP_CANCELLED when it was taken back; OUTCOME_UNKNOWN when it is not done in time (it goes
 * on by itself) or leaves no trace.
 */
export async function follow(
  wish: MembershipWish,
  index: number | undefined,
  lost: TLedgerError | undefined,
  ask: () => Promise<ClusterStatusResponse>,
  options: ChangeMembersOptions,
): Promise<MembersChanged> {
  const { timeoutMs, onProgress, signal } = options;
  const sinceMs = performance.now();
  const untilMs = sinceMs + (timeoutMs ?? Number.POSITIVE_INFINITY);
  const traceUntilMs = lost === undefined ? Number.POSITIVE_INFINITY : sinceMs + TRACE_TIMEOUT_MS;
  const report = new WaitReport(sinceMs);
  for (;;) {
    const progress = await look(wish, index, ask);
    const { kind, text } = progress;
    if (kind === 'done') return { index, isDone: true, text };
    if (kind === 'undone') throw new TLedgerError('MEMBERSHIP_CANCELLED', `the change was taken back: ${text}`);
    const nowMs = performance.now();
    const news = report.next(text, nowMs);
    if (news !== null) onProgress?.(news);
    if (lost !== undefined && text === NOTHING_YET && nowMs >= traceUntilMs) throw lost;
    if (signal?.aborted === true) return { index, isDone: false, text };
    if (nowMs >= untilMs) {
      throw new TLedgerError('OUTCOME_UNKNOWN', `the change is not done after ${timeoutMs} ms and goes on: ${text}`);
    }
    await sleep(Math.min(POLL_INTERVAL_MS, untilMs - nowMs), signal);
  }
}

/** What is to be said of a wait, and when. */
export class WaitReport {
  readonly #sinceMs: number;
  #said = '';
  #saidMs: number;

  /** @param sinceMs when the wait began. */
  constructor(sinceMs: number) {
    this.#sinceMs = sinceMs;
    this.#saidMs = sinceMs;
  }

  /** What to say now that `text` is waited for; null when there is nothing new, and not much time has gone by. */
  next(text: string, nowMs: number): string | null {
    const isNew = text !== this.#said;
    if (!isNew && nowMs - this.#saidMs < REPEAT_INTERVAL_MS) return null;
    this.#said = text;
    this.#saidMs = nowMs;
    return isNew ? text : `${text} (waiting for ${Math.round((nowMs - this.#sinceMs) / 1_000)} s)`;
  }
}

async function look(
  wish: MembershipWish,
  index: number | undefined,
  ask: () => Promise<ClusterStatusResponse>,
): Promise<ChangeProgress> {
  try {
    return progressOf(wish, index, await ask());
  } catch (error) {
    if (error instanceof TLedgerError && error.retryable) return waiting(error.message);
    throw error;
  }
}

/** The request that asks for it. @param force do it although no majority would be left that answers. */
export function toChangeRequest(wish: MembershipWish, force: boolean): ChangeMembershipRequest {
  const none = { nodeId: '', clientAddress: '', peerAddress: '', learnerOnly: false, replaces: '', force };
  switch (wish.kind) {
    case 'add': {
      const { nodeId, addresses, learnerOnly, replaces } = wish;
      const request = { ...none, nodeId, clientAddress: addresses.client, peerAddress: addresses.peer };
      return { ...request, kind: 'ADD', learnerOnly: learnerOnly ?? false, replaces: replaces ?? '' };
    }
    case 'readdress': {
      const { nodeId, addresses } = wish;
      return { ...none, kind: 'READDRESS', nodeId, clientAddress: addresses.client, peerAddress: addresses.peer };
    }
    case 'promote':
      return { ...none, kind: 'PROMOTE', nodeId: wish.nodeId };
    case 'remove':
      return { ...none, kind: 'REMOVE', nodeId: wish.nodeId };
    case 'cancel':
      return { ...none, kind: 'CANCEL' };
  }
}

/**
 * How far the change that `index` began is, as far as the node knows that told `status`.
 * @param index undefined when nobody knows whether the change began.
 * @throws TLedgerError INTERNAL when the node says nothing about members.
 */
export function progressOf(
  wish: MembershipWish,
  index: number | undefined,
  status: ClusterStatusResponse,
): ChangeProgress {
  const { membership } = status;
  if (membership === null) throw new TLedgerError('INTERNAL', 'the node does not say who belongs to the group');
  if (index !== undefined && Number(membership.index) < index) {
    return waiting('the node that answers has not heard of the change yet');
  }
  const isKnown = index !== undefined;
  switch (wish.kind) {
    case 'add':
      return wish.learnerOnly === true
        ? ofLearner(wish.nodeId, membership, isKnown)
        : ofVoter(wish.nodeId, status, isKnown);
    case 'promote':
      return ofVoter(wish.nodeId, status, isKnown);
    case 'remove':
      return ofRemoval(wish.nodeId, membership, isKnown);
    case 'readdress':
      return ofAddresses(wish.nodeId, wish.addresses, membership, isKnown);
    case 'cancel':
      return ofCancelling(membership);
  }
}

/** Records that a member's log is behind the longest one known; null when the member was not reached. */
export function lagOf(node: NodeStatus, nodes: readonly NodeStatus[]): number | null {
  if (!node.reachable) return null;
  const longest = Math.max(...nodes.filter((one) => one.reachable).map((one) => Number(one.lastIndex)));
  return longest - Number(node.lastIndex);
}

function ofVoter(nodeId: string, status: ClusterStatusResponse, isKnown: boolean): ChangeProgress {
  const membership = status.membership!;
  const member = memberOf(nodeId, membership);
  if (member === undefined) return isKnown ? undone(`${nodeId} does not belong to the group`) : waiting(NOTHING_YET);
  if (member.role === 'learner') {
    if (!member.promote && isKnown) return undone(`${nodeId} stays a learner`);
    return waiting(`${nodeId} is a learner${howFar(nodeId, status)}`);
  }
  if (member.role === 'leaving') return undone(`${nodeId} is leaving`);
  return settled(membership, `${nodeId} is a voter`);
}

function howFar(nodeId: string, { nodes, membership }: ClusterStatusResponse): string {
  const node = nodes.find((one) => one.nodeId === nodeId);
  if (node === undefined) return '';
  if (!node.reachable) {
    const at = memberOf(nodeId, membership!)?.peerAddress ?? node.peerAddress;
    return `, but does not answer at ${at}: ${shortly(node.error)}`;
  }
  const lag = lagOf(node, nodes)!;
  const snapshot = node.replication === 'snapshot' ? ', and gets a snapshot' : '';
  if (lag === 0) return ' and has caught up';
  return `, ${withCommas(lag)} ${lag === 1 ? 'record' : 'records'} behind${snapshot}`;
}

function ofLearner(nodeId: string, membership: Membership, isKnown: boolean): ChangeProgress {
  const member = memberOf(nodeId, membership);
  if (member === undefined) return isKnown ? undone(`${nodeId} does not belong to the group`) : waiting(NOTHING_YET);
  return settled(membership, `${nodeId} is a ${member.role}`);
}

function ofRemoval(nodeId: string, membership: Membership, isKnown: boolean): ChangeProgress {
  const member = memberOf(nodeId, membership);
  if (member === undefined) return settled(membership, `${nodeId} does not belong to the group any more`);
  if (member.role === 'leaving') {
    return waiting(`${nodeId} is leaving: a majority of the old members and one of the new ones must agree`);
  }
  return isKnown ? undone(`${nodeId} still is a ${member.role}`) : waiting(NOTHING_YET);
}

function ofAddresses(
  nodeId: string,
  addresses: MemberAddresses,
  membership: Membership,
  isKnown: boolean,
): ChangeProgress {
  const member = memberOf(nodeId, membership);
  if (member?.clientAddress === addresses.client && member.peerAddress === addresses.peer) {
    return settled(membership, `${nodeId} is at ${addresses.peer}, for clients at ${addresses.client}`);
  }
  return isKnown ? undone(`${nodeId} has other addresses`) : waiting(NOTHING_YET);
}

function ofCancelling(membership: Membership): ChangeProgress {
  const learner = membership.members.find(({ role, promote }) => role === 'learner' && promote);
  if (learner !== undefined) return waiting(`${learner.nodeId} is still to become a voter`);
  return settled(membership, `the members are ${membership.members.map(({ nodeId }) => nodeId).join(', ')}`);
}

/** Done, unless the group still changes over, or may take it back. */
function settled(membership: Membership, text: string): ChangeProgress {
  if (membership.changingOver) return waiting(`${text}; the group is changing over`);
  if (!membership.committed) return waiting(`${text}, once a majority agrees`);
  return { kind: 'done', text };
}

function memberOf(nodeId: string, { members }: Membership): GroupMember | undefined {
  return members.find((member) => member.nodeId === nodeId);
}

function waiting(text: string): ChangeProgress {
  return { kind: 'waiting', text };
}

function undone(text: string): ChangeProgress {
  return { kind: 'undone', text };
}

function withCommas(value: number): string {
  return value.toLocaleString('en-US');
}
