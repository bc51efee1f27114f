// What a leader takes into its log at once: whether it copies it.
import { expect } from 'chai';
import type { PackedAppend } from '../../src/broker/types.ts';
import { logIndex } from '../../src/raft/types.ts';
import { batchOf, Group } from './group.ts';

const large = 'x'.repeat(40_000);

/** The records of `request` within `bytes` of memory. */
function within(request: PackedAppend, bytes: number): PackedAppend {
  const room = Buffer.alloc(bytes);
  request.records.copy(room, bytes - request.records.length);
  return { ...request, records: room.subarray(bytes - request.records.length) };
}

describe('replica: a batch', () => {
  async function leading(): Promise<{ group: Group; memoryOf: (index: number) => ArrayBufferLike }> {
    const group = await Group.started({ nodes: 1 });
    await group.createTopic('T');
    const log = group.member('n0').log!;
    return { group, memoryOf: (index) => log.read(logIndex(index), logIndex(index)).buffer.buffer };
  }

  it('of one request stays in the memory in which it came', async () => {
    const { group, memoryOf } = await leading();
    const request = within(batchOf('T', [large]), 42_000);
    const append = group.append('n0', request);
    await group.run(50);
    expect(memoryOf((await append).lastIndex)).to.equal(request.records.buffer);
  });

  it('of one request is copied out of memory that is mostly of others', async () => {
    const { group, memoryOf } = await leading();
    const append = group.append('n0', within(batchOf('T', [large]), 200_000));
    await group.run(50);
    expect(memoryOf((await append).lastIndex).byteLength).to.be.below(50_000);
  });

  it('of several requests lies in one piece of memory', async () => {
    const { group, memoryOf } = await leading();
    const requests = ['a', 'b'].map((body) => within(batchOf('T', [body.repeat(1_000)]), 1_300));
    const appends = requests.map((request) => group.append('n0', request));
    await group.run(50);
    const [first, second] = (await Promise.all(appends)).map(({ lastIndex }) => memoryOf(lastIndex));
    expect(first).to.equal(second);
    expect(requests.map(({ records }) => records.buffer)).not.to.include(first);
  });

  it('holds of a request that is known in part the rest, uncopied', async () => {
    const { group, memoryOf } = await leading();
    const id = '00000000000000aa';
    const first = group.append('n0', batchOf('T', ['a'], id, 1));
    await group.run(50);
    await first;
    const repeat = within(batchOf('T', ['a', large, large], id, 1), 82_000);
    const append = group.append('n0', repeat);
    await group.run(50);
    const { lastIndex, repeated } = await append;
    expect(repeated).to.equal(true);
    expect(memoryOf(lastIndex)).to.equal(repeat.records.buffer);
    expect(group.bodies('n0', 'T')).to.deep.equal(['a', large, large]);
  });
});
