// Requests are bounded in fields before they are decoded.
import { expect } from 'chai';
import { REQUEST_FIELDS_MAX } from '../../src/wire/field_count.ts';
import { messagingService } from '../../src/wire/rocketmq/service.ts';
import { ledgerService, Malformed } from '../../src/wire/services.ts';

/** A length-delimited field. */
function field(number: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head: number[] = [(number << 3) | 2];
  for (let rest = body.length; ; rest >>>= 7) {
    head.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest <= 127) break;
  }
  return Buffer.concat([Buffer.from(head), body]);
}

const times = (count: number, one: Buffer): Buffer => Buffer.alloc(count * one.length, one);
const EMPTY = Buffer.alloc(0);
/** A message in SendMessage, and in Append. */
const MESSAGE = 1;
const SYSTEM_PROPERTIES = 3;
const KEY = 2;
const BODY = 4;

describe('wire: fields of a request', () => {
  const refusal = (method: { requestDeserialize(bytes: Buffer): unknown }, bytes: Buffer): string | undefined => {
    const request = method.requestDeserialize(bytes);
    return request instanceof Malformed ? request.error.message : undefined;
  };
  const send = (bytes: Buffer) => refusal(messagingService.sendMessage, bytes);
  const tooMany = `the request has more than ${REQUEST_FIELDS_MAX} fields`;

  it('may be as many as the limit, and not one more, in whatever depth they stand', () => {
    const keys = (count: number) =>
      field(MESSAGE, field(SYSTEM_PROPERTIES, times(count, field(KEY, Buffer.from('k')))));
    expect(send(keys(REQUEST_FIELDS_MAX - 2))).to.equal(undefined);
    expect(send(keys(REQUEST_FIELDS_MAX - 1))).to.equal(tooMany);
    expect(send(times(REQUEST_FIELDS_MAX + 1, field(MESSAGE)))).to.equal(tooMany);
  });

  it('are not what a body or a text holds', () => {
    const flood = times(2 * REQUEST_FIELDS_MAX, field(MESSAGE));
    expect(send(field(MESSAGE, field(BODY, flood)))).to.equal(undefined);
    expect(send(field(MESSAGE, field(SYSTEM_PROPERTIES, field(KEY, flood))))).to.equal(undefined);
  });

  it('are each byte of a list of numbers', () => {
    const queue = field(2, field(5, Buffer.alloc(2 * REQUEST_FIELDS_MAX, 1)));
    expect(refusal(messagingService.receiveMessage, queue)).to.equal(tooMany);
  });

  it('are bounded in other services, too', () => {
    expect(refusal(ledgerService.append, times(3_000_000, field(5)))).to.equal(tooMany);
  });

  it('that make no sense are the decoder’s', () => {
    const junk = Buffer.alloc(4 * REQUEST_FIELDS_MAX, 0xff);
    expect(send(junk)).to.match(/not well-formed/);
    expect(send(Buffer.concat([field(MESSAGE, EMPTY), Buffer.from([0x0a, 0xff])]))).to.match(/not well-formed/);
  });
});
