// The group as the client sees it: its endpoints, which of them to use, and unary calls that move on when one fails.
import { setMaxListeners } from 'node:events';
import { type ErrorCode, TLedgerError } from '../base/errors.ts';
import type { Leader } from '../wire/ledger_messages.ts';
import { adminService, ledgerService, type Method } from '../wire/services.ts';
import { answeredCode, errorOf } from '../wire/status.ts';
import { Backoff, sleep } from './backoff.ts';
import { whyUnreachable } from './causes.ts';
import { type Endpoint, firstReady, type MemberList } from './endpoint.ts';
import { askIdentity, type Introduction, isSameGroup } from './identity.ts';
import { ATTEMPT_TIMEOUT_MS, CALL_TIMEOUT_MS, type ClientOptions, checkEndpoints } from './options.ts';
import { type MemberClaim, Roster } from './roster.ts';
import { shortly } from './shortly.ts';
import { unary } from './unary.ts';

/** How often whoever waits is told why. */
const WAITING_INTERVAL_MS = 1_000;
/** How often a node is asked who the members are, while the client is in use. */
const MEMBERS_INTERVAL_MS = 5_000;
/** How long others may take to say who leads; asked again soon enough. */
const ASK_OTHERS_TIMEOUT_MS = 500;

/** Refusals that say: not now, and nothing happened. */
const notNow: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'NOT_LEADER',
  'NO_LEADER',
  'TRANSFERRING',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'MEMBERSHIP_CHANGING',
  'NODE_REMOVED',
  'REPAIRING',
  'UNREACHABLE',
  'DEADLINE_EXCEEDED',
]);

/** Whether a node's refusal means that the same request may be sent again, as it had no effect. */
export function isNotNow(code: ErrorCode): boolean {
  return notNow.has(code);
}

/**
 * What a call does in the group. `none`: it only asks. `repeatable`: doing it twice is the same as doing it once, so it
 * is asked again after a lost answer. `once`: it must not happen twice, so a lost answer ends it.
 */
export type CallEffects = 'none' | 'repeatable' | 'once';

/** Methods that only ask. A call of any other is taken to have effects unless it says how they are to be treated. */
const questions: ReadonlySet<string> = new Set(
  [
    ledgerService.pull,
    ledgerService.metadata,
    adminService.clusterStatus,
    adminService.verifyLog,
    adminService.listClients,
  ].map(({ path }) => path),
);

/**
 * With less time left no attempt is begun that could make a certain refusal uncertain: cut short by the deadline it would
 * leave nobody the wiser about its effects.
 */
const ATTEMPT_MS_MIN = 100;

/** How one call behaves. */
export interface CallOptions {
  /** Milliseconds for the call, retries included. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for one node. */
  readonly attemptTimeoutMs?: number | undefined;
  /**
   * Default none for methods that only ask, once for all others. With effects, a failure after any lost answer is
   * OUTCOME_UNKNOWN.
   */
  readonly effects?: CallEffects;
  readonly signal?: AbortSignal | undefined;
}

/** One group and the connections to its nodes. Shared by all producers, consumers and admin calls of a client. */
export class Cluster {
  readonly #given: readonly string[];
  readonly #timeoutMs: number;
  readonly #attemptTimeoutMs: number;
  #leader: Leader | undefined;
  #current: Endpoint | undefined;
  #foreign: TLedgerError | undefined;
  readonly #closing = new AbortController();
  readonly #roster: Roster;
  readonly #onWaiting: ((causes: readonly string[]) => void) | undefined;
  #memberTimer: NodeJS.Timeout | undefined;

  /** @throws TLedgerError INVALID_ARGUMENT for endpoints that are not host:port. */
  constructor(options: ClientOptions) {
    this.#given = checkEndpoints(options.endpoints);
    this.#timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
    this.#attemptTimeoutMs = options.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS;
    this.#onWaiting = options.onWaiting;
    // Every call and producer under way listens.
    setMaxListeners(0, this.closing);
    this.#roster = new Roster(this.#given, this.closing, options.ownConnections === true);
  }

  /** Whom a node last named as leader. */
  get leader(): Leader | undefined {
    return this.#leader;
  }

  /** Default of a call, retries included. */
  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** Default of one try at one node. */
  get attemptTimeoutMs(): number {
    return this.#attemptTimeoutMs;
  }

  /** Aborted when the connections are closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /**
   * Remembers who leads and connects to it; older terms are ignored. An address that the user did not give is used only
   * after the node behind it has said that it is that leader, of this group.
   */
  noteLeader(leader: Leader | null): void {
    if (leader === null || this.isClosed) return;
    if (this.#leader !== undefined && BigInt(leader.term) < BigInt(this.#leader.term)) return;
    const isNews = this.#leader?.term !== leader.term;
    this.#leader = leader;
    const known = this.#roster.at(leader.clientAddress);
    if (known === undefined) this.#roster.learn(leader);
    else if (known.isReady() && isNews) void this.#refreshMembers();
  }

  /** Remembers who the members are: new ones are used, too, and learned addresses of removed ones are not any more. */
  noteMembers(list: MemberList | null): void {
    if (list !== null) this.#roster.noteMembers(list);
  }

  /** The leader's endpoint, when it is known, connected and not to be avoided. */
  leaderEndpoint(): Endpoint | undefined {
    const endpoint = this.#leader === undefined ? undefined : this.#roster.at(this.#leader.clientAddress);
    if (endpoint === undefined || endpoint.avoidUntilMs > Date.now() || !endpoint.isReady()) return undefined;
    return endpoint;
  }

  /**
   * The endpoint of a member that a node named, when it is connected, known to be that member, and not to be avoided.
   * Otherwise it is looked for, for the next time.
   */
  memberEndpoint(member: MemberClaim): Endpoint | undefined {
    const endpoint = this.#roster.at(member.clientAddress);
    if (endpoint === undefined) this.#roster.learn(member);
    if (endpoint === undefined || endpoint.avoidUntilMs > Date.now() || !endpoint.isReady()) return undefined;
    if (endpoint.identity === undefined)
      void this.#identify(endpoint, Date.now() + this.#attemptTimeoutMs).catch(() => {});
    return endpoint.identity?.nodeId === member.nodeId ? endpoint : undefined;
  }

  /** Asks all connected nodes beside one that is silent who leads; `noteLeader` hears of what they say. */
  async askOthers(silent: Endpoint, topic: string): Promise<void> {
    const deadlineMs = Date.now() + ASK_OTHERS_TIMEOUT_MS;
    const others = this.#roster.endpoints.filter((endpoint) => endpoint !== silent && endpoint.isReady());
    const ask = async (endpoint: Endpoint): Promise<void> => {
      if (endpoint.identity === undefined && !(await this.#identify(endpoint, deadlineMs))) return;
      const call = { deadlineMs, signals: [this.closing] };
      const { leader } = await unary(endpoint, ledgerService.metadata, { topics: [topic] }, call);
      this.noteLeader(leader);
    };
    await Promise.allSettled(others.map(ask));
  }

  /**
   * A connected endpoint: the leader's if possible, then the one used last, then any.
   * @throws TLedgerError UNREACHABLE when there is none until `untilMs` (Date.now); WRONG_CLUSTER when the endpoints given
   * belong to different groups; SHUTTING_DOWN when the client is closed.
   */
  async pick(untilMs: number, signal?: AbortSignal): Promise<Endpoint> {
    const backoff = new Backoff();
    for (;;) {
      if (this.isClosed) throw new TLedgerError('SHUTTING_DOWN', 'the client is closed');
      if (this.#foreign !== undefined) throw this.#foreign;
      const candidates = this.#inOrder();
      const ready = candidates.find((endpoint) => endpoint.isReady());
      const waitUntilMs = Math.min(untilMs, Date.now() + WAITING_INTERVAL_MS);
      const picked = ready ?? (await firstReady(candidates, waitUntilMs, [signal, this.closing]));
      if (this.isClosed) continue;
      if (picked === undefined) {
        const causes = await whyUnreachable(candidates, this.closing);
        if (!signal?.aborted && Date.now() < untilMs) {
          this.#onWaiting?.(causes);
          continue;
        }
        const why = causes.length === 0 ? '' : ` (${causes.join('; ')})`;
        throw new TLedgerError('UNREACHABLE', `none of ${this.#given.join(', ')} can be reached${why}`);
      }
      const isNew = picked.identity === undefined;
      if (!isNew || (await this.#identify(picked, untilMs, signal))) {
        // Whoever turns out not to be a member is asked only when nobody else can be.
        if (isNew && this.#roster.isOutside(picked)) continue;
        this.#current = picked;
        return picked;
      }
      picked.avoid();
      await sleep(Math.min(backoff.next(), untilMs - Date.now()), signal);
      if (signal?.aborted || Date.now() >= untilMs) {
        throw new TLedgerError('UNREACHABLE', `${picked.address} does not answer`);
      }
    }
  }

  /**
   * Asks one node, and others when it fails, until one answers or the time is up.
   * @throws TLedgerError what the node refused it with; NO_LEADER, UNREACHABLE … when that lasted until the deadline;
   * OUTCOME_UNKNOWN for a call with effects when an earlier try may have had them.
   */
  async call<Out, In, Response>(
    method: Method<Out, In, Response>,
    request: Out,
    options: CallOptions = {},
  ): Promise<Response> {
    const untilMs = Date.now() + (options.timeoutMs ?? this.#timeoutMs);
    const attemptTimeoutMs = options.attemptTimeoutMs ?? this.#attemptTimeoutMs;
    const effects = options.effects ?? (questions.has(method.path) ? 'none' : 'once');
    const backoff = new Backoff();
    let last: TLedgerError | undefined;
    let mayHaveHappened = false;
    let tellAtMs = Date.now() + WAITING_INTERVAL_MS;
    for (;;) {
      const endpoint = await this.pick(untilMs, options.signal).catch((error: TLedgerError) => {
        const why = last === undefined || !error.retryable ? error : last;
        throw mayHaveHappened ? unknownOutcome(why) : why;
      });
      const attemptMs = effects === 'once' ? untilMs : Math.min(untilMs, Date.now() + attemptTimeoutMs);
      try {
        const signals = [options.signal, this.closing];
        const response = await unary(endpoint, method, request, { deadlineMs: attemptMs, signals });
        endpoint.trust();
        return response;
      } catch (error) {
        const failure = errorOf(error);
        const answered = answeredCode(error);
        // What a node refused it with tells more than that the last one had no time left to answer.
        const isLate = effects === 'none' && answered === undefined && failure.code === 'DEADLINE_EXCEEDED';
        last = isLate && last !== undefined ? last : failure;
        if (effects !== 'none' && !hadNoEffect(last, answered)) mayHaveHappened = true;
        const isOver = this.isClosed || (effects === 'once' && mayHaveHappened);
        if (this.isClosed && answered === undefined)
          last = new TLedgerError('SHUTTING_DOWN', 'the client is closed', last);
        if (isOver || !isPassing(last, answered)) throw finalFailure(last, mayHaveHappened);
        endpoint.avoid();
        if (Date.now() >= tellAtMs) {
          this.#onWaiting?.([`${endpoint.address}: ${shortly(last.message)}`]);
          tellAtMs = Date.now() + WAITING_INTERVAL_MS;
        }
      }
      const delayMs = backoff.next();
      const isCertain = effects !== 'none' && !mayHaveHappened;
      const lastMs = isCertain ? untilMs - ATTEMPT_MS_MIN : untilMs;
      if (options.signal?.aborted || Date.now() + delayMs >= lastMs) throw finalFailure(last, mayHaveHappened);
      await sleep(delayMs, options.signal);
    }
  }

  /** Closes all connections; calls under way fail. */
  close(): void {
    this.#closing.abort();
    clearInterval(this.#memberTimer);
    this.#roster.close();
  }

  #inOrder(): Endpoint[] {
    const now = Date.now();
    const leaderAddress = this.#leader?.clientAddress;
    const rank = (endpoint: Endpoint): number => {
      if (this.#roster.isOutside(endpoint)) return 4;
      if (endpoint.avoidUntilMs > now) return 3;
      if (endpoint.address === leaderAddress) return 0;
      return endpoint === this.#current ? 1 : 2;
    };
    return this.#roster.endpoints.sort((a, b) => rank(a) - rank(b) || a.avoidUntilMs - b.avoidUntilMs);
  }

  /**
   * Asks a node who it is, before its first use.
   * @returns whether it answered. @throws TLedgerError WRONG_CLUSTER when it keeps another log than those before it: which
   * of them is meant, only the user knows, so the client is of no use then.
   */
  async #identify(endpoint: Endpoint, untilMs: number, signal?: AbortSignal): Promise<boolean> {
    const deadlineMs = Math.min(untilMs, Date.now() + this.#attemptTimeoutMs);
    let found: Introduction;
    try {
      found = await askIdentity(endpoint, deadlineMs, [signal, this.closing]);
    } catch {
      return false;
    }
    const { identity } = found;
    this.#roster.noteGroup(identity);
    const group = this.#roster.group ?? identity;
    if (!isSameGroup(identity, group)) {
      const one = `${endpoint.address} belongs to cluster "${identity.cluster}", group "${identity.group}"`;
      const other = `${group.nodeId} to cluster "${group.cluster}", group "${group.group}"`;
      this.#foreign = new TLedgerError('WRONG_CLUSTER', `${one}; ${other}`);
      throw this.#foreign;
    }
    endpoint.identity = identity;
    this.noteMembers(found.members);
    this.#memberTimer ??= setInterval(() => void this.#refreshMembers(), MEMBERS_INTERVAL_MS).unref();
    return true;
  }

  /** Members come and go while one stream stays open for days. */
  async #refreshMembers(): Promise<void> {
    const known = this.#roster.endpoints.filter((endpoint) => endpoint.identity !== undefined && endpoint.isReady());
    const endpoint = this.leaderEndpoint() ?? known.find((one) => one === this.#current) ?? known[0];
    if (endpoint?.identity === undefined) return;
    try {
      const { members } = await askIdentity(endpoint, Date.now() + this.#attemptTimeoutMs, [this.closing]);
      this.noteMembers(members);
    } catch {
      // Asked again soon enough.
    }
  }
}

/** Failures on the way that say as much as a refusal: the request is not for this service, or for nobody. */
const refusedOnTheWay: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'INVALID_ARGUMENT',
  'BATCH_TOO_LARGE',
  'NOT_A_MEMBER',
]);

/** Answers that say nothing about the request: the node itself failed, perhaps after it had done what it was asked. */
const saysNothing: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'OUTCOME_UNKNOWN',
  'INTERNAL',
  'STORAGE_FAILED',
  'DATA_CORRUPTED',
]);

/** Whether one try certainly changed nothing. @param answered the code in the node's answer, if it gave one. */
function hadNoEffect(error: TLedgerError, answered: ErrorCode | undefined): boolean {
  return answered === undefined ? refusedOnTheWay.has(error.code) : !saysNothing.has(answered);
}

/** Whether the same request may fare better later or elsewhere. */
function isPassing(error: TLedgerError, answered: ErrorCode | undefined): boolean {
  if (answered === undefined) return !refusedOnTheWay.has(error.code);
  return isNotNow(answered) || answered === 'OUTCOME_UNKNOWN';
}

/** What the caller is told: "nothing happened" only if that holds for every try, not just for the last one. */
function finalFailure(last: TLedgerError, mayHaveHappened: boolean): TLedgerError {
  if (!mayHaveHappened) return last;
  const isDefinite = !last.retryable && !refusedOnTheWay.has(last.code) && !saysNothing.has(last.code);
  if (isDefinite) return last;
  return unknownOutcome(last);
}

function unknownOutcome(last: TLedgerError): TLedgerError {
  if (last.code === 'OUTCOME_UNKNOWN') return last;
  return new TLedgerError('OUTCOME_UNKNOWN', `the outcome is unknown, as an answer was lost: ${last.message}`, last);
}
