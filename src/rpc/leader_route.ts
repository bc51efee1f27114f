// The way to whoever leads: this replica, another node by forwarding, or, for as long as a failover takes, a place to
// wait in order.
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { NodeId } from '../raft/types.ts';
import type { Replica } from '../replica/replica.ts';
import { Forwarder, type ForwardingLink } from './forwarder.ts';
import type { Done, Hurry, LeaderCall } from './leader_calls.ts';
import { Parking } from './parking.ts';

/** What a route leads over. */
export interface LeaderRouteOptions {
  readonly replica: Replica;
  /** The link to a member, if there is one. */
  readonly linkTo: (nodeId: NodeId) => ForwardingLink | undefined;
  readonly clock: Clock;
}

/**
 * How long after a leader was lost calls wait for the next one, as a failover takes less. Past it they are refused at
 * once: whoever is told so knows that nothing was done, which nobody knows of a call that is still waiting.
 */
const PARK_MS_MAX = 1_000;
const PARK_RETRY_MS = 20;

interface Way {
  readonly link: ForwardingLink;
  readonly forwarder: Forwarder;
}

/** Calls to the leader, from one node of one group. */
export class LeaderRoute {
  readonly #options: LeaderRouteOptions;
  readonly #forwarders = new Map<NodeId, Way>();
  readonly #parking = new Parking();
  /** Since when calls find nowhere to go; null while they do. */
  #stuckSinceMs: number | null = null;
  #isTimerSet = false;
  #isClosed = false;

  constructor(options: LeaderRouteOptions) {
    this.#options = options;
    options.replica.onChange(() => this.#onLeaderChange());
  }

  /**
   * Has a call done by the leader. Calls of one kind of caller arrive there in the order in which they are made here.
   * @param signal nobody waits any more once it is aborted: a call that waits there is answered at once.
   */
  call<Request, Result>(
    kind: LeaderCall<Request, Result>,
    request: Request,
    sizeBytes: number,
    deadlineMs: number,
    answered: Done<Result>,
    signal?: AbortSignal,
  ): void {
    const { done, hurriedBy } = hurriable(answered, signal);
    if (this.#isClosed) return done(new TLedgerError('SHUTTING_DOWN'), null);
    const terms = { deadlineMs, done, hurriedBy };
    if (this.#parking.length === 0 && this.#deliver(kind, request, terms)) return;
    const go = (): boolean => this.#deliver(kind, request, terms);
    const nowMs = this.#options.clock.monotonicMs();
    this.#stuckSinceMs ??= nowMs;
    const untilMs = Math.min(deadlineMs, this.#stuckSinceMs + PARK_MS_MAX);
    if (untilMs <= nowMs) return done(new TLedgerError('NO_LEADER'), null);
    this.#parking.park({ sizeBytes, deadlineMs: untilMs, go, refuse: (error) => done(error, null) });
    this.#armTimer();
  }

  close(): void {
    this.#isClosed = true;
    this.#parking.refuseAll(new TLedgerError('SHUTTING_DOWN'));
    for (const { forwarder } of this.#forwarders.values()) forwarder.close();
  }

  /** @returns false when there is nowhere to deliver to at the moment. */
  #deliver<Request, Result>(
    kind: LeaderCall<Request, Result>,
    request: Request,
    { deadlineMs, done, hurriedBy }: { deadlineMs: number; done: Done<Result>; hurriedBy: (hurry: Hurry) => void },
  ): boolean {
    const { replica, clock } = this.#options;
    if (replica.isLeader) {
      this.#stuckSinceMs = null;
      kind.run(replica, request, deadlineMs, done, hurriedBy);
      return true;
    }
    const forwarder = this.#forwarderTo(replica.leaderId);
    if (forwarder === null) return false;
    this.#stuckSinceMs = null;
    const bytes = kind.encodeRequest(request);
    const timeoutMs = Math.max(1, Math.floor(deadlineMs - clock.monotonicMs()));
    const hurry = forwarder.submit({ kind: kind.kind, request: bytes, timeoutMs }, deadlineMs, (error, response) => {
      if (response === null) done(error, null);
      else done(null, kind.decodeResult(response));
    });
    hurriedBy(hurry);
    return true;
  }

  #forwarderTo(leaderId: NodeId | null): Forwarder | null {
    const link = leaderId === null ? undefined : this.#options.linkTo(leaderId);
    if (leaderId === null || link === undefined || !link.isUp) return null;
    const known = this.#forwarders.get(leaderId);
    if (known?.link === link) return known.forwarder;
    // The member has another address now, or was away for so long that its link is a new one.
    known?.forwarder.close();
    const forwarder = new Forwarder(link, this.#options.clock);
    this.#forwarders.set(leaderId, { link, forwarder });
    return forwarder;
  }

  /** Whoever does not lead any more will answer late or never: what was sent there is given back as unknown now. */
  #onLeaderChange(): void {
    const { leaderId } = this.#options.replica;
    if (leaderId === null) return;
    this.#stuckSinceMs = null;
    for (const [nodeId, { forwarder }] of this.#forwarders) {
      if (nodeId === leaderId) continue;
      this.#forwarders.delete(nodeId);
      forwarder.close();
    }
    this.#parking.release();
  }

  #armTimer(): void {
    if (this.#isTimerSet || this.#isClosed) return;
    this.#isTimerSet = true;
    this.#options.clock.after(PARK_RETRY_MS, () => {
      this.#isTimerSet = false;
      this.#parking.expire(this.#options.clock.monotonicMs());
      this.#parking.release();
      if (this.#parking.length > 0) this.#armTimer();
    });
  }
}

const nobodyHurries = (): void => {};

/** Hurries a call once `signal` is aborted; holds on to nothing when it is answered. */
function hurriable<Result>(done: Done<Result>, signal: AbortSignal | undefined) {
  if (signal === undefined) return { done, hurriedBy: nobodyHurries };
  let isOver = false;
  let onAbort: Hurry | undefined;
  const forget = (): void => {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  };
  return {
    done: ((error, result) => {
      isOver = true;
      forget();
      done(error, result);
    }) satisfies Done<Result> as Done<Result>,
    hurriedBy: (hurry: Hurry): void => {
      if (isOver) return;
      if (signal.aborted) return hurry();
      forget();
      onAbort = hurry;
      signal.addEventListener('abort', hurry, { once: true });
    },
  };
}
