import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { type ErrorCode, errorTable, TLedgerError } from '../../src/base/errors.ts';
import { answeredCode, errorOf, statusOf } from '../../src/wire/status.ts';

function onTheClient(failure: { code: number; details: string; metadata: Metadata }): ServiceError {
  return Object.assign(new Error(`${failure.code}: ${failure.details}`), failure) as ServiceError;
}

describe('wire: errors and gRPC statuses', () => {
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    it(`carries ${code} there and back`, () => {
      const failure = statusOf(new TLedgerError(code, 'topic "a b": what was wrong'));
      expect(failure.code).to.equal(errorTable[code].grpcStatus);
      const back = errorOf(onTheClient(failure));
      expect(back.code).to.equal(code);
      expect(back.message).to.equal('topic "a b": what was wrong');
      expect(answeredCode(onTheClient(failure))).to.equal(code);
    });
  }

  it('tells clients nothing of unexpected failures but that they were', () => {
    const failure = statusOf(new Error('secret path /x/y'));
    expect(failure.code).to.equal(status.INTERNAL);
    expect(failure.details).to.equal(errorTable.INTERNAL.meaning);
  });

  const fromTheWay: readonly (readonly [status, string, ErrorCode])[] = [
    [status.UNAVAILABLE, 'No connection established', 'UNREACHABLE'],
    [status.DEADLINE_EXCEEDED, 'Deadline exceeded', 'DEADLINE_EXCEEDED'],
    [status.RESOURCE_EXHAUSTED, 'Received message larger than max (9 vs. 8)', 'BATCH_TOO_LARGE'],
    [status.RESOURCE_EXHAUSTED, 'Bandwidth exhausted or memory limit exceeded', 'OVERLOADED'],
    [status.CANCELLED, 'Call cancelled', 'UNREACHABLE'],
    [status.UNKNOWN, 'Unknown Error', 'INTERNAL'],
    [status.UNIMPLEMENTED, 'The server does not implement the method', 'INVALID_ARGUMENT'],
    [status.INTERNAL, 'Received RST_STREAM with code 2', 'INTERNAL'],
  ];
  for (const [code, details, expected] of fromTheWay) {
    it(`calls ${status[code]} (${details}) from the way ${expected}`, () => {
      const error = onTheClient({ code, details, metadata: new Metadata() });
      expect(errorOf(error).code).to.equal(expected);
      expect(answeredCode(error), 'nobody answered').to.equal(undefined);
    });
  }

  it('does not believe a code that is not in the table', () => {
    const metadata = new Metadata();
    metadata.set('tledger-code', 'toString');
    const error = onTheClient({ code: status.UNAVAILABLE, details: 'x', metadata });
    expect(answeredCode(error)).to.equal(undefined);
    expect(errorOf(error).code).to.equal('UNREACHABLE');
  });
});
