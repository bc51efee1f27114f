// Reading of old messages without blocking: the same answers as `pull`, in smaller pieces, and a clear refusal of what
// was cut off meanwhile.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import type { PullRequest, PullResult } from '../../src/broker/types.ts';
import { queueOffset } from '../../src/format/message.ts';
import { type PhysicalOffset, physicalOffset, positionAt } from '../../src/format/record.ts';
import { logIndex } from '../../src/raft/types.ts';
import type { ColdLog } from '../../src/storage/cold_reads.ts';
import { type Damage, damageOf } from '../../src/storage/damage.ts';
import { batch, DIRECTORY, FakeLog, Harness } from './fixture.ts';

/** A fake log of which only what lies behind `heldFrom` is in memory. */
class FakeColdLog implements ColdLog {
  readonly #log: FakeLog;
  heldFrom = Number.POSITIVE_INFINITY;
  coldReads = 0;
  /** Of which bytes it was asked whether they may be read: position and size. */
  paced: [number, number][] = [];
  /** Runs before a read of the disk ends. */
  meanwhile: () => void = () => {};

  constructor(log: FakeLog) {
    this.#log = log;
  }

  get endPosition(): PhysicalOffset {
    return this.#log.end as PhysicalOffset;
  }

  held(position: PhysicalOffset, sizeBytes: number): Buffer | null {
    return position >= this.heldFrom ? this.#log.read(position, sizeBytes) : null;
  }

  fill(position: PhysicalOffset, target: Buffer): Promise<void> | undefined {
    const held = this.held(position, target.length);
    if (held !== null) {
      held.copy(target);
      return undefined;
    }
    this.coldReads++;
    return new Promise((resolve) => setImmediate(resolve)).then(() => {
      this.meanwhile();
      this.#log.read(position, target.length).copy(target);
    });
  }

  pace(position: PhysicalOffset, sizeBytes: number): undefined {
    this.paced.push([position, sizeBytes]);
  }

  within<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }
}

const requestOf = (offset: number, some: Partial<PullRequest> = {}): PullRequest => ({
  topic: 'T',
  queueId: 0,
  offset: queueOffset(offset),
  countMax: 4_096,
  bytesMax: 4 << 20,
  ...some,
});

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: unknown) => (error instanceof TLedgerError ? error.code : String(error)),
  );
}

describe('Broker.read', () => {
  const bodies = (count: number, from = 0) =>
    Array.from({ length: count }, (_, at) => `${from + at}`.padStart(400, 'x'));
  let log: FakeLog;
  let cold: FakeColdLog;
  let harness: Harness;

  beforeEach(async () => {
    log = new FakeLog();
    cold = new FakeColdLog(log);
    harness = await Harness.start({ log, coldLog: cold });
  });

  /** Messages of queue 0 with those of queue 1 in between. */
  function fill(rounds: number): void {
    for (let round = 0; round < rounds; round++) {
      harness.append(batch(bodies(100, round * 100)));
      harness.append(batch(bodies((round % 3) + 1), { queueId: 1 }));
    }
  }

  it('answers out of memory as pull does, and asks nobody else', async () => {
    fill(20);
    cold.heldFrom = 0;
    for (const offset of [0, 1, 999, 1_990, 2_000]) {
      const { backlogBytes, ...found } = await harness.broker.read(requestOf(offset));
      const { backlogBytes: _, ...pulled } = harness.broker.pull(requestOf(offset));
      expect(found).to.deep.equal(pulled);
      expect(backlogBytes > 0).to.equal(found.nextOffset < 2_000);
    }
    expect([cold.coldReads, cold.paced]).to.deep.equal([0, []]);
  });

  it('has nobody wait for the disk who is far behind, but not behind what is in memory', async () => {
    cold.heldFrom = 0;
    for (let round = 0; round < 34; round++) harness.append(batch(Array.from({ length: 500 }, () => 'x')));
    const { isCold, count, records } = await harness.broker.read(requestOf(10));
    expect([isCold, count]).to.deep.equal([false, 1_024]);
    expect(records.equals(harness.broker.pull(requestOf(10, { countMax: 1_024 })).records)).to.equal(true);
    expect([cold.coldReads, cold.paced]).to.deep.equal([0, []]);
  });

  for (const heldFrom of [Number.POSITIVE_INFINITY, 300_000])
    it(`gives everything once and in order, memory beginning at ${heldFrom}`, async () => {
      fill(20);
      cold.heldFrom = heldFrom;
      const results: PullResult[] = [];
      for (let offset = 0; offset < 2_000; offset = results.at(-1)!.nextOffset) {
        results.push(await harness.broker.read(requestOf(offset)));
      }
      for (const { records, isCold, count } of results) {
        expect(count).to.be.greaterThan(0);
        if (isCold) expect(records.length, 'a piece of old data').to.be.at.most(256 * 1024);
      }
      const all = harness.broker.pull(requestOf(0)).records;
      expect(Buffer.concat(results.map(({ records }) => records)).equals(all)).to.equal(true);
      expect(cold.paced.length).to.equal(results.filter(({ isCold }) => isCold).length);
      const places = results.filter(({ isCold }) => isCold).map(({ records }) => positionAt(records, 0));
      expect(
        cold.paced.map(([position]) => position),
        'where it is read from',
      ).to.deep.equal(places);
      expect(results.some(({ isCold }) => isCold)).to.equal(true);
      expect(results.at(-1)!.isCold).to.equal(heldFrom === Number.POSITIVE_INFINITY);
      const backlogs = results.map(({ backlogBytes }) => backlogBytes);
      expect(backlogs).to.deep.equal([...backlogs].sort((a, b) => b - a));
      expect(backlogs.at(-1)).to.equal(0);
    });

  it('gives one message however large it is', async () => {
    harness.append(batch(['y'.repeat(700_000), 'z']));
    const { count, records } = await harness.broker.read(requestOf(0, { bytesMax: 10 }));
    expect([count, records.length > 700_000]).to.deep.equal([1, true]);
  });

  it('refuses damaged bytes, and goes on being asked', async () => {
    fill(2);
    log.bytes[log.starts[3]! + 300]! ^= 1;
    expect(await codeOf(harness.broker.read(requestOf(0)))).to.equal('DATA_CORRUPTED');
    expect(await codeOf(harness.broker.read(requestOf(150)))).to.equal('none');
  });

  it('refuses a header that does not continue the record before it', async () => {
    fill(2);
    // Its own body is intact, and so is the record's place.
    log.bytes[log.starts[5]! + 16 + 7]! ^= 1;
    expect(await codeOf(harness.broker.read(requestOf(0)))).to.equal('DATA_CORRUPTED');
  });

  for (const [what, damaged] of [
    ['the record, if that is damaged', true],
    ['the queue, if the record is sound', false],
  ] as const)
    it(`tells what is damaged: ${what}`, async () => {
      log = new FakeLog();
      cold = new FakeColdLog(log);
      const record: Damage = {
        kind: 'log',
        file: 'f',
        position: physicalOffset(1_000),
        index: logIndex(3),
        reason: 'r',
      };
      const asked: number[] = [];
      harness = await Harness.start({
        log,
        coldLog: cold,
        damageAt: (position) => {
          asked.push(position);
          return damaged ? record : null;
        },
      });
      fill(2);
      log.bytes[log.starts[3]! + 300]! ^= 1;
      for (const heldFrom of [0, Number.POSITIVE_INFINITY]) {
        cold.heldFrom = heldFrom;
        const damage = damageOf(await harness.broker.read(requestOf(0)).catch((error: unknown) => error));
        if (damaged) expect(damage).to.equal(record);
        else
          expect(damage).to.include({
            kind: 'derived',
            what: 'consume queue',
            file: `${DIRECTORY}/T/0/${'0'.repeat(20)}`,
          });
      }
      expect(asked).to.deep.equal([log.starts[3], log.starts[3]]);
    });

  it('says where to go on when what it reads is cut off meanwhile', async () => {
    fill(2);
    await harness.snapshot();
    const index = harness.broker.appliedIndex;
    fill(2);
    cold.meanwhile = () => {
      cold.meanwhile = () => {};
      harness.cutTo(index);
    };
    const error = await harness.broker.read(requestOf(0)).catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: 'OFFSET_OUT_OF_RANGE', min: 200, nextOffset: 200 });
  });
});
