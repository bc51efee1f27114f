// The two ports of a node: one for clients (Ledger, Admin, RocketMQ's service, health, reflection), one for the other
// members (Peer).
import { systemClock } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import { clientPortOptions, peerPortOptions } from '../wire/channel_options.ts';
import { ROCKETMQ_REQUEST_BYTES_MAX } from '../wire/limits.ts';
import { allowLargerRequests } from '../wire/receive_limits.ts';
import { MESSAGING_SERVICE, messagingService } from '../wire/rocketmq/service.ts';
import { adminService, ledgerService, type PeerHandlers, peerService } from '../wire/services.ts';
import { adminHandlers } from './admin_service.ts';
import { type CallContext, OpenCalls } from './calls.ts';
import type { Gateway } from './gateway.ts';
import { type LedgerServiceOptions, ledgerHandlers } from './ledger_service.ts';
import { Port } from './port.ts';
import { newMessagingService } from './rocketmq/service.ts';

/** The part of a logger that is used here. */
export interface ServerLog {
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What both ports take. */
export interface ServerOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly address: string;
  readonly logger: ServerLog;
}

/** What the client port takes beside that. */
export interface ClientServerOptions extends ServerOptions, Omit<LedgerServiceOptions, 'gateway' | 'context'> {}

/** A port that serves. */
export interface RunningServer {
  /** With the real port. */
  readonly address: string;
  /** Lets calls finish for at most so long, then cuts them. */
  stop(timeoutMs: number): Promise<void>;
}

/** Serves clients. @throws TLedgerError PORT_IN_USE, INVALID_CONFIG */
export async function startClientServer(gateway: Gateway, options: ClientServerOptions): Promise<RunningServer> {
  const calls = new OpenCalls();
  const context: CallContext = { clock: systemClock, calls, report: reporter(options.logger) };
  const ledger = ledgerHandlers({ ...options, gateway, context });
  const messaging = newMessagingService(gateway, context);
  const warn = (message: string): void => options.logger.warn(message);
  const port = await Port.start({
    listen: options.address,
    // So that a body that is too large is refused with a word of the protocol, as its clients expect.
    limits: {
      ...clientPortOptions,
      interceptors: [allowLargerRequests(messagingService.sendMessage.path, ROCKETMQ_REQUEST_BYTES_MAX, warn)],
    },
    alsoLoopback: true,
    services: [
      { definition: ledgerService, handlers: ledger },
      { definition: adminService, handlers: adminHandlers(gateway, context) },
      { definition: messagingService, handlers: messaging.handlers },
    ],
    calls,
    reflect: ['tledger.v1.Ledger', 'tledger.v1.Admin', MESSAGING_SERVICE],
    warn,
  }).catch(async (error: unknown) => {
    await messaging.close();
    throw error;
  });
  let wasOutside = true;
  const look = (): void => {
    const isOutside = gateway.outside() !== null;
    // Serving means that an append can be expected to succeed: somebody leads.
    port.setServing(gateway.leader() !== null && !isOutside && !calls.isClosing);
    if (isOutside && !wasOutside) calls.drain();
    wasOutside = isOutside;
  };
  look();
  const forget = gateway.onChange(look);
  return {
    address: port.address,
    stop: async (timeoutMs) => {
      forget();
      await port.stop(timeoutMs);
      await messaging.close();
    },
  };
}

/** Serves the other members. @throws TLedgerError PORT_IN_USE, INVALID_CONFIG */
export function startPeerServer(handlers: PeerHandlers, options: ServerOptions): Promise<RunningServer> {
  return Port.start({
    listen: options.address,
    limits: peerPortOptions,
    services: [{ definition: peerService, handlers }],
    warn: (message) => options.logger.warn(message),
  });
}

function reporter(logger: ServerLog): (where: string, error: unknown) => void {
  return (where, error) => {
    const text = error instanceof TLedgerError ? messageOf(error.cause ?? error) : undefined;
    logger.error('a call failed unexpectedly', { call: where, error: text ?? error });
  };
}
