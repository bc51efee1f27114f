// What a user of the client may set. The docstrings are the manual; the defaults stand beside them.
import { TLedgerError } from '../base/errors.ts';
import { messageLimits } from '../format/limits.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** How to reach a group. */
export interface ClientOptions {
  /**
   * `host:port` of the client endpoints of some or all nodes; any one that answers is enough, as it names the others'
   * leader. At least one, at most 64.
   */
  readonly endpoints: readonly string[];
  /** Milliseconds a call may take, retries included, unless it says otherwise. Default 10,000. */
  readonly timeoutMs?: number;
  /**
   * Milliseconds to wait for one node before the same question goes to another one (only for questions without
   * effects). Default 2,000.
   */
  readonly attemptTimeoutMs?: number;
  /** Told, about once a second, why a call still waits: `host:port: why`, for nodes that cannot be reached or refuse. */
  readonly onWaiting?: (causes: readonly string[]) => void;
  /**
   * Connections of this client's own. By default clients of one process that go to the same node share its connection.
   * Default false.
   */
  readonly ownConnections?: boolean;
}

/** How a producer sends. */
export interface ProducerOptions {
  /**
   * Milliseconds from `send` to its outcome. Until then the message is sent again after each failure that allows it.
   * Past it: DEADLINE_EXCEEDED (or what kept it, e.g. NO_LEADER) if it was never sent, OUTCOME_UNKNOWN if it was.
   * Default 30,000.
   */
  readonly sendTimeoutMs?: number;
  /** Bytes of records after which a frame is closed; 4 KiB to 4 MiB. A larger message travels alone. Default 256 KiB. */
  readonly frameBytesMax?: number;
  /** Messages after which a frame is closed; 1 to 4,096. Default 4,096. */
  readonly frameCountMax?: number;
  /**
   * Frames sent and not answered; 1 to 64. A node recognises repeats among at least the last 128 frames of a producer,
   * so more than 64 under way would endanger exactly-once. Default 32.
   */
  readonly windowFramesMax?: number;
  /** Bytes sent and not answered. Default 8 MiB. */
  readonly windowBytesMax?: number;
  /** Bytes accepted and not settled; `send` refuses with OVERLOADED beyond it, see `ready`. Default 32 MiB. */
  readonly bufferBytesMax?: number;
  /** Milliseconds without any answer, while some is due, after which another node is tried. Default 5,000. */
  readonly stallTimeoutMs?: number;
  /**
   * What an acknowledgement means: `sync` that a majority has the message on disk, also in a group whose own policy is
   * async; empty or `async`: what the group does. Default ''.
   */
  readonly flush?: '' | 'sync' | 'async';
}

/** `ProducerOptions` with every default filled in. */
export type ProducerSettings = Required<ProducerOptions>;

/** Where a consumer begins in each queue: the first message kept, the next one to come, or an offset. */
export type StartPosition = 'earliest' | 'latest' | number;

/** What to read and how far. */
export interface ConsumeOptions {
  readonly topic: string;
  /** Queues to read; all of the topic by default. Order holds within a queue, not between queues. */
  readonly queues?: readonly number[];
  /** Default 'earliest'. */
  readonly from?: StartPosition;
  /** Start offsets of single queues, instead of `from`. */
  readonly positions?: ReadonlyMap<number, number>;
  /** Stop once everything that was committed when reading began has been read, instead of waiting for more. */
  readonly untilEnd?: boolean;
  /**
   * Begin with what the first node that answers knows, without asking for a leader: reading works without a majority
   * then, but `untilEnd` may end before messages, 'latest' may begin before messages, and a topic may be called unknown
   * that the node has only not heard of yet. Default false: without a leader reading does not begin (NO_LEADER).
   */
  readonly stale?: boolean | undefined;
  /** Bytes a response may hold; 1 message is always sent. Default 1 MiB. */
  readonly responseBytesMax?: number;
  /** Milliseconds without a node that can go on, after which reading fails. Default 30,000. */
  readonly resumeTimeoutMs?: number;
  /** Ends reading when aborted, quietly. */
  readonly signal?: AbortSignal;
}

/** Default of `ClientOptions.timeoutMs`. */
export const CALL_TIMEOUT_MS = 10_000;
/** Default of `ClientOptions.attemptTimeoutMs`. */
export const ATTEMPT_TIMEOUT_MS = 2_000;
/** Default of `ConsumeOptions.resumeTimeoutMs`. */
export const RESUME_TIMEOUT_MS = 30_000;

const ENDPOINTS_MAX = 64;
const ENDPOINT_PATTERN = /^(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9_.-]+):([0-9]{1,5})$/;

const producerDefaults: ProducerSettings = {
  sendTimeoutMs: 30_000,
  frameBytesMax: 256 * KIB,
  frameCountMax: messageLimits.batchCountMax,
  windowFramesMax: 32,
  windowBytesMax: 8 * MIB,
  bufferBytesMax: 32 * MIB,
  stallTimeoutMs: 5_000,
  flush: '',
};

const producerRanges: Readonly<Record<Exclude<keyof ProducerSettings, 'flush'>, readonly [number, number]>> = {
  sendTimeoutMs: [1, 86_400_000],
  frameBytesMax: [4 * KIB, 4 * MIB],
  frameCountMax: [1, messageLimits.batchCountMax],
  windowFramesMax: [1, 64],
  windowBytesMax: [4 * KIB, 64 * MIB],
  bufferBytesMax: [4 * KIB, 4096 * MIB],
  stallTimeoutMs: [100, 86_400_000],
};

/** Fills in the defaults. @throws TLedgerError INVALID_ARGUMENT naming the option that is out of its range. */
export function producerSettings(options: ProducerOptions): ProducerSettings {
  const settings: Record<string, number | string> = { ...producerDefaults };
  for (const [name, value] of Object.entries(options)) if (value !== undefined) settings[name] = value;
  for (const [name, [min, max]] of Object.entries(producerRanges)) {
    const value = settings[name]!;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw new TLedgerError('INVALID_ARGUMENT', `${name} must be an integer from ${min} to ${max}, not ${value}`);
    }
  }
  if (!['', 'sync', 'async'].includes(String(settings.flush))) {
    throw new TLedgerError('INVALID_ARGUMENT', `flush must be sync, async or empty, not ${settings.flush}`);
  }
  return settings as unknown as ProducerSettings;
}

/** The endpoints, each once. @throws TLedgerError INVALID_ARGUMENT naming the one that is not host:port. */
export function checkEndpoints(endpoints: readonly string[]): string[] {
  const unique = [...new Set(endpoints.map((endpoint) => endpoint.trim()))];
  if (unique.length === 0 || unique.length > ENDPOINTS_MAX) {
    throw new TLedgerError('INVALID_ARGUMENT', `1 to ${ENDPOINTS_MAX} endpoints are needed, not ${unique.length}`);
  }
  for (const endpoint of unique) {
    if (!isEndpoint(endpoint)) {
      throw new TLedgerError(
        'INVALID_ARGUMENT',
        `${JSON.stringify(endpoint)} is not an endpoint: host:port is expected`,
      );
    }
  }
  return unique;
}

/** Whether `text` is host:port. */
export function isEndpoint(text: string): boolean {
  const port = Number(ENDPOINT_PATTERN.exec(text)?.[2]);
  return port >= 1 && port <= 65_535;
}
