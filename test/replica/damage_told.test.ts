// Whoever comes by damage in the log of a running replica, the replica hears of it: it stops vouching for that log.
import { expect } from 'chai';
import { offsetByTime } from '../../src/broker/offset_by_time.ts';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { messageIdOf } from '../../src/format/message_id.ts';
import { physicalOffset, RECORD_HEADER_BYTES } from '../../src/format/record.ts';
import { type LogIndex, logIndex } from '../../src/raft/types.ts';
import { DIRECTORY, Group, SEGMENT_SIZE_BYTES } from './group.ts';

/** A replica that has just started, so that nothing is in memory, and its first message, in a segment that is closed. */
async function started(): Promise<{ group: Group; first: LogIndex }> {
  const group = await Group.started({ nodes: 1, keyIndex: { slots: 100, entriesMax: 200 } });
  await group.createTopic('T', 1);
  const first = logIndex(group.replica('n0').broker.appliedIndex + 1);
  for (let sent = 0; sent < 2 * SEGMENT_SIZE_BYTES; sent += 8_000) {
    const records = encodeMessageRecord({
      topic: 'T',
      queueId: 0,
      body: Buffer.alloc(8_000, 'x'),
      keys: ['k'],
      bornAtMs: 1,
    });
    const done = group.append('n0', { topic: 'T', queueId: 0, producerId: '', sequence: 0, records });
    await group.run(20);
    await done;
  }
  await group.run(500);
  group.crash('n0', 'kill');
  await group.start('n0');
  await group.elect();
  return { group, first };
}

describe('replica: damage in the log is told by', () => {
  const reads: Readonly<Record<string, (group: Group, first: LogIndex, position: number) => unknown>> = {
    'a look for a time': (group) => offsetByTime(group.replica('n0').broker, 'T', 0, 0),
    'a pull': (group) => group.bodies('n0', 'T', 0),
    'a look for a message id': (group, _, position) =>
      group.replica('n0').broker.keys.byId('T', messageIdOf(physicalOffset(position + RECORD_HEADER_BYTES))),
    'a read of a message that is held back': (group, first, position) =>
      group
        .replica('n0')
        .broker.recordAt(first, physicalOffset(position), group.member('n0').log!.locate(first).sizeBytes),
    'a dump of records': (group, first) => group.replica('n0').recordPage(first, 1),
    'the key index that is made anew': async (group) => {
      group.replica('n0').broker.keys.index!.lost(physicalOffset(0), 'a test says so');
      await group.run(6_000);
    },
  };
  for (const [who, read] of Object.entries(reads)) {
    it(who, async () => {
      const { group, first } = await started();
      const { position } = group.member('n0').log!.locate(first);
      group.member('n0').disk.flip(`${DIRECTORY}/commitlog/${'0'.repeat(20)}`, position + 200, 2);
      const outcome = await Promise.resolve()
        .then(() => read(group, first, position))
        .then(
          () => 'answered',
          (error: Error) => error.message,
        );
      await group.run(10);
      expect(group.member('n0').failure?.message ?? outcome).to.include(`where record ${first} should be`);
      expect(group.member('n0').failure, 'the replica stops').not.to.equal(null);
    });
  }

  it('the digest that members compare', async () => {
    const { group, first } = await started();
    const { position } = group.member('n0').log!.locate(first);
    group.member('n0').disk.flip(`${DIRECTORY}/commitlog/${'0'.repeat(20)}`, position + 36, 2);
    expect(() => group.replica('n0').digest(first)).to.throw('the chain is broken');
    await group.run(10);
    expect(group.member('n0').failure?.message).to.include('the chain is broken');
  });
});
