// The hand-written codec of ConsumeResponse is protobuf: whatever it writes protobufjs reads.
import { expect } from 'chai';
import fc from 'fast-check';
import { gatherConsumeResponse } from '../../src/wire/consume_codec.ts';
import type { ConsumeResponse } from '../../src/wire/ledger_messages.ts';
import { codecOf } from '../../src/wire/proto.ts';

const generic = codecOf<ConsumeResponse>('ConsumeResponse');

const offset = fc.oneof(fc.constantFrom(0, 1, 2 ** 53 - 1), fc.maxSafeNat()).map(String);
const address = fc.record({ nodeId: fc.stringMatching(/^[a-z]{1,5}$/), clientAddress: fc.string({ maxLength: 200 }) });
const responses = fc.record({
  queue: fc.oneof(fc.constantFrom(0, 1, 0x7fff_ffff), fc.nat(1_000)),
  messages: fc.constant([]),
  count: fc.nat(),
  firstOffset: offset,
  nextOffset: offset,
  maxOffset: offset,
  readFrom: fc.option(address, { freq: 2 }),
});

describe('wire: ConsumeResponse codec', () => {
  it('writes what protobufjs reads', () => {
    const sizes = fc.oneof(fc.constantFrom(0, 1, 127, 128, 20_000), fc.nat(300));
    let byHand = 0;
    fc.assert(
      fc.property(responses, sizes, (response, sizeBytes) => {
        const records = Buffer.alloc(sizeBytes, 'r');
        const message = gatherConsumeResponse({ ...response, records });
        const bytes = Buffer.alloc(5 + message.byteLength + 5);
        expect(message.copy(bytes, 5)).to.equal(message.byteLength).and.to.equal(message.length);
        const frame = bytes.subarray(5, 5 + message.byteLength);
        expect(generic.decode(frame)).to.deep.equal({ ...response, records });
        if (!Buffer.isBuffer(message)) byHand++;
      }),
    );
    expect(byHand, 'frames whose records were not copied before').to.be.greaterThan(30);
  });

  it('writes messages that come in place of records', () => {
    const response = { queue: 1, count: 1, firstOffset: '7', nextOffset: '8', maxOffset: '9', readFrom: null };
    const messages = [
      generic.decode(generic.encode({ ...response, messages: [{}], records: Buffer.alloc(0) } as never)).messages[0]!,
    ];
    const bytes = gatherConsumeResponse({ ...response, messages, records: Buffer.alloc(0) });
    expect(generic.decode(bytes).messages).to.deep.equal(messages);
  });

  it('refuses an offset that no number holds', () => {
    const response = { queue: 1, count: 1, firstOffset: '9007199254740992', nextOffset: '8', maxOffset: '9' };
    const frame = { ...response, messages: [], records: Buffer.alloc(1), readFrom: null };
    expect(() => gatherConsumeResponse(frame)).to.throw('firstOffset');
  });
});
