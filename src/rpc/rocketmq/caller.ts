// Who calls, by the headers that RocketMQ's clients send with each call (ROCKETMQ §1.4).
import type { Metadata } from '@grpc/grpc-js';
import { TLedgerError } from '../../base/errors.ts';

/** One call's sender. */
export interface Caller {
  /** Of one instance of a client; the key of all that is known of it. */
  readonly clientId: string;
  /** Of topics and groups that name none themselves; '' for none. */
  readonly namespace: string;
  readonly language: string;
  readonly version: string;
  /** `address:port` of the connection. */
  readonly peer: string;
  /** What the client believes to have dialled, `host:port`; '' when it does not say. */
  readonly authority: string;
}

/** The part of a call that tells. */
export interface CallHeaders {
  readonly metadata: Metadata;
  getPeer(): string;
  getHost?(): string;
}

/** Characters of a client id: more is no honest client. */
export const CLIENT_ID_CHARACTERS_MAX = 1_024;

/** @throws TLedgerError CLIENT_ID_REQUIRED */
export function callerOf(call: CallHeaders): Caller {
  const header = (name: string): string => String(call.metadata.get(name)[0] ?? '');
  const clientId = header('x-mq-client-id');
  if (clientId.trim() === '') throw new TLedgerError('CLIENT_ID_REQUIRED', 'client id cannot be empty');
  if (clientId.length > CLIENT_ID_CHARACTERS_MAX) {
    throw new TLedgerError(
      'CLIENT_ID_REQUIRED',
      `the client id has ${clientId.length} characters; at most ${CLIENT_ID_CHARACTERS_MAX} are allowed`,
    );
  }
  return {
    clientId,
    namespace: header('x-mq-namespace').trim(),
    language: header('x-mq-language'),
    version: header('x-mq-client-version'),
    peer: call.getPeer(),
    authority: call.getHost?.() ?? '',
  };
}
