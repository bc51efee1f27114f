import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type LogIndex, logIndex } from '../../src/raft/types.ts';
import { claimDirectory } from '../../src/storage/identity.ts';
import type { LogTip } from '../../src/storage/log_tip.ts';
import type { MemoryDisk } from '../../src/storage/memory_disk.ts';
import { type Finding, ScrubPass, type ScrubResult } from '../../src/storage/scrub.ts';
import { type Pace, RatePace, SCRUB_PIECE_BYTES, unhurried } from '../../src/storage/scrub_pace.ts';
import { batchOf, DIRECTORY, Group, SEGMENT_SIZE_BYTES } from './group.ts';
import { Load } from './load.ts';

/** What a stopped replica left, and what its state said. */
interface Left {
  readonly disk: MemoryDisk;
  readonly base: LogTip;
  readonly goal: LogIndex;
  readonly mins: ReadonlyMap<string, number>;
}

/** A replica that has cut its log, with two topics. */
async function leftBehind(): Promise<Left> {
  const group = new Group({ nodes: 1, retentionBytes: 2 * SEGMENT_SIZE_BYTES });
  const { disk } = group.member('n0');
  claimDirectory({
    disk,
    directory: DIRECTORY,
    identity: { cluster: 'c', group: 'g0', nodeId: 'n0', segmentSizeBytes: SEGMENT_SIZE_BYTES },
    founders: { n0: { peer: 'a:1', client: 'a:2' } },
  });
  await group.start('n0');
  await group.createTopic('T', 2);
  await group.createTopic('U|1', 1);
  const loads = [new Load(group).start(), new Load(group, { queueId: 1, producerId: '00000000000000bb' }).start()];
  for (const load of loads) await load.more(150);
  for (const load of loads) await load.stop();
  const last = [
    group.append('n0', batchOf('T', ['x'.repeat(40_000)])),
    group.append('n0', batchOf('U|1', ['tail', 'of it'])),
  ];
  await group.run(500);
  await Promise.all(last);
  const replica = group.replica('n0');
  const mins = new Map<string, number>();
  for (const { name, queues } of replica.broker.topics()) {
    for (let queueId = 0; queueId < queues; queueId++) {
      mins.set(`${name} ${queueId}`, replica.broker.range(name, queueId).min);
    }
  }
  const { base } = group.member('n0').log!;
  const goal = replica.status().appliedIndex;
  const stopped = replica.stop(0);
  await group.run(50);
  await stopped;
  return { disk: disk.clone(), base, goal, mins };
}

async function scrub(
  left: Left,
  options: { readonly pace?: Pace; readonly from?: LogTip; readonly base?: () => LogTip } = {},
): Promise<{ readonly findings: Finding[]; readonly result: ScrubResult }> {
  const findings: Finding[] = [];
  const target = {
    disk: left.disk,
    directory: DIRECTORY,
    segmentSizeBytes: SEGMENT_SIZE_BYTES,
    base: options.base ?? (() => left.base),
    queueMin: (topic: string, queueId: number) => left.mins.get(`${topic} ${queueId}`) ?? null,
  };
  const pass = new ScrubPass(target, {
    pace: options.pace ?? { take: async () => {} },
    from: options.from ?? null,
    goal: left.goal,
    onFinding: (finding) => findings.push(finding),
    onProgress: () => {},
  });
  return { findings, result: await pass.run() };
}

/** Whether the byte is one that something stored depends on. */
function isMeant(left: Left, path: string, position: number): boolean {
  const [folder, ...rest] = path.slice(DIRECTORY.length + 1).split('/');
  const file = rest.at(-1);
  switch (folder) {
    case 'commitlog': {
      const segment = left.disk.bytes(path);
      let at = 0;
      while (at < segment.length && segment.readInt32BE(at) > 0) at += segment.readUInt32BE(at + 4);
      return position < at + (segment.readInt32BE(at) === -1 ? 8 : 0);
    }
    case 'index':
      return position >= left.base.index * 32 && position < left.goal * 32;
    case 'consumequeue': {
      const topic = rest[0]!.replaceAll('+', '|');
      return Number(file) === 0 && position >= left.mins.get(`${topic} ${rest[1]}`)! * 20;
    }
    case 'hardstate':
    case 'checkpoint':
    case 'base': {
      const slot = left.disk.bytes(path).subarray(position < 4096 ? 0 : 4096);
      // The magic is compared by whoever opens the file, and so is the version, but both are under the checksum as well.
      return position % 4096 < 24 + slot.readUInt32BE(16);
    }
    default:
      return true;
  }
}

describe('replica: scrubbing what is stored', () => {
  let left: Left;
  before(async () => {
    left = await leftBehind();
  });

  it('finds nothing in what a replica has stored, and has seen every record, unit and snapshot', async () => {
    const { findings, result } = await scrub(left);
    expect(findings).to.deep.equal([]);
    expect(result).to.include({ isWhole: true, records: left.goal - left.base.index });
    expect(result.tip.index).to.equal(left.goal);
    expect(left.base.index).to.be.greaterThan(0);
    expect(result.messages).to.be.within(result.records - 20, result.records);
    expect(result.snapshots.map(({ tip }) => tip.index)).to.include(left.base.index);
  });

  it('finds a flipped bit wherever it is, and says in which file', async function () {
    this.timeout(180_000);
    const random = new SeededRandom(7);
    const kinds = ['commitlog', 'index', 'consumequeue', 'snapshot', 'hardstate', 'checkpoint', 'base', 'identity'];
    const seen = new Map<string, number>();
    for (const kind of kinds) {
      for (let round = 0; round < (kind === 'consumequeue' ? 160 : 40); round++) {
        const damaged = { ...left, disk: left.disk.clone() };
        const place = damaged.disk.randomStoredByte(random, (path) => path.startsWith(`${DIRECTORY}/${kind}`));
        expect(place, kind).not.to.equal(null);
        const { path, position } = place!;
        if (!isMeant(left, path, position)) continue;
        const bit = random.between(0, 7);
        damaged.disk.flip(path, position, bit);
        const { findings } = await scrub(damaged);
        const files = findings.map(({ file }) => file);
        expect(files, `bit ${bit} of byte ${position} of ${path}`).to.deep.equal([path]);
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      }
    }
    for (const kind of kinds) expect(seen.get(kind) ?? 0, kind).to.be.greaterThan(4);
  });

  it('names the record, its place and the reason', async () => {
    const path = left.disk.files().find((file) => file.includes('/commitlog/'))!;
    const start = Number(path.slice(-20));
    const segment = left.disk.bytes(path);
    const first = logIndex(Number(segment.readBigUInt64BE(8)));
    const second = segment.readUInt32BE(4);
    const cases: readonly [number, string][] = [
      [second + 60, 'the body does not match its checksum'],
      [second + 9, 'no whole record'],
      [second + 15, 'wrong index'],
      [second + 38, 'the chain is broken'],
    ];
    for (const [at, reason] of cases) {
      const damaged = { ...left, disk: left.disk.clone() };
      damaged.disk.flip(path, at, 5);
      const { findings, result } = await scrub(damaged);
      const expected = { kind: 'log', file: path, position: start + second, index: first + 1, reason };
      expect(findings[0]).to.deep.equal(expected);
      expect(result.isWhole).to.equal(false);
      expect(result.tip.index).to.equal(first);
    }
  });

  it('finds a lost file, a cut one, and what the device cannot read, at the record concerned', async () => {
    const path = left.disk.files().find((file) => file.includes('/commitlog/'))!;
    const strike = async (act: (disk: MemoryDisk) => void): Promise<Finding[]> => {
      const damaged = { ...left, disk: left.disk.clone() };
      act(damaged.disk);
      return (await scrub(damaged)).findings;
    };
    const lost = await strike((disk) => disk.lose(path));
    expect(lost).to.deep.include({
      kind: 'log',
      file: path,
      position: Number(path.slice(-20)),
      index: left.base.index + 1,
      reason: 'the segment is missing',
    } as unknown as Finding);
    const short = await strike((disk) => disk.open(path).truncate(10_000));
    expect(short[0]).to.include({ kind: 'log', reason: 'the body does not match its checksum' });
    const [unread] = await strike((disk) => disk.breakReads(path, 20_000));
    expect(unread).to.include({ kind: 'log', reason: `cannot read ${path}: EIO` });
    const { position } = unread as { position: number };
    expect(position - Number(path.slice(-20))).to.be.within(18_000, 20_000);
    for (const kind of ['index', 'consumequeue', 'snapshot']) {
      const file = left.disk.files().findLast((one) => one.startsWith(`${DIRECTORY}/${kind}/`))!;
      const held = left.disk.bytes(file);
      const at = held.findLastIndex((byte) => byte !== 0);
      const [finding] = await strike((disk) => disk.breakReads(file, at));
      expect(finding, kind).to.include({ file });
      expect(finding!.reason).to.match(/^cannot read .*: EIO/);
      const [cut] = await strike((disk) => disk.open(file).truncate(at));
      expect(cut, kind).to.include({ file });
    }
  });

  it('takes nothing for damage that was cut while it was read, and goes on at the base', async () => {
    const files = left.disk.files().filter((file) => file.includes('/commitlog/'));
    expect(files.length).to.be.greaterThan(2);
    const second = Number(files[1]!.slice(-20));
    const [firstHeld] = [left.disk.bytes(files[1]!)];
    const base: LogTip = {
      ...left.base,
      index: logIndex(Number(firstHeld!.readBigUInt64BE(8)) - 1),
      end: (second - 9) as LogTip['end'],
    };
    const damaged = { ...left, disk: left.disk.clone() };
    // The second segment's chain is that of the whole log: what the new base must say.
    const { result } = await scrub({ ...left, goal: base.index });
    const moved = { ...base, chainCrc: result.tip.chainCrc!, term: result.tip.term };
    let reads = 0;
    const { findings, result: after } = await scrub(damaged, {
      base: () => (reads > 0 ? moved : left.base),
      pace: {
        take: async () => {
          if (reads++ === 0) damaged.disk.lose(files[0]!);
        },
      },
    });
    expect(findings).to.deep.equal([]);
    expect(after.tip.index).to.equal(left.goal);
  });

  it('goes on where an earlier pass was', async () => {
    const half = logIndex(left.base.index + Math.floor((left.goal - left.base.index) / 2));
    const { result: first } = await scrub({ ...left, goal: half });
    const { findings, result } = await scrub(left, { from: first.tip as LogTip });
    expect(findings).to.deep.equal([]);
    expect(result.records).to.equal(left.goal - half);
  });
});

describe('replica: the pace of scrubbing', () => {
  it('never reads more than so many bytes a second, and saves nothing up', async () => {
    const clock = new ManualClock();
    const pace = new RatePace(clock, 1024 * 1024);
    let taken = 0;
    const loop = (async () => {
      for (;;) {
        await pace.take(SCRUB_PIECE_BYTES);
        taken += SCRUB_PIECE_BYTES;
      }
    })();
    const run = async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed++) {
        clock.advance(1);
        await Promise.resolve();
        await Promise.resolve();
      }
    };
    for (let second = 1; second <= 10; second++) {
      await run(1_000);
      expect(taken).to.be.within(second * 1024 * 1024 - SCRUB_PIECE_BYTES, second * 1024 * 1024 + SCRUB_PIECE_BYTES);
    }
    pace.bytesPerSecond = 4 * 1024 * 1024;
    await run(500);
    const before = taken;
    await run(1_000);
    expect(taken - before).to.be.within(3.5 * 1024 * 1024, 4.5 * 1024 * 1024);
    const ended = loop.catch((error: unknown) => (error as { code: string }).code);
    pace.stop();
    expect(await ended).to.equal('SHUTTING_DOWN');
    const refused = await pace.take(1).catch((error: unknown) => (error as { code: string }).code);
    expect(refused).to.equal('SHUTTING_DOWN');
  });

  it('steps back while timers come late, and comes back when they don’t', async () => {
    // A clock whose timers fire when the test says so: late.
    let nowMs = 0;
    let waiting: { atMs: number; task: () => void } | null = null;
    const clock = {
      monotonicMs: () => nowMs,
      wallMs: () => nowMs,
      after: (delayMs: number, task: () => void) => {
        waiting = { atMs: nowMs + delayMs, task };
        return { cancel: () => {} };
      },
      defer: (task: () => void) => task(),
      soon: (task: () => void) => task(),
    };
    const pace = new RatePace(clock, 1024 * 1024);
    const take = async (lateMs: number): Promise<void> => {
      const taken = pace.take(1024);
      nowMs = waiting!.atMs + lateMs;
      waiting!.task();
      await taken;
    };
    await take(0);
    expect(pace.backOffMs).to.equal(0);
    for (let round = 0; round < 8; round++) await take(100);
    expect(pace.backOffMs).to.equal(1_000);
    for (let round = 0; round < 12; round++) await take(1);
    expect(pace.backOffMs).to.equal(0);
  });

  it('lets others in between when it has the data to itself', async () => {
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    await unhurried.take(1);
    expect(turned).to.equal(true);
  });
});
