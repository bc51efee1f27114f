// The group as the client sees it: its endpoints, which of them to use, and unary calls that move on when one fails.
import type { ServiceError } from '@grpc/grpc-js';
import { type ErrorCode, TLedgerError } from '../base/errors.ts';
import type { Leader } from '../wire/ledger_messages.ts';
import type { Method } from '../wire/services.ts';
import { answeredCode, errorOf } from '../wire/status.ts';
import { Backoff, sleep } from './backoff.ts';
import { Endpoint } from './endpoint.ts';
import { ATTEMPT_TIMEOUT_MS, CALL_TIMEOUT_MS, type ClientOptions, checkEndpoints, isEndpoint } from './options.ts';

/** Endpoints that are known only because a leader was named; the oldest is given up beyond this. */
const LEARNED_ENDPOINTS_MAX = 16;

/** Refusals that say: not now, and nothing happened. */
const notNow: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'NOT_LEADER',
  'NO_LEADER',
  'TRANSFERRING',
  'OVERLOADED',
  'SHUTTING_DOWN',
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

/** How one call behaves. */
export interface CallOptions {
  /** Milliseconds for the call, retries included. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for one node. */
  readonly attemptTimeoutMs?: number | undefined;
  /** Default none. With effects, a failure after any lost answer is OUTCOME_UNKNOWN. */
  readonly effects?: CallEffects;
  readonly signal?: AbortSignal | undefined;
}

/** One group and the connections to its nodes. Shared by all producers, consumers and admin calls of a client. */
export class Cluster {
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #given: readonly string[];
  readonly #timeoutMs: number;
  readonly #attemptTimeoutMs: number;
  #leader: Leader | undefined;
  #current: Endpoint | undefined;
  #isClosed = false;

  /** @throws TLedgerError INVALID_ARGUMENT for endpoints that are not host:port. */
  constructor(options: ClientOptions) {
    this.#given = checkEndpoints(options.endpoints);
    this.#timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
    this.#attemptTimeoutMs = options.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS;
    for (const address of this.#given) this.#endpoints.set(address, new Endpoint(address));
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

  /** Remembers who leads and connects to it; older terms are ignored. */
  noteLeader(leader: Leader | null): void {
    if (leader === null || this.#isClosed) return;
    if (this.#leader !== undefined && BigInt(leader.term) < BigInt(this.#leader.term)) return;
    const isNew = leader.clientAddress !== this.#leader?.clientAddress;
    this.#leader = leader;
    if (!isNew || !isEndpoint(leader.clientAddress)) return;
    if (!this.#endpoints.has(leader.clientAddress)) this.#learn(leader.clientAddress);
    this.#endpoints.get(leader.clientAddress)?.isReady();
  }

  /** The leader's endpoint, when it is known, connected and not to be avoided. */
  leaderEndpoint(): Endpoint | undefined {
    const endpoint = this.#leader === undefined ? undefined : this.#endpoints.get(this.#leader.clientAddress);
    if (endpoint === undefined || endpoint.avoidUntilMs > Date.now() || !endpoint.isReady()) return undefined;
    return endpoint;
  }

  /**
   * A connected endpoint: the leader's if possible, then the one used last, then any.
   * @throws TLedgerError UNREACHABLE when there is none until `untilMs` (Date.now).
   */
  async pick(untilMs: number, signal?: AbortSignal): Promise<Endpoint> {
    const candidates = this.#inOrder();
    const ready = candidates.filter((endpoint) => endpoint.isReady());
    const picked = ready[0] ?? (await this.#firstReady(candidates, untilMs, signal));
    if (picked === undefined) {
      throw new TLedgerError('UNREACHABLE', `none of ${this.#given.join(', ')} can be reached`);
    }
    this.#current = picked;
    return picked;
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
    const effects = options.effects ?? 'none';
    const backoff = new Backoff();
    let last: TLedgerError | undefined;
    let mayHaveHappened = false;
    for (;;) {
      const endpoint = await this.pick(untilMs, options.signal).catch((error) => {
        throw last === undefined ? error : finalFailure(last, mayHaveHappened);
      });
      const attemptMs = effects === 'once' ? untilMs : Math.min(untilMs, Date.now() + attemptTimeoutMs);
      try {
        const response = await unary(endpoint, method, request, attemptMs);
        endpoint.trust();
        return response;
      } catch (error) {
        last = errorOf(error);
        const answered = answeredCode(error);
        if (effects !== 'none' && !hadNoEffect(last, answered)) mayHaveHappened = true;
        const isOver = this.#isClosed || (effects === 'once' && mayHaveHappened);
        if (isOver || !isPassing(last, answered)) throw finalFailure(last, mayHaveHappened);
        endpoint.avoid();
      }
      const delayMs = backoff.next();
      if (options.signal?.aborted || Date.now() + delayMs >= untilMs) throw finalFailure(last, mayHaveHappened);
      await sleep(delayMs, options.signal);
    }
  }

  /** Closes all connections; calls under way fail. */
  close(): void {
    this.#isClosed = true;
    for (const endpoint of this.#endpoints.values()) endpoint.close();
  }

  #inOrder(): Endpoint[] {
    const now = Date.now();
    const leaderAddress = this.#leader?.clientAddress;
    const rank = (endpoint: Endpoint): number => {
      if (endpoint.avoidUntilMs > now) return 3;
      if (endpoint.address === leaderAddress) return 0;
      return endpoint === this.#current ? 1 : 2;
    };
    return [...this.#endpoints.values()].sort((a, b) => rank(a) - rank(b) || a.avoidUntilMs - b.avoidUntilMs);
  }

  #firstReady(candidates: readonly Endpoint[], untilMs: number, signal?: AbortSignal): Promise<Endpoint | undefined> {
    return new Promise((resolve) => {
      const cancels: (() => void)[] = [];
      const settle = (endpoint: Endpoint | undefined) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
        for (const cancel of cancels) cancel();
        resolve(endpoint);
      };
      const giveUp = () => settle(undefined);
      const timer = setTimeout(giveUp, Math.max(0, untilMs - Date.now()));
      signal?.addEventListener('abort', giveUp);
      for (const endpoint of candidates) cancels.push(endpoint.onReady(() => settle(endpoint)));
    });
  }

  #learn(address: string): void {
    const learned = [...this.#endpoints.keys()].filter((known) => !this.#given.includes(known));
    const oldest = learned[0];
    if (oldest !== undefined && learned.length >= LEARNED_ENDPOINTS_MAX) {
      this.#endpoints.get(oldest)?.close();
      this.#endpoints.delete(oldest);
    }
    this.#endpoints.set(address, new Endpoint(address));
  }
}

/** Failures on the way that say as much as a refusal: the request is not for this service, or for nobody. */
const refusedOnTheWay: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'INVALID_ARGUMENT',
  'BATCH_TOO_LARGE',
  'NOT_A_MEMBER',
]);

/** Whether one try certainly changed nothing. @param answered the code in the node's answer, if it gave one. */
function hadNoEffect(error: TLedgerError, answered: ErrorCode | undefined): boolean {
  return answered === undefined ? refusedOnTheWay.has(error.code) : answered !== 'OUTCOME_UNKNOWN';
}

/** Whether the same request may fare better later or elsewhere. */
function isPassing(error: TLedgerError, answered: ErrorCode | undefined): boolean {
  if (answered === undefined) return !refusedOnTheWay.has(error.code);
  return isNotNow(answered) || answered === 'OUTCOME_UNKNOWN';
}

/** What the caller is told: "nothing happened" only if that holds for every try, not just for the last one. */
function finalFailure(last: TLedgerError, mayHaveHappened: boolean): TLedgerError {
  if (!mayHaveHappened || last.code === 'OUTCOME_UNKNOWN') return last;
  const isDefinite = !last.retryable && !refusedOnTheWay.has(last.code) && last.code !== 'INTERNAL';
  if (isDefinite) return last;
  return new TLedgerError('OUTCOME_UNKNOWN', `the outcome is unknown, as an answer was lost: ${last.message}`, last);
}

function unary<Out, In, Response>(
  endpoint: Endpoint,
  method: Method<Out, In, Response>,
  request: Out,
  deadlineMs: number,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, response?: Response) => {
      if (error !== null || response === undefined) reject(error ?? new TLedgerError('INTERNAL', 'no response'));
      else resolve(response);
    };
    const { path, requestSerialize, responseDeserialize } = method;
    endpoint.client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      { deadline: deadlineMs },
      done,
    );
  });
}
