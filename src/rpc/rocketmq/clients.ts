// The clients that this node knows: each tells what it is (settings), keeps a stream open on which it can be told things,
// and shows that it lives. Clients stay on the node they reached; another node learns of them when they come there.
import type { Clock, Timer } from '../../base/clock.ts';
import { TLedgerError } from '../../base/errors.ts';
import type { ClientType, Resource, Settings } from '../../wire/rocketmq/definitions.ts';
import type { TelemetryCommand } from '../../wire/rocketmq/service_messages.ts';
import type { Caller } from './caller.ts';
import { type ClientRole, roleOf } from './settings.ts';

/** A client that is silent for so long is gone (ROCKETMQ §4.3). */
export const CLIENT_SILENCE_MS_MAX = 120_000;
/** Clients of one node. */
export const CLIENTS_MAX = 20_000;
const SCAN_MS = 5_000;

/** Tells a client something. */
export interface CommandStream {
  send(command: TelemetryCommand): void;
}

/** A client. */
export interface Client {
  readonly clientId: string;
  readonly type: ClientType;
  /** As it sent them. */
  readonly settings: Settings;
  readonly role: ClientRole;
  readonly caller: Caller;
  /** Wall clock. */
  readonly connectedAtMs: number;
  /** Monotonic. */
  readonly seenAtMs: number;
  readonly streamCount: number;
}

interface Entry extends Client {
  settings: Settings;
  role: ClientRole;
  type: ClientType;
  caller: Caller;
  seenAtMs: number;
  streamCount: number;
  readonly streams: CommandStream[];
}

/** All clients of a node. */
export class Clients {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #goneListeners: ((clientId: string) => void)[] = [];
  #timer: Timer | null = null;
  #turn = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#scanLater();
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Calls `listener` when a client has left, or been silent for too long. */
  onGone(listener: (clientId: string) => void): void {
    this.#goneListeners.push(listener);
  }

  get(clientId: string): Client | undefined {
    return this.#entries.get(clientId);
  }

  /** Sorted by id. */
  list(): Client[] {
    return [...this.#entries.values()].sort((a, b) => (a.clientId < b.clientId ? -1 : 1));
  }

  /** A call of it arrived. */
  touch({ clientId }: Caller): void {
    const entry = this.#entries.get(clientId);
    if (entry !== undefined) entry.seenAtMs = this.#clock.monotonicMs();
  }

  /** @throws TLedgerError UNRECOGNIZED_CLIENT when it has not told what it is. */
  known({ clientId }: Caller): Client {
    const entry = this.#entries.get(clientId);
    if (entry !== undefined) return entry;
    throw new TLedgerError('UNRECOGNIZED_CLIENT', 'cannot find client settings for this client');
  }

  /** It tells what it is. @throws TLedgerError as `roleOf`; OVERLOADED */
  register(caller: Caller, settings: Settings): Client {
    const role = roleOf(settings, caller);
    const { clientId } = caller;
    let entry = this.#entries.get(clientId);
    const seenAtMs = this.#clock.monotonicMs();
    if (entry === undefined) {
      if (this.#entries.size >= CLIENTS_MAX) {
        throw new TLedgerError('OVERLOADED', `${this.#entries.size} clients are connected already`);
      }
      const { type } = role;
      const connectedAtMs = this.#clock.wallMs();
      const isNew = { streams: [], streamCount: 0, connectedAtMs, seenAtMs };
      entry = { clientId, type, settings, role, caller, ...isNew };
      this.#entries.set(clientId, entry);
    }
    Object.assign(entry, { settings, role, type: role.type, caller, seenAtMs });
    return entry;
  }

  /** What it is told on, until the returned function is called. The client must be registered. */
  attach({ clientId }: Caller, stream: CommandStream): () => void {
    const entry = this.#entries.get(clientId);
    if (entry === undefined) return () => {};
    if (!entry.streams.includes(stream)) entry.streams.push(stream);
    entry.streamCount = entry.streams.length;
    return () => {
      const at = entry.streams.indexOf(stream);
      if (at >= 0) entry.streams.splice(at, 1);
      entry.streamCount = entry.streams.length;
    };
  }

  /** It says goodbye. */
  remove(clientId: string): void {
    if (!this.#entries.delete(clientId)) return;
    for (const listener of this.#goneListeners) listener(clientId);
  }

  /** Topics that somebody here publishes to and can be told of. */
  publishedTopics(): string[] {
    const topics = new Set<string>();
    for (const { streams, role } of this.#entries.values()) {
      if (streams.length > 0) for (const topic of role.publishes.keys()) topics.add(topic);
    }
    return [...topics];
  }

  /** Tells any one producer of the topic, in turn. @returns false when there is none. */
  tellProducerOf(topic: string, command: (named: Resource) => TelemetryCommand): boolean {
    const able = [...this.#entries.values()].filter(
      ({ streams, role }) => streams.length > 0 && role.publishes.has(topic),
    );
    const entry = able[this.#turn++ % Math.max(1, able.length)];
    if (entry === undefined) return false;
    entry.streams.at(-1)!.send(command(entry.role.publishes.get(topic)!));
    return true;
  }

  /** Tells one client. @returns false when it cannot be told. */
  tell(clientId: string, command: TelemetryCommand): boolean {
    const stream = this.#entries.get(clientId)?.streams.at(-1);
    stream?.send(command);
    return stream !== undefined;
  }

  #scanLater(): void {
    this.#timer = this.#clock.after(SCAN_MS, () => {
      this.#scanLater();
      const beforeMs = this.#clock.monotonicMs() - CLIENT_SILENCE_MS_MAX;
      for (const { clientId, seenAtMs } of [...this.#entries.values()]) if (seenAtMs < beforeMs) this.remove(clientId);
    });
  }
}
