// apache.rocketmq.v2.MessagingService on one node: its parts put together. README.md draws them.
import type { Status } from '../../wire/rocketmq/definitions.ts';
import { MESSAGING_SERVICE, type MessagingHandlers } from '../../wire/rocketmq/service.ts';
import type { SyncLiteSubscriptionRequest } from '../../wire/rocketmq/service_messages.ts';
import type { CallContext } from '../calls.ts';
import type { Gateway } from '../gateway.ts';
import { type Asked, answering, failureStatus } from './answering.ts';
import { clientEntry } from './client_entry.ts';
import { Clients } from './clients.ts';
import type { Edge } from './edge.ts';
import { endTransaction } from './end_transaction.ts';
import { GroupSettings } from './group_settings.ts';
import { LeaderAsks } from './leader_asks.ts';
import { syncLiteSubscription } from './lite.ts';
import { ExclusiveLite } from './lite_exclusive.ts';
import { LiteSubscriptions } from './lite_subscriptions.ts';
import { getOffset, queryOffset, updateOffset } from './offsets.ts';
import { heartbeat, notifyClientTermination } from './presence.ts';
import { pullHandler } from './pull.ts';
import { recallMessage } from './recall.ts';
import { receiveHandler } from './receive.ts';
import { Renewals } from './renewals.ts';
import { Returns } from './returns.ts';
import { queryAssignment, queryRoute } from './routes.ts';
import { Sender } from './send.ts';
import { acknowledge, changeInvisibleDuration, forwardToDeadLetters } from './settle.ts';
import { telemetryHandler } from './telemetry.ts';
import { TransactionChecks } from './transaction_checks.ts';

/** The service of one node. */
export interface MessagingService {
  readonly handlers: MessagingHandlers;
  readonly clients: Clients;
  /** Stops what it does by itself; resolves when what it gave back is given back, or cannot be. */
  close(): Promise<void>;
}

/** Puts the service together. @param context shared with the other services of the port. */
export function newMessagingService(gateway: Gateway, context: CallContext): MessagingService {
  const { clock } = context;
  const clients = new Clients(clock);
  const asks = new LeaderAsks(gateway, context);
  const renewals = new Renewals(
    asks,
    clock,
    (clientId) => clients.get(clientId) !== undefined,
    (error) => void failureStatus(context, 'renewal', error),
  );
  const returns = new Returns(asks, clock);
  const settings = new GroupSettings({ groups: () => gateway.broker.tables.groups, clients, clock });
  const lite = new LiteSubscriptions();
  const edge: Edge = { gateway, context, clock, asks, clients, settings, renewals, returns, lite };
  const exclusive = new ExclusiveLite(edge);
  clients.onGone((clientId) => {
    renewals.giveUp(clientId);
    exclusive.release(clientId, lite.forget(clientId));
  });
  gateway.clients.known(() => clients.list().map((client) => clientEntry(client, clock)));
  const checks = new TransactionChecks(edge);
  return {
    handlers: handlersOf(edge, exclusive),
    clients,
    close: async () => {
      checks.close();
      exclusive.close();
      settings.close();
      renewals.close();
      clients.close();
      await returns.settled();
    },
  };
}

function handlersOf(edge: Edge, exclusive: ExclusiveLite): MessagingHandlers {
  const { context, clients } = edge;
  const sender = new Sender(edge);
  const onlyStatus = (status: Status) => ({ status });
  const call = <Request, Response>(
    name: string,
    handle: (edge: Edge, request: Request, asked: Asked) => Response | Promise<Response>,
    refused: (status: Status, request: Request | null) => Response,
  ) =>
    answering<Request, Response>(
      context,
      `${MESSAGING_SERVICE}/${name}`,
      (request, asked) => {
        clients.touch(asked.caller);
        return handle(edge, request, asked);
      },
      refused,
    );
  return {
    queryRoute: call('QueryRoute', queryRoute, (status) => ({ status, messageQueues: [] })),
    queryAssignment: call('QueryAssignment', queryAssignment, (status) => ({ status, assignments: [] })),
    heartbeat: call('Heartbeat', heartbeat, onlyStatus),
    notifyClientTermination: call('NotifyClientTermination', notifyClientTermination, onlyStatus),
    telemetry: telemetryHandler(edge),
    sendMessage: call(
      'SendMessage',
      (_, request, asked) => sender.send(request, asked),
      (status, request) => sender.refused(status, request),
    ),
    recallMessage: call('RecallMessage', recallMessage, (status) => ({ status, messageId: '' })),
    endTransaction: call('EndTransaction', endTransaction, onlyStatus),
    receiveMessage: receiveHandler(edge),
    ackMessage: call('AckMessage', acknowledge, (status) => ({ status, entries: [] })),
    changeInvisibleDuration: call('ChangeInvisibleDuration', changeInvisibleDuration, (status, request) => ({
      status,
      receiptHandle: request?.receiptHandle ?? '',
    })),
    forwardMessageToDeadLetterQueue: call('ForwardMessageToDeadLetterQueue', forwardToDeadLetters, onlyStatus),
    pullMessage: pullHandler(edge),
    updateOffset: call('UpdateOffset', updateOffset, onlyStatus),
    getOffset: call('GetOffset', getOffset, (status) => ({ status, offset: '0' })),
    queryOffset: call('QueryOffset', queryOffset, (status) => ({ status, offset: '0' })),
    syncLiteSubscription: call(
      'SyncLiteSubscription',
      (_, request: SyncLiteSubscriptionRequest, asked) => syncLiteSubscription(edge, exclusive, request, asked),
      onlyStatus,
    ),
  };
}
