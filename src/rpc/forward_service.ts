// The leader's end of the forwarding stream: calls that clients made on other members. They are done here or refused,
// never forwarded again, and answered several at a time.
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Replica } from '../replica/replica.ts';
import type { AppendResult } from '../replica/types.ts';
import { decodeAppendRequest } from '../wire/append_codec.ts';
import type { ForwardCall, ForwardRequest, ForwardResponse, ForwardResult } from '../wire/peer_messages.ts';
import { codecs, type Incoming, wellFormed } from '../wire/services.ts';
import { statusOf } from '../wire/status.ts';

const EMPTY = Buffer.alloc(0);

/** Serves `Peer.Forward`. */
export class ForwardService {
  readonly #replica: Replica;
  readonly #clock: Clock;

  constructor(replica: Replica, clock: Clock) {
    this.#replica = replica;
    this.#clock = clock;
  }

  serve(stream: ServerDuplexStream<Incoming<ForwardRequest>, ForwardResponse>): void {
    const answer = this.#answers(stream);
    stream.on('data', (incoming: Incoming<ForwardRequest>) => {
      try {
        for (const call of wellFormed(incoming).calls) this.#take(call, answer);
      } catch (error) {
        stream.emit('error', statusOf(error));
      }
    });
    stream.on('end', () => stream.end());
    stream.on('error', () => {});
  }

  /** Gathers the results of one turn into one message. */
  #answers(stream: ServerDuplexStream<Incoming<ForwardRequest>, ForwardResponse>): (result: ForwardResult) => void {
    let results: ForwardResult[] = [];
    return (result) => {
      if (results.length === 0) {
        this.#clock.defer(() => {
          const gathered = results;
          results = [];
          if (!stream.cancelled) stream.write({ results: gathered });
        });
      }
      results.push(result);
    };
  }

  #take(call: ForwardCall, answer: (result: ForwardResult) => void): void {
    const deadlineMs = this.#clock.monotonicMs() + call.timeoutMs;
    const succeed = (response: Buffer, readIndex = 0): void =>
      answer({ id: call.id, response, readIndex: String(readIndex), errorCode: '', errorMessage: '' });
    const fail = (error: unknown): void => {
      const { code, message } = error instanceof TLedgerError ? error : new TLedgerError('INTERNAL');
      answer({ id: call.id, response: EMPTY, readIndex: '0', errorCode: code, errorMessage: message });
    };
    try {
      this.#run(call, deadlineMs, succeed, fail);
    } catch (error) {
      fail(error);
    }
  }

  #run(
    call: ForwardCall,
    deadlineMs: number,
    succeed: (response: Buffer, readIndex?: number) => void,
    fail: (error: unknown) => void,
  ): void {
    if (call.append !== undefined && call.call === 'append') {
      const { topic, queue, producerId, sequence, records } = decodeAppendRequest(call.append);
      // The bytes belong to the frame that brought them; the leader writes into its own copy.
      const request = { topic, queueId: queue, producerId, sequence, records };
      this.#replica.append(request, deadlineMs, (error, result) => {
        if (result === null) fail(error);
        else succeed(codecs.appendResponse.encode(appendResponseOf(result)));
      });
    } else if (call.createTopic !== undefined && call.call === 'createTopic') {
      const { topic, queues } = codecs.createTopicRequest.decode(call.createTopic);
      this.#replica
        .createTopic(topic, queues, deadlineMs)
        .then(({ created }) => succeed(codecs.createTopicResponse.encode({ topic: null, created })))
        .catch(fail);
    } else if (call.transferLeadership !== undefined && call.call === 'transferLeadership') {
      const { target } = codecs.transferLeadershipRequest.decode(call.transferLeadership);
      this.#replica.transferLeadership(target === '' ? null : target, deadlineMs).then(() => succeed(EMPTY), fail);
    } else if (call.call === 'readIndex') {
      this.#replica.readIndex().then((index) => succeed(EMPTY, index), fail);
    } else {
      fail(new TLedgerError('INVALID_ARGUMENT', 'a forwarded call of no known kind'));
    }
  }
}

function appendResponseOf(result: AppendResult) {
  return {
    queueOffset: String(result.queueOffset),
    count: result.count,
    lastIndex: String(result.lastIndex),
    repeated: result.repeated,
    leader: null,
    flush: '',
  };
}
