// One gRPC port: limits, wide windows, health and reflection on it; stops by letting calls finish, within a bound.
import {
  logVerbosity,
  Server,
  ServerCredentials,
  type ServerOptions,
  setLogVerbosity,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { newHealth, setServing } from '../wire/health.ts';
import { leanUnary, type UnaryHandler } from '../wire/lean_unary.ts';
import { packageDefinition } from '../wire/proto.ts';
import { bindWithWideWindows } from '../wire/server_windows.ts';
import type { Method } from '../wire/services.ts';
import { OpenCalls } from './calls.ts';

// grpc-js writes unstructured lines to stderr; what matters of them comes back as errors. Its own variable still rules.
if (process.env.GRPC_VERBOSITY === undefined) setLogVerbosity(logVerbosity.NONE);

/** Connections of one port; one more is closed at once. */
export const CONNECTIONS_MAX = 4_096;
/** How long sessions may take to say goodbye once their calls are over. */
const GOODBYE_MS = 250;

/** Where a client on this machine finds the port by its IPv4 address. */
const IPV4_LOCAL = /^(127\.0\.0\.1|0\.0\.0\.0):/;

/** A service and what serves it. */
export interface ServedService {
  // biome-ignore lint/suspicious/noExplicitAny: services of any kind; each pair is typed where it is made.
  readonly definition: Readonly<Record<string, Method<any, any, any>>>;
  readonly handlers: UntypedServiceImplementation;
}

/** What a port is made of. */
export interface PortOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /**
   * Whether to listen on [::1], too, when `listen` is 127.0.0.1 or 0.0.0.0: that is where some clients find `localhost`. Only
   * as far as the machine can.
   */
  readonly alsoLoopback?: boolean;
  /** Limits of connections and messages (wire/channel_options.ts). */
  readonly limits: ServerOptions;
  readonly services: readonly ServedService[];
  /** Calls that must be ended before the port can close; see `CallContext`. */
  readonly calls?: OpenCalls;
  /** Full names of the services that reflection shows; no reflection and no health service without. */
  readonly reflect?: readonly string[];
  /** Something works less well than it should. */
  readonly warn: (message: string) => void;
}

/** A listening port. */
export class Port {
  /** The address bound, with the real port. */
  readonly address: string;
  readonly #server: Server;
  readonly #calls: OpenCalls;
  readonly #setServing: (serving: boolean) => void;
  #stopping: Promise<void> | undefined;

  private constructor(address: string, server: Server, calls: OpenCalls, serve: (serving: boolean) => void) {
    this.address = address;
    this.#server = server;
    this.#calls = calls;
    this.#setServing = serve;
  }

  /** @throws TLedgerError PORT_IN_USE naming the address; INVALID_CONFIG when it cannot be bound at all. */
  static async start(options: PortOptions): Promise<Port> {
    const lean = leanUnary(new Map(options.services.flatMap(unaryHandlersOf)));
    const server = new Server({ ...options.limits, interceptors: [...(options.limits.interceptors ?? []), lean] });
    for (const { definition, handlers } of options.services) server.addService(definition, handlers);
    const health = newHealth();
    if (options.reflect !== undefined) {
      health.addToServer(server);
      reflectionOf(options.reflect).addToServer(server);
    }
    const port = await bind(server, options);
    if (options.alsoLoopback === true && IPV4_LOCAL.test(options.listen))
      await bindLoopback(server, port, options.warn);
    capConnections(server, options.warn);
    const address = `${options.listen.slice(0, options.listen.lastIndexOf(':'))}:${port}`;
    return new Port(address, server, options.calls ?? new OpenCalls(), (serving) => setServing(health, serving));
  }

  /** What health checks are told. */
  setServing(serving: boolean): void {
    this.#setServing(serving);
  }

  /**
   * Refuses new calls, ends the long ones, lets the others finish, closes. Never takes longer than `timeoutMs` and a
   * moment; what is left then is cut.
   */
  stop(timeoutMs: number): Promise<void> {
    this.#stopping ??= this.#stop(timeoutMs);
    return this.#stopping;
  }

  async #stop(timeoutMs: number): Promise<void> {
    this.#setServing(false);
    await within(this.#calls.close(), timeoutMs);
    await within(new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve())), GOODBYE_MS);
    this.#server.forceShutdown();
  }
}

function unaryHandlersOf({ definition, handlers }: ServedService): [string, UnaryHandler][] {
  return Object.entries(definition).flatMap(([name, { path, requestStream, responseStream }]) => {
    const handle = handlers[name] as UnaryHandler | undefined;
    return requestStream || responseStream || handle === undefined ? [] : [[path, handle] as [string, UnaryHandler]];
  });
}

/** Made once: it takes a while, and tests start many ports. */
const reflections = new Map<string, ReflectionService>();

function reflectionOf(services: readonly string[]): ReflectionService {
  const name = services.join();
  const known = reflections.get(name) ?? new ReflectionService(packageDefinition, { services: [...services] });
  reflections.set(name, known);
  return known;
}

async function bind(server: Server, options: PortOptions): Promise<number> {
  try {
    return await bindWithWideWindows(server, options.listen, ServerCredentials.createInsecure(), options.warn);
  } catch (error) {
    server.forceShutdown();
    const text = messageOf(error);
    if (/EADDRINUSE/.test(text)) {
      throw new TLedgerError('PORT_IN_USE', `${options.listen} is taken by another process`, error);
    }
    throw new TLedgerError('INVALID_CONFIG', `cannot listen on ${options.listen}: ${text}`, error);
  }
}

/** A machine without IPv6 has no clients that would look there; a port that is taken there is somebody else's. */
async function bindLoopback(server: Server, port: number, warn: (message: string) => void): Promise<void> {
  try {
    await bindWithWideWindows(server, `[::1]:${port}`, ServerCredentials.createInsecure(), warn);
  } catch (error) {
    if (/EADDRINUSE/.test(messageOf(error)))
      warn(`[::1]:${port} is taken: clients that mean it by localhost go elsewhere`);
  }
}

/** grpc-js has no option for it, so this reaches for the servers it keeps, as wire/server_windows.ts does. */
function capConnections(server: Server, warn: (message: string) => void): void {
  const servers = (server as unknown as { http2Servers?: Map<{ maxConnections?: number }, unknown> }).http2Servers;
  if (!(servers instanceof Map) || servers.size === 0) {
    warn('grpc-js keeps its HTTP/2 servers elsewhere: connections are not counted');
    return;
  }
  for (const http2Server of servers.keys()) http2Server.maxConnections = CONNECTIONS_MAX;
}

async function within(task: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([task, bound]);
  clearTimeout(timer);
}
