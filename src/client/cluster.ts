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

/** How one call behaves. */
export interface CallOptions {
  /** Milliseconds for the call, retries included. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for one node. */
  readonly attemptTimeoutMs?: number | undefined;
  /** False for a call that must not happen twice: a lost answer is then OUTCOME_UNKNOWN. Default true. */
  readonly isRepeatable?: boolean;
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
   * @throws TLedgerError what the node refused it with; NO_LEADER, UNREACHABLE … when that lasted until the deadline.
   */
  async call<Out, In, Response>(
    method: Method<Out, In, Response>,
    request: Out,
    options: CallOptions = {},
  ): Promise<Response> {
    const untilMs = Date.now() + (options.timeoutMs ?? this.#timeoutMs);
    const attemptTimeoutMs = options.attemptTimeoutMs ?? this.#attemptTimeoutMs;
    const backoff = new Backoff();
    let last: TLedgerError | undefined;
    for (;;) {
      const endpoint = await this.pick(untilMs, options.signal).catch((error) => {
        throw last ?? error;
      });
      const attemptMs = options.isRepeatable === false ? untilMs : Math.min(untilMs, Date.now() + attemptTimeoutMs);
      try {
        const response = await unary(endpoint, method, request, attemptMs);
        endpoint.trust();
        return response;
      } catch (error) {
        last = this.#judge(error, options.isRepeatable !== false);
        endpoint.avoid();
      }
      const delayMs = backoff.next();
      if (options.signal?.aborted || Date.now() + delayMs >= untilMs) throw last;
      await sleep(delayMs, options.signal);
    }
  }

  /** Closes all connections; calls under way fail. */
  close(): void {
    this.#isClosed = true;
    for (const endpoint of this.#endpoints.values()) endpoint.close();
  }

  /** The error, if the call may be tried again. @throws it otherwise. */
  #judge(error: unknown, isRepeatable: boolean): TLedgerError {
    const known = errorOf(error);
    const answered = answeredCode(error);
    if (answered !== undefined) {
      if (isNotNow(answered) && !this.#isClosed) return known;
      throw known;
    }
    if (!isRepeatable) throw new TLedgerError('OUTCOME_UNKNOWN', `the answer was lost: ${known.message}`, error);
    const isFinal =
      known.code === 'INVALID_ARGUMENT' || known.code === 'BATCH_TOO_LARGE' || known.code === 'NOT_A_MEMBER';
    if (isFinal || this.#isClosed) throw known;
    return known;
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
