// tledger.v1.Ledger: the client-facing service of one group, over its gateway.
import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { TLedgerError } from '../base/errors.ts';
import { checkTopicName } from '../format/limits.ts';
import type { Answer, UnaryCall } from '../wire/lean_unary.ts';
import type {
  AppendRequest,
  AppendResponse,
  AppendStreamResponse,
  FindOffsetRequest,
  MetadataRequest,
  MetadataResponse,
  PullRequest,
  QueryRequest,
} from '../wire/ledger_messages.ts';
import { type Incoming, type LedgerHandlers, wellFormed } from '../wire/services.ts';
import { packedAppendOf } from './append_request.ts';
import { AppendStream, refuseStream } from './append_stream.ts';
import { type CallContext, failureOf, OpenCall, streaming, unary } from './calls.ts';
import { consume, UNSENT_BYTES_MAX } from './consume.ts';
import type { Gateway } from './gateway.ts';
import { Puller, WAITING_PULLS_MAX } from './pull.ts';
import { findOffset, query } from './query.ts';
import { backlogBytesOfMemory, ReadAdvice } from './read_from.ts';
import { toAppendResponse, toLeader, toMetadata } from './replies.ts';

/** Topics that one metadata request may name. */
export const METADATA_TOPICS_MAX = 1_000;

/** What the service is made of. */
export interface LedgerServiceOptions {
  readonly gateway: Gateway;
  readonly context: CallContext;
  /** Pulls that may wait at a time. */
  readonly waitingPullsMax?: number;
  /** Backlog, in bytes of the log, from which a leader sends readers to a follower; 40 % of the memory by default. */
  readonly coldBacklogBytes?: number;
  /** Bytes of old data on their way to one consumer. */
  readonly coldUnsentBytesMax?: number;
}

/** Handlers for `ledgerService`. */
export function ledgerHandlers(options: LedgerServiceOptions): LedgerHandlers {
  const { gateway, context } = options;
  const advice = new ReadAdvice(gateway, options.coldBacklogBytes ?? backlogBytesOfMemory());
  const terms = {
    advice,
    coldUnsentBytesMax: Math.min(options.coldUnsentBytesMax ?? UNSENT_BYTES_MAX, UNSENT_BYTES_MAX),
  };
  const puller = new Puller(gateway, context.clock, advice, options.waitingPullsMax ?? WAITING_PULLS_MAX);
  return {
    append: appendHandler(options),
    appendStream: (call: ServerDuplexStream<Incoming<AppendRequest>, AppendStreamResponse>) => {
      try {
        new AppendStream(context, gateway, call);
      } catch (error) {
        refuseStream(context, call, error, 0);
      }
    },
    pull: unary(context, 'Pull', (request: PullRequest, open) => puller.pull(request, open)),
    consume: streaming(context, 'Consume', (call, open) => consume(gateway, terms, call, open)),
    query: unary(context, 'Query', (request: QueryRequest, open) => query(gateway, request, open)),
    findOffset: unary(context, 'FindOffset', (request: FindOffsetRequest, open) => findOffset(gateway, request, open)),
    metadata: unary(context, 'Metadata', (request: MetadataRequest, open) => metadata(gateway, request, open)),
    watchMetadata: streaming(context, 'WatchMetadata', (call, open) => watchMetadata(gateway, call, open)),
  };
}

/** The hot unary path: callbacks all the way, no promise. */
function appendHandler({ gateway, context }: LedgerServiceOptions) {
  return (call: UnaryCall<Incoming<AppendRequest>>, callback: Answer<AppendResponse>): void => {
    try {
      const open = new OpenCall(context, call);
      const fail = (error: unknown): void => {
        open.close();
        callback(failureOf(context, 'Append', error));
      };
      try {
        const request = packedAppendOf(wellFormed(call.request), context.clock.wallMs());
        gateway.append(request, open.stepDeadlineMs, (error, result) => {
          if (result === null) return fail(error);
          open.close();
          callback(null, toAppendResponse(result, toLeader(gateway.leader())));
        });
      } catch (error) {
        fail(error);
      }
    } catch (error) {
      callback(failureOf(context, 'Append', error));
    }
  };
}

async function metadata(gateway: Gateway, request: MetadataRequest, open: OpenCall): Promise<MetadataResponse> {
  const names = topicNames(request.topics);
  // A topic that was asked for by name and is not here may just not have arrived yet.
  const isLacking = names.some((name) => gateway.broker.topic(name) === undefined);
  if (request.current === true || isLacking) await gateway.readBarrier(open.stepDeadlineMs);
  return toMetadata(gateway, names);
}

/** Distinct and legal. @throws TLedgerError INVALID_ARGUMENT, ILLEGAL_TOPIC */
function topicNames(names: readonly string[]): string[] {
  if (names.length > METADATA_TOPICS_MAX) {
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `${names.length} topics are asked for at once, at most ${METADATA_TOPICS_MAX}`,
    );
  }
  const distinct = [...new Set(names)];
  for (const name of distinct) checkTopicName(name);
  return distinct;
}

/** Sends the current state, then again after changes; several changes while one answer is on its way make one answer. */
async function watchMetadata(
  gateway: Gateway,
  call: ServerWritableStream<Incoming<MetadataRequest>, MetadataResponse>,
  open: OpenCall,
): Promise<void> {
  const topics = topicNames(wellFormed(call.request).topics);
  let changed = true;
  let draining = false;
  let wake: () => void = () => {};
  const ring = (): void => {
    changed = true;
    wake();
  };
  open.whenOver(gateway.onChange(ring));
  const over = new Promise<void>((resolve) => {
    open.whenOver(() => {
      ring();
      resolve();
    });
  });
  open.onDrain(() => {
    draining = true;
    ring();
  });
  while (!open.isOver) {
    if (draining) throw new TLedgerError('SHUTTING_DOWN');
    if (changed) {
      changed = false;
      await Promise.race([written(call, toMetadata(gateway, topics)), over]);
      // Who the members are was said; there will be no more news here.
      const refusal = gateway.outside();
      if (refusal !== null) throw refusal;
    } else {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
}

/** Resolves when the connection has taken `message`. */
function written<T>(call: { write(message: T, done: () => void): unknown }, message: T): Promise<void> {
  return new Promise((resolve) => {
    call.write(message, () => resolve());
  });
}
