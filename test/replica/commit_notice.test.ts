import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import { logIndex } from '../../src/raft/types.ts';
import { COMMIT_NOTICE_MS, CommitNotice } from '../../src/replica/commit_notice.ts';
import { batchOf, Group } from './group.ts';

describe('replica: telling followers what is committed', () => {
  it('waits until nothing more was committed for a moment', () => {
    const clock = new ManualClock();
    const asked: boolean[] = [];
    const notice = new CommitNotice(clock, () => {
      asked.push(notice.isDue);
      notice.onReady({ isCommitUntold: !notice.isDue, commit: logIndex(2) });
    });
    notice.onReady({ isCommitUntold: false, commit: logIndex(1) });
    clock.advance(10 * COMMIT_NOTICE_MS);
    expect(asked, 'everybody knows').to.deep.equal([]);
    notice.onReady({ isCommitUntold: true, commit: logIndex(1) });
    expect(notice.isDue).to.equal(false);
    notice.onReady({ isCommitUntold: true, commit: logIndex(2) });
    clock.advance(COMMIT_NOTICE_MS);
    expect(asked, 'more was committed').to.deep.equal([false]);
    clock.advance(COMMIT_NOTICE_MS);
    expect(asked).to.deep.equal([false, true]);
    expect(notice.isDue, 'once').to.equal(false);
    clock.advance(10 * COMMIT_NOTICE_MS);
    expect(asked).to.have.length(2);
  });

  it('is given up with the replica', () => {
    const clock = new ManualClock();
    const notice = new CommitNotice(clock, () => expect.fail('nobody is there any more'));
    notice.onReady({ isCommitUntold: true, commit: logIndex(1) });
    notice.cancel();
    clock.advance(10 * COMMIT_NOTICE_MS);
  });

  it('needs no heartbeat: followers apply a record soon after its sender was answered', async () => {
    const group = await Group.started();
    const leader = await group.elect();
    await group.createTopic('T');
    const append = group.append(leader, batchOf('T', ['x']));
    await group.run(20);
    await append;
    const { appliedIndex } = group.replica(leader).status();
    for (const id of group.living()) expect(group.replica(id).status().appliedIndex, id).to.equal(appliedIndex);
  });
});
