import { expect } from 'chai';
import { InvariantError } from '../../src/base/assert.ts';
import { encodeMessageRecord, tagHash } from '../../src/format/message.ts';
import { positionAt, RECORD_HEADER_BYTES, sizeAt } from '../../src/format/record.ts';
import { UNIT_BYTES } from '../../src/storage/consume_queue.ts';
import { batch, DIRECTORY, FakeLog, Harness, message } from './fixture.ts';

const FILE = '00000000000000000000';

describe('applying committed records', () => {
  it('makes a unit of each message: where its body lies, how long it is, the hash of its tag', async () => {
    const harness = await Harness.start({ queues: 2 });
    const tags = [undefined, 'TagA', 'é', '𝄞', 'Hello World', ''];
    for (const tag of tags) {
      const properties = { TAGSX: 'no', XTAG: 'TAGS', a: 'b' };
      const records = encodeMessageRecord(message({ queueId: 1, tag, properties, keys: ['k'] }));
      harness.append({ topic: 'T', queueId: 1, producerId: '', sequence: 1, records });
    }
    harness.broker.writeUnits();
    const units = harness.disk.bytes(`${DIRECTORY}/T/1/${FILE}`);
    expect(units.length).to.equal(tags.length * UNIT_BYTES);
    for (const [number, tag] of tags.entries()) {
      const at = number * UNIT_BYTES;
      const record = harness.log.starts[number + 2]!;
      expect(units.readBigUInt64BE(at)).to.equal(BigInt(positionAt(harness.log.bytes, record) + RECORD_HEADER_BYTES));
      expect(units.readUInt32BE(at + 8)).to.equal(sizeAt(harness.log.bytes, record) - RECORD_HEADER_BYTES);
      expect(units.readBigInt64BE(at + 12), `tag ${tag}`).to.equal(BigInt(tag ? tagHash(tag) : 0));
    }
  });

  it('finds the tag wherever it stands among the properties', async () => {
    const harness = await Harness.start({ queues: 1 });
    const records = encodeMessageRecord(message({ properties: { first: 'x', TAGS: 'TagA', last: 'TAGS' } }));
    harness.append({ topic: 'T', queueId: 0, producerId: '', sequence: 1, records });
    harness.broker.writeUnits();
    expect(harness.disk.bytes(`${DIRECTORY}/T/0/${FILE}`).readBigInt64BE(12)).to.equal(2_598_919n);
  });

  it('takes no-ops as nothing, and skips fillers', async () => {
    const harness = await Harness.start({ queues: 1, log: new FakeLog(4_096) });
    for (let round = 0; round < 30; round++) {
      harness.admit(batch([`m${round}`, 'x'.repeat(300)]));
      harness.noop();
    }
    harness.applyTo();
    expect(harness.broker.appliedIndex).to.equal(91);
    expect(harness.log.end).to.be.greaterThan(3 * 4_096);
    const expected = Array.from({ length: 60 }, (_, number) => (number % 2 ? 'x'.repeat(300) : `m${number / 2}`));
    expect(harness.bodies(0)).to.deep.equal(expected);
  });

  it('gathers units over many calls, shows them at once, and writes those of a queue together', async () => {
    const harness = await Harness.start({ queues: 4 });
    let writes = 0;
    harness.disk.onOperation = ({ kind }) => {
      if (kind === 'write') writes++;
    };
    for (let round = 0; round < 20; round++) {
      for (let queueId = 0; queueId < 4; queueId++) harness.append(batch(['a', 'b'], { queueId }));
      expect(harness.bodies(3).length).to.equal(2 * (round + 1));
    }
    expect(writes).to.equal(0);
    harness.broker.writeUnits();
    expect(writes).to.equal(4);
    expect(harness.bodies(3).length).to.equal(40);
  });

  it('shows nothing that is admitted but not applied', async () => {
    const harness = await Harness.start({ queues: 1 });
    harness.append(batch(['a']));
    harness.admit(batch(['b']));
    expect(harness.broker.range('T', 0).max).to.equal(1);
    expect(harness.pull(0, 0).count).to.equal(1);
    expect(harness.pull(0, 1).count).to.equal(0);
  });

  const wrongs: [string, (harness: Harness) => void, string][] = [
    ['a record applied twice', (harness) => apply(harness, 2, 2), 'record 2 is applied after 2'],
    ['a record left out', (harness) => apply(harness, 4, 4), 'record 4 is applied after 2'],
    ['half a record', (harness) => apply(harness, 3, 3, -1), 'whole records'],
    [
      'half a header',
      (harness) => harness.broker.apply(harness.log.bytes, at(harness, 3), at(harness, 3) + 20),
      'whole',
    ],
    ['an offset that is too high', (harness) => spoil(harness, 48 + 20, 5), 'continues with 1'],
    ['an offset that is too low', (harness) => spoil(harness, 48 + 20, 0), 'continues with 1'],
    [
      'another queue',
      (harness) => harness.log.bytes.writeUInt32BE(9, at(harness, 3) + 48 + 12),
      'a queue that its topic',
    ],
    ['another topic', (harness) => harness.log.bytes.write('U', at(harness, 3) + 48 + 88 + 4 + 1), 'does not exist'],
    ['no message', (harness) => harness.log.bytes.writeUInt32BE(0, at(harness, 3) + 48 + 4), 'is not a message'],
  ];
  for (const [name, spoilLog, text] of wrongs) {
    it(`stops the replica at ${name}, for good, and stores nothing more`, async () => {
      const harness = await Harness.start({ queues: 2 });
      harness.append(batch(['aaaa']));
      harness.admit(batch(['bbbb']));
      harness.admit(batch(['cccc']));
      expect(() => {
        spoilLog(harness);
        harness.applyTo();
      }).to.throw(InvariantError, text);
      expect(() => harness.broker.apply(Buffer.alloc(0), 0, 0)).to.throw(InvariantError, 'failed');
      expect(() => harness.admit(batch(['d']))).to.throw(InvariantError);
      const outcome = await harness.broker.checkpoint().then(
        () => 'stored',
        (error: Error) => error.name,
      );
      expect(outcome).to.equal('InvariantError');
      expect(harness.medium.durable.size).to.equal(0);
    });
  }
});

const at = (harness: Harness, index: number) => harness.log.starts[index]!;

function apply(harness: Harness, first: number, last: number, cut = 0): void {
  harness.broker.apply(harness.log.bytes, at(harness, first), harness.log.endOf(last) + cut);
}

function spoil(harness: Harness, position: number, value: number): void {
  harness.log.bytes.writeBigUInt64BE(BigInt(value), at(harness, 3) + position);
}
