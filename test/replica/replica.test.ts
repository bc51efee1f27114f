import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { blankRecord, physicalOffset, recordMagic, sealRecord } from '../../src/format/record.ts';
import { logIndex, type Term } from '../../src/raft/types.ts';
import type { RecordBytes } from '../../src/replica/types.ts';
import { batchOf, Group, limits } from './group.ts';

const PRODUCER = '00000000000000aa';

/** Settles into a code: 'ok', or the code of the error. */
function outcome(asked: Promise<unknown>): Promise<string> {
  return asked.then(
    () => 'ok',
    (error: unknown) => (error instanceof TLedgerError ? error.code : String(error)),
  );
}

describe('replica: a group of three', () => {
  it('elects a leader, commits, applies everywhere, and all logs are byte-identical', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = group.leader()!;
    const results = [];
    for (let round = 0; round < 50; round++) {
      results.push(group.append(leader, batchOf('T', [`${round}a`, `${round}b`])));
      await group.run(round % 3);
    }
    await group.run(300);
    const offsets = (await Promise.all(results)).map((result) => result.queueOffset);
    expect(offsets).to.deep.equal(offsets.map((_, at) => at * 2));
    const expected = offsets.flatMap((_, round) => [`${round}a`, `${round}b`]);
    const { appliedIndex } = group.replica(leader).broker;
    const digests = group.ids.map((id) => {
      expect(group.bodies(id, 'T')).to.deep.equal(expected);
      return group.replica(id).digest(appliedIndex);
    });
    expect(new Set(digests.map((digest) => JSON.stringify(digest))).size).to.equal(1);
  });

  it('answers NOT_LEADER elsewhere, with nothing changed', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const follower = group.ids.find((id) => id !== group.leader())!;
    expect(await outcome(group.append(follower, batchOf('T', ['x'])))).to.equal('NOT_LEADER');
  });

  it('acknowledges only what a majority has flushed (§5.3, with durable matches)', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    const held: (() => void)[] = [];
    for (const id of group.ids) {
      if (id !== leader) group.member(id).disk.deferFlush = (finish) => held.push(finish);
    }
    let answered = false;
    const append = group.append(leader, batchOf('T', ['x'])).finally(() => {
      answered = true;
    });
    await group.run(300);
    expect(answered, 'while both followers have written but not flushed').to.equal(false);
    for (const id of group.ids) group.member(id).disk.deferFlush = queueMicrotask;
    held[0]!();
    await group.run(10);
    await append;
  });

  it('does not count itself before its own flush', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(200);
    const [reachable] = group.ids.filter((id) => id !== leader);
    for (const id of group.ids) if (id !== leader && id !== reachable) group.isolate(id);
    const held: (() => void)[] = [];
    group.member(leader).disk.deferFlush = (finish) => held.push(finish);
    let answered = false;
    const append = group.append(leader, batchOf('T', ['x'])).finally(() => {
      answered = true;
    });
    await group.run(300);
    expect(answered, 'one follower and an unflushed leader are no majority').to.equal(false);
    group.member(leader).disk.deferFlush = queueMicrotask;
    held[0]!();
    await group.run(10);
    await append;
  });

  for (const mode of ['kill', 'lost', 'sectors'] as const) {
    it(`loses nothing acknowledged when leaders crash again and again (${mode}), and doubles nothing`, async function () {
      this.timeout(180_000);
      const group = await Group.started({ seed: 7 });
      await group.createTopic('T');
      let sequence = 1;
      let acknowledged = 0;
      for (let round = 0; round < 8; round++) {
        const leader = await group.elect();
        const crashAtMs = group.clock.monotonicMs() + 20 + round;
        while (group.leader() === leader && group.clock.monotonicMs() < crashAtMs + 50) {
          const { replica } = group.member(leader);
          if (replica === null) break;
          const append = group.append(leader, batchOf('T', [`m${sequence}`], PRODUCER, sequence), 200);
          let result: string | null = null;
          void outcome(append).then((code) => {
            result = code;
          });
          if (group.clock.monotonicMs() >= crashAtMs) group.crash(leader, mode);
          await group.until('an outcome', () => result !== null || group.member(leader).replica === null, 1_000);
          if (result !== 'ok') break;
          acknowledged = sequence++;
        }
        if (group.member(leader).replica !== null) group.crash(leader, mode);
        await group.run(50);
        await group.start(leader);
        // The producer asks again with the same sequence, as a client does: it must be recognised or appended once.
        const next = await group.elect();
        await group.until('the repeat to be settled', () => group.replica(next).isLeader, 2_000);
        const repeated = outcome(group.append(next, batchOf('T', [`m${sequence}`], PRODUCER, sequence), 3_000));
        let code: string | null = null;
        void repeated.then((value) => {
          code = value;
        });
        await group.until('the repeat', () => code !== null, 4_000);
        if (code === 'ok') acknowledged = sequence++;
      }
      await group.elect();
      await group.until('everybody to catch up', () => {
        const applied = group.ids.map((id) => group.replica(id).broker.appliedIndex);
        return new Set(applied).size === 1;
      });
      const expected = Array.from({ length: acknowledged }, (_, at) => `m${at + 1}`);
      expect(acknowledged).to.be.greaterThan(20);
      for (const id of group.ids) expect(group.bodies(id, 'T').slice(0, acknowledged), id).to.deep.equal(expected);
      const digests = group.ids.map((id) => group.replica(id).digest(group.replica(id).broker.appliedIndex).chainCrc);
      expect(new Set(digests).size).to.equal(1);
    });
  }

  it('reports an unknown outcome as unknown when the majority is gone, and as what it was once it returns', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    group.isolate(leader);
    const lost = outcome(group.append(leader, batchOf('T', ['late']), 300));
    let answer = '';
    void lost.then((code) => {
      answer = code;
    });
    await group.until('the deadline', () => answer !== '', 1_000);
    expect(answer).to.equal('OUTCOME_UNKNOWN');

    const patient = outcome(group.append(leader, batchOf('T', ['patient']), 60_000));
    await group.until('another leader', () => group.leader() !== leader && group.leader() !== null);
    const winner = group.leader()!;
    const other = outcome(group.append(winner, batchOf('T', ['instead'])));
    await group.run(100);
    expect(await other).to.equal('ok');
    group.cut.clear();
    await group.run(1_500);
    expect(await patient, 'another record was committed at its index').to.equal('NOT_LEADER');
    for (const id of group.ids) expect(group.bodies(id, 'T')).to.deep.equal(['instead']);
  });

  it('refuses no topic because of another one that is not committed, and may never be', async () => {
    const group = await Group.started();
    const leader = await group.elect();
    const create = (queues: number, timeoutMs: number): Promise<string> =>
      outcome(group.replica(leader).createTopic('T', queues, group.clock.monotonicMs() + timeoutMs));
    const together = [create(1, 5_000), create(2, 5_000)];
    await group.run(100);
    expect(await Promise.all(together)).to.deep.equal(['ok', 'TOPIC_EXISTS']);

    const alone = await Group.started();
    const deposed = await alone.elect();
    alone.isolate(deposed);
    const until = alone.clock.monotonicMs() + 60_000;
    const codes = [1, 2].map((queues) => outcome(alone.replica(deposed).createTopic('T', queues, until)));
    await alone.until('another leader', () => alone.leader() !== deposed && alone.leader() !== null);
    await alone.createTopic('U');
    alone.cut.clear();
    await alone.run(1_500);
    expect(await Promise.all(codes)).to.deep.equal(['NOT_LEADER', 'NOT_LEADER']);
    expect(alone.replica(alone.leader()!).broker.topic('T')).to.equal(undefined);
  });

  it('refuses beyond its limits and takes more once there is room', async () => {
    const group = await Group.started({ limits: { countMax: 3 } });
    await group.createTopic('T');
    const leader = await group.elect();
    const codes = Array.from({ length: 5 }, (_, at) => outcome(group.append(leader, batchOf('T', [`${at}`]))));
    await group.run(50);
    expect(await Promise.all(codes)).to.deep.equal(['ok', 'ok', 'ok', 'OVERLOADED', 'OVERLOADED']);
    const later = outcome(group.append(leader, batchOf('T', ['later'])));
    await group.run(50);
    expect(await later).to.equal('ok');
  });

  it('keeps a batch larger than the batch limit whole, and splits what waits otherwise', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const large = Array.from({ length: 40 }, (_, at) => `${at}`.padStart(1_000, '.'));
    const codes = [
      outcome(group.append(leader, batchOf('T', large))),
      outcome(group.append(leader, batchOf('T', ['small']))),
    ];
    expect(40 * 1_000).to.be.greaterThan(limits.batchBytesMax);
    await group.run(300);
    expect(await Promise.all(codes)).to.deep.equal(['ok', 'ok']);
    for (const id of group.ids) expect(group.bodies(id, 'T')).to.deep.equal([...large, 'small']);
  });

  it('hands leadership over on request, and goes on where it was', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const target = group.ids.find((id) => id !== leader)!;
    const transfer = group.replica(leader).transferLeadership(target, group.clock.monotonicMs() + 2_000);
    await group.run(100);
    await transfer;
    expect(group.leader()).to.equal(target);
    const append = outcome(group.append(target, batchOf('T', ['x'])));
    await group.run(50);
    expect(await append).to.equal('ok');
  });

  it('tells the caller when a transfer fails, and goes on leading', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const target = group.ids.find((id) => id !== leader)!;
    group.isolate(target);
    const transfer = group.replica(leader).transferLeadership(target, group.clock.monotonicMs() + 5_000);
    const failed = transfer.then(
      () => 'ok',
      (error: TLedgerError) => `${error.code}: ${error.message}`,
    );
    const waiting = outcome(group.append(leader, batchOf('T', ['x']), 5_000));
    await group.run(2_000);
    expect(await failed).to.match(new RegExp(`^TRANSFER_FAILED: ${target} did not take over: .*; ${leader} goes on`));
    expect(group.leader()).to.equal(leader);
    expect(await waiting, 'what waited during the transfer').to.equal('ok');
  });

  it('says that a transfer failed because the target is dead', async () => {
    const group = await Group.started();
    const leader = await group.elect();
    const target = group.ids.find((id) => id !== leader)!;
    group.crash(target, 'kill');
    await group.run(100);
    const transfer = group.replica(leader).transferLeadership(target, group.clock.monotonicMs() + 5_000);
    const failed = transfer.then(
      () => 'ok',
      (error: TLedgerError) => error.message,
    );
    await group.run(2_000);
    expect(await failed).to.equal(
      `${target} did not take over: it is not connected to the leader; ${leader} goes on leading`,
    );
  });

  it('confirms a read index with a majority, and not without one (§6.4)', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(50);
    const confirmed = group.replica(leader).readIndex();
    await group.run(20);
    expect(await confirmed).to.equal(group.replica(leader).status().committedIndex);
    group.isolate(leader);
    const unconfirmed = group
      .replica(leader)
      .readIndex()
      .then(
        () => 'ok',
        (error: TLedgerError) => error.code,
      );
    await group.run(3_000);
    expect(await unconfirmed).to.equal('NOT_LEADER');
  });

  it('calls a batch of which only a part survived a leader unknown, never without effect', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(300);
    const [first, second] = group.ids.filter((id) => id !== leader) as [string, string];
    group.cut.add(`${leader}>${second}`);
    const replica = group.replica(first);
    const receive = replica.onMessage.bind(replica);
    replica.onMessage = (message, records) => {
      receive(message, records);
      if (message.type === 'append' && message.lastIndex > message.prevIndex) group.isolate(leader);
    };
    const bodies = Array.from({ length: 30 }, (_, at) => `${at}`.padStart(1_000, '.'));
    const told = outcome(group.append(leader, batchOf('T', bodies), 60_000));
    await group.until('another leader', () => group.leader() !== leader && group.leader() !== null);
    replica.onMessage = receive;
    const next = group.leader()!;
    await group.until(
      'its no-op',
      () => group.replica(next).broker.appliedIndex === group.replica(next).status().lastIndex,
    );
    const survived = group.bodies(next, 'T').length;
    expect(survived).to.be.within(1, 29);
    for (let at = survived; at <= bodies.length; at++) void outcome(group.append(next, batchOf('T', ['later'])));
    await group.run(100);
    group.cut.clear();
    await group.run(2_000);
    expect(await told).to.equal('OUTCOME_UNKNOWN');
  });

  it('calls a repeat unknown when what it added is replaced: an earlier request brought its first part', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const first = outcome(group.append(leader, batchOf('T', ['a'], PRODUCER, 1)));
    await group.run(300);
    expect(await first).to.equal('ok');
    group.isolate(leader);
    const told = outcome(group.append(leader, batchOf('T', ['a', 'b'], PRODUCER, 1), 60_000));
    await group.until('another leader', () => group.leader() !== leader && group.leader() !== null);
    void outcome(group.append(group.leader()!, batchOf('T', ['instead'])));
    await group.run(100);
    group.cut.clear();
    await group.run(2_000);
    expect(group.bodies(leader, 'T')).to.deep.equal(['a', 'instead']);
    expect(await told, 'one of its two messages is in the log').to.equal('OUTCOME_UNKNOWN');
  });

  it('answers whoever was in a batch that could not be written', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const { disk } = group.member(leader);
    disk.onOperation = (operation) => {
      if (operation.kind === 'write' && operation.path.includes('commitlog')) disk.failAt(1, 'ENOSPC');
    };
    const told = outcome(group.append(leader, batchOf('T', ['x'])));
    await group.run(10);
    expect(await told).to.equal('OUTCOME_UNKNOWN');
    expect(group.member(leader).failure).to.have.property('code', 'STORAGE_FAILED');
  });

  it('survives a caller that throws when it is told the outcome', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    let calls = 0;
    group.replica(leader).append(batchOf('T', ['x']), group.clock.monotonicMs() + 1_000, () => {
      calls++;
      throw new Error('a bug of the caller');
    });
    await group.run(50);
    expect(calls).to.equal(1);
    expect(group.member(leader).failure).to.equal(null);
    expect(group.member(leader).warnings.join()).to.include('a bug of the caller');
  });

  it('never takes back what it has applied, not even right after a restart', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const told = outcome(group.append(leader, batchOf('T', ['x'])));
    await group.run(500);
    expect(await told).to.equal('ok');
    const follower = group.ids.find((id) => id !== leader)!;
    const { appliedIndex } = group.replica(follower).broker;
    group.crash(follower, 'kill');
    await group.start(follower);
    expect(group.replica(follower).status().committedIndex).to.equal(appliedIndex);
    const { term, lastIndex } = group.replica(follower).status();
    group.replica(follower).onMessage(
      {
        type: 'append',
        from: leader,
        to: follower,
        term: (term + 5) as typeof term,
        prevIndex: logIndex(0),
        prevTerm: 0 as typeof term,
        lastIndex: logIndex(1),
        runs: [],
        memberships: [],
        commit: logIndex(0),
        round: 1,
      },
      recordOf(term + 5),
    );
    expect(group.member(follower).failure, 'a leader that contradicts what is committed').not.to.equal(null);
    expect(group.member(follower).log!.lastIndex).to.equal(lastIndex);
  });

  for (const how of ['lost what it had acknowledged (flush async)', 'came back with an empty disk'] as const) {
    it(`repairs a follower that ${how}`, async () => {
      const isAsync = how.startsWith('lost');
      const group = await Group.started({ flush: isAsync ? 'async' : 'sync' });
      await group.createTopic('T');
      const leader = await group.elect();
      await group.run(300);
      const follower = group.ids.find((id) => id !== leader)!;
      if (isAsync) group.member(follower).disk.deferFlush = () => {};
      const before = Array.from({ length: 10 }, (_, at) => outcome(group.append(leader, batchOf('T', [`${at}`]))));
      await group.run(100);
      expect(new Set(await Promise.all(before))).to.deep.equal(new Set(['ok']));
      if (isAsync) group.crash(follower, 'lost');
      else group.replaceDisk(follower);
      group.member(follower).disk.deferFlush = queueMicrotask;
      await group.start(follower);
      await group.run(500);
      expect(group.leader()).to.equal(leader);
      expect(group.replica(follower).status().lastIndex).to.equal(group.replica(leader).status().lastIndex);
      expect(group.bodies(follower, 'T')).to.deep.equal(group.bodies(leader, 'T'));
    });
  }

  it('stops for good when a flush fails, and the others go on', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    group.member(leader).disk.onOperation = (operation) => {
      if (operation.kind === 'flush' && operation.path.includes('commitlog'))
        group.member(leader).disk.failAt(1, 'EIO');
    };
    const append = outcome(group.append(leader, batchOf('T', ['x']), 500));
    await group.run(5);
    expect(group.member(leader).failure).to.be.instanceOf(TLedgerError);
    expect(await append).to.equal('OUTCOME_UNKNOWN');
    await group.until('another leader', () => group.leader() !== null && group.leader() !== leader);
  });

  it('stops when its log holds other bytes than the leader at the same place', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(300);
    const follower = group.ids.find((id) => id !== leader)!;
    const { lastIndex, term } = group.replica(follower).status();
    group.replica(follower).onMessage(
      {
        type: 'append',
        from: leader,
        to: follower,
        term,
        prevIndex: lastIndex,
        prevTerm: term,
        lastIndex,
        runs: [],
        memberships: [],
        commit: logIndex(0),
        round: 1,
      },
      { buffer: Buffer.alloc(0), start: 0, end: 0, prevChain: 12345 },
    );
    expect(group.member(follower).failure).to.have.property('code', 'DATA_CORRUPTED');
  });

  it('drops damaged records and gets them again', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    await group.run(300);
    const follower = group.ids.find((id) => id !== leader)!;
    const { lastIndex, term } = group.replica(follower).status();
    const prevChain = group.member(follower).log!.chainAt(lastIndex);
    const message = { type: 'append', from: leader, to: follower, term, prevIndex: lastIndex, prevTerm: term } as const;
    group
      .replica(follower)
      .onMessage(
        { ...message, lastIndex: logIndex(lastIndex + 1), runs: [], memberships: [], commit: logIndex(0), round: 1 },
        { buffer: Buffer.alloc(136, 7), start: 0, end: 136, prevChain },
      );
    expect(group.member(follower).failure).to.equal(null);
    expect(group.member(follower).warnings).to.have.length(1);
    const append = outcome(group.append(leader, batchOf('T', ['x'])));
    await group.run(300);
    expect(await append).to.equal('ok');
    expect(group.bodies(follower, 'T')).to.deep.equal(['x']);
  });

  it('answers what waits when it is stopped, and starts again where it was', async () => {
    const group = await Group.started();
    await group.createTopic('T');
    const leader = await group.elect();
    const append = outcome(group.append(leader, batchOf('T', ['x'])));
    await group.run(1);
    const stopped = group.replica(leader).stop(1_000);
    await group.run(1_500);
    await stopped;
    expect(await append).to.equal('ok');
    expect(await outcome(group.append(leader, batchOf('T', ['y'])))).to.equal('SHUTTING_DOWN');
    group.crash(leader, 'kill');
    await group.start(leader);
    await group.run(500);
    expect(group.bodies(leader, 'T')).to.deep.equal(['x']);
  });

  it('flush async: acknowledges before the flush', async () => {
    const group = await Group.started({ flush: 'async' });
    await group.createTopic('T');
    const leader = await group.elect();
    for (const id of group.ids) group.member(id).disk.deferFlush = () => {};
    const append = outcome(group.append(leader, batchOf('T', ['x'])));
    await group.run(50);
    expect(await append).to.equal('ok');
  });
});

/** A sealed record that begins a log. */
function recordOf(ofTerm: number): RecordBytes {
  const record = blankRecord(recordMagic.noop, Buffer.alloc(0));
  sealRecord(record, 0, { index: logIndex(1), term: ofTerm as Term, position: physicalOffset(0), prevChain: 0 });
  return { buffer: record, start: 0, end: record.length, prevChain: 0 };
}

describe('replica: a group of one', () => {
  it('leads itself and serves', async () => {
    const group = await Group.started({ nodes: 1 });
    await group.createTopic('T');
    const append = outcome(group.append('n0', batchOf('T', ['x'])));
    await group.run(10);
    expect(await append).to.equal('ok');
    const index = group.replica('n0').readIndex();
    await group.run(2);
    expect(await index).to.equal(group.replica('n0').broker.appliedIndex);
  });
});
