// The hand-made frame of ConsumeResponse is protobuf, and takes no byte that is not its own.
import { expect } from 'chai';
import fc from 'fast-check';
import { encodeConsumeResponse } from '../../src/wire/consume_codec.ts';
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
  readFrom: fc.option(address),
});

describe('wire: ConsumeResponse codec', () => {
  it('writes what protobufjs reads, before and in its records only', () => {
    const sizes = fc.oneof(fc.constantFrom(0, 1, 127, 128, 20_000), fc.nat(300));
    let inPlace = 0;
    fc.assert(
      fc.property(responses, sizes, fc.nat(300), (response, sizeBytes, headroomBytes) => {
        const memory = Buffer.alloc(50 + headroomBytes + sizeBytes + 50, 'm');
        const records = memory.subarray(50 + headroomBytes, 50 + headroomBytes + sizeBytes).fill('r');
        const bytes = encodeConsumeResponse({ ...response, records, headroomBytes });
        expect(generic.decode(bytes)).to.deep.equal({ ...response, records: Buffer.alloc(sizeBytes, 'r') });
        if (bytes.buffer === memory.buffer) inPlace++;
        expect(memory.toString('latin1', 0, 50), 'before the headroom').to.equal('m'.repeat(50));
        expect(memory.toString('latin1', 50 + headroomBytes)).to.equal('r'.repeat(sizeBytes) + 'm'.repeat(50));
      }),
    );
    expect(inPlace, 'frames made where the records lie').to.be.greaterThan(0);
  });
});
