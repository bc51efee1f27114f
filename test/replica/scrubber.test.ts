import { expect } from 'chai';
import { encodeMessageRecord } from '../../src/format/message.ts';
import { messageIdOf } from '../../src/format/message_id.ts';
import { brokerProperty } from '../../src/format/message_properties.ts';
import { physicalOffset, RECORD_HEADER_BYTES } from '../../src/format/record.ts';
import { recordFlag } from '../../src/format/record_flags.ts';
import { logIndex, type NodeId } from '../../src/raft/types.ts';
import { type OtherCopy, Scrubber, type ScrubberOptions } from '../../src/replica/scrubber.ts';
import type { ReplicaStatus } from '../../src/replica/types.ts';
import type { Finding } from '../../src/storage/scrub.ts';
import { DIRECTORY, Group, SEGMENT_SIZE_BYTES } from './group.ts';
import { Load } from './load.ts';

interface Watched {
  readonly scrubber: Scrubber;
  readonly findings: Finding[];
  readonly events: string[];
  readonly warnings: string[];
}

async function loaded(count = 400): Promise<Group> {
  const group = await Group.started();
  await group.createTopic('T');
  const load = new Load(group).start();
  await load.more(count);
  await load.stop();
  await group.run(300);
  return group;
}

/** A scrubber beside a replica, which asks the others of the group. */
function watch(group: Group, id: NodeId, options: Partial<ScrubberOptions> = {}): Watched {
  const findings: Finding[] = [];
  const events: string[] = [];
  const warnings: string[] = [];
  const { disk, log } = group.member(id);
  const scrubber = new Scrubber({
    ...{ disk, directory: DIRECTORY, segmentSizeBytes: SEGMENT_SIZE_BYTES, log: log! },
    broker: group.replica(id).broker,
    clock: group.clock,
    intervalMs: 0,
    bytesPerSecond: 1024 * 1024,
    askOthers: async (index) => group.ids.filter((other) => other !== id).map((other) => copyOf(group, other, index)),
    onFinding: (finding) => findings.push(finding),
    onEvent: (message) => events.push(message),
    onWarning: (message) => warnings.push(message),
    ...options,
  });
  return { scrubber, findings, events, warnings };
}

function copyOf(group: Group, id: NodeId, index: number): OtherCopy {
  const replica = group.replica(id);
  const { appliedIndex }: ReplicaStatus = replica.status();
  const digest = index <= appliedIndex ? replica.digest(logIndex(index)) : null;
  return { nodeId: id, appliedIndex, digest, snapshots: [] };
}

describe('replica: the scrubber', () => {
  it('checks when it is asked, at the rate it is told, and says how far it is', async () => {
    const group = await loaded();
    const { scrubber, findings, events } = watch(group, 'n1', { bytesPerSecond: 256 * 1024 });
    expect(scrubber.status()).to.include({ isRunning: false, pass: 0, lastPass: 0 });
    const bytes = group.replica('n1').status().flushedPosition;
    const startMs = group.clock.monotonicMs();
    expect(scrubber.scrubNow(null)).to.equal(1);
    const seen: number[] = [];
    await group.until(
      'the pass to end',
      () => {
        const { isRunning, checkedBytes, totalBytes } = scrubber.status();
        if (isRunning) {
          expect(totalBytes).to.equal(bytes);
          seen.push(checkedBytes);
        }
        return !isRunning;
      },
      20_000,
    );
    const tookMs = group.clock.monotonicMs() - startMs;
    expect(tookMs).to.be.within((bytes / (256 * 1024)) * 1_000 * 0.8, (bytes / (256 * 1024)) * 1_000 * 1.6 + 500);
    expect(seen).to.deep.equal([...seen].sort((a, b) => a - b));
    expect(new Set(seen).size).to.be.greaterThan(2);
    const { lastPass, lastIndex, faults, lastAtMs } = scrubber.status();
    expect({ lastPass, lastIndex, faults }).to.deep.equal({
      lastPass: 1,
      lastIndex: group.replica('n1').status().appliedIndex,
      faults: [],
    });
    expect(lastAtMs).to.be.closeTo(group.clock.wallMs(), 5);
    expect(findings).to.deep.equal([]);
    expect(events).to.have.length(1);
    await scrubber.stop();
  });

  it('tells of damage once, in its status too, and does not call the pass complete', async () => {
    const group = await loaded();
    const { scrubber, findings, warnings } = watch(group, 'n2');
    const path = group
      .member('n2')
      .disk.files()
      .find((file) => file.includes('/commitlog/'))!;
    group.member('n2').disk.flip(path, 5_000, 3);
    scrubber.scrubNow(16 * 1024 * 1024);
    await group.until('the pass to end', () => !scrubber.status().isRunning);
    expect(findings).to.have.length(1);
    expect(findings[0]).to.include({ kind: 'log', file: path });
    const { faults, lastPass } = scrubber.status();
    expect(faults).to.have.length(1);
    expect(faults[0]).to.include({ kind: 'log', file: path });
    expect(lastPass).to.equal(0);
    expect(warnings[0]).to.include(path);
    await scrubber.stop();
  });

  it('writes wrong units anew, as the records say, and tells of them', async () => {
    const group = await loaded();
    const { disk } = group.member('n1');
    const files = ['/index/', '/consumequeue/'].map((part) => disk.files().find((file) => file.includes(part))!);
    const before = files.map((file) => disk.bytes(file));
    for (const file of files) disk.flip(file, 1_000, 2);
    const { scrubber, findings } = watch(group, 'n1', { bytesPerSecond: 16 * 1024 * 1024 });
    for (const [round, count] of [2, 0].entries()) {
      findings.length = 0;
      scrubber.scrubNow(null);
      await group.until('the pass to end', () => !scrubber.status().isRunning);
      expect(findings.map(({ file }) => file).sort(), `round ${round}`).to.deep.equal(
        [...files].sort().slice(0, count),
      );
      for (const { reason } of findings) expect(reason).to.include('it was written anew');
    }
    expect(files.map((file) => disk.bytes(file))).to.deep.equal(before);
    expect(scrubber.status()).to.include({ pass: 2, lastPass: 2 });
    await scrubber.stop();
  });

  it('finds a key index that is not what the log says, in closed segments and in the newest one', async () => {
    const group = await Group.started({ nodes: 1, keyIndex: { slots: 100, entriesMax: 200 } });
    await group.createTopic('T');
    for (let number = 0; number < 40; number++) {
      const keys = Array.from({ length: 5 }, (_, at) => `k${number}-${at}`);
      const body = Buffer.alloc(4_000, 'x');
      const records = encodeMessageRecord({ topic: 'T', queueId: 0, body, keys, bornAtMs: 1 });
      const done = group.append('n0', { topic: 'T', queueId: 0, producerId: '', sequence: 0, records });
      await group.run(20);
      await done;
    }
    const { disk } = group.member('n0');
    const files = disk.files().filter((file) => file.includes('/keyindex/'));
    expect(files.length).to.be.greaterThan(2);
    const { scrubber, findings } = watch(group, 'n0', { bytesPerSecond: 16 * 1024 * 1024, askOthers: async () => [] });
    const pass = async (): Promise<Finding[]> => {
      findings.length = 0;
      scrubber.scrubNow(null);
      await group.until('the pass to end', () => !scrubber.status().isRunning);
      return [...findings];
    };
    expect(await pass()).to.deep.equal([]);
    for (const file of [files[0]!, files.at(-1)!]) {
      const whole = disk.bytes(file);
      // Behind header and slots lie the entries.
      const at = 40 + 100 * 4 + 20 + 4;
      disk.flip(file, at, 1);
      const found = await pass();
      expect(found.map((finding) => [finding.kind, finding.file])).to.deep.equal([['derived', file]]);
      // It is not asked any more, and made anew; that of the newest segment once that is closed.
      const { index } = group.replica('n0').broker.keys;
      expect(index!.missing).to.have.length(1);
      if (file === files.at(-1)) continue;
      await group.until('it to be made anew', () => index!.missing.length === 0);
      expect(disk.bytes(file)).to.deep.equal(whole);
    }
    expect(await pass()).to.deep.equal([]);
    await scrubber.stop();
  });

  it('takes what is held back for no message of its queue, and finds it by no key', async () => {
    const layout = { slots: 100, entriesMax: 200 };
    const group = await Group.started({ nodes: 1, keyIndex: layout });
    await group.createTopic('T');
    const send = async (body: string, flags: number, properties: Readonly<Record<string, string>> = {}) => {
      const { broker } = group.replica('n0');
      const message = { topic: 'T', queueId: 0, body: Buffer.from(body), keys: ['k'], uniqueKey: body, bornAtMs: 1 };
      const request = { topic: 'T', queueId: 0, flags, records: encodeMessageRecord({ ...message, properties }) };
      const before = broker.appliedIndex;
      group.replica('n0').store(request, group.clock.monotonicMs() + 1_000, () => {});
      await group.until('it to be applied', () => broker.appliedIndex > before);
    };
    await send('shown', 0);
    const firstIndex = group.replica('n0').broker.appliedIndex;
    await send('half', recordFlag.parked, { [brokerProperty.transaction]: 'true' });
    const seen = (): string[] => group.bodies('n0', 'T', 0);
    expect(seen()).to.deep.equal(['shown']);
    for (let number = 0; number < 40; number++) await send(`${number}`.padEnd(8_000, 'x'), 0);
    const files = group
      .member('n0')
      .disk.files()
      .filter((file) => file.includes('/keyindex/'));
    expect(files.length, 'the segment is closed').to.be.greaterThan(1);
    const { scrubber, findings } = watch(group, 'n0', { bytesPerSecond: 16 * 1024 * 1024, askOthers: async () => [] });
    scrubber.scrubNow(null);
    await group.until('the pass to end', () => !scrubber.status().isRunning);
    expect(findings).to.deep.equal([]);
    expect(seen()[0]).to.equal('shown');
    const { keys } = group.replica('n0').broker;
    const asked = {
      topic: 'T',
      by: 'key',
      beginMs: 0,
      endMs: Number.MAX_SAFE_INTEGER,
      countMax: 100,
      cursor: '',
    } as const;
    const found = () => keys.query({ ...asked, key: 'k', bytesMax: 1_048_576 }).count;
    expect(found()).to.equal(41);
    keys.index!.lost(physicalOffset(0), 'a test says so');
    while (await keys.index!.build());
    expect(found(), 'in an index that was made anew').to.equal(41);
    // Its place is known all the same: by what a damaged unit or entry says.
    const log = group.member('n0').log!;
    const half = log.locate(logIndex(firstIndex + 1)).position;
    expect(keys.byId('T', messageIdOf(physicalOffset(half + RECORD_HEADER_BYTES)))).to.have.length(0);
    const units = group
      .member('n0')
      .disk.files()
      .find((file) => file.includes('/consumequeue/'))!;
    const unit = Buffer.alloc(12);
    unit.writeBigUInt64BE(BigInt(half + RECORD_HEADER_BYTES), 0);
    unit.writeUInt32BE(log.locate(logIndex(firstIndex + 1)).sizeBytes - RECORD_HEADER_BYTES, 8);
    group.member('n0').disk.corrupt(units, 0, unit);
    expect(seen).to.throw('the log holds something else there');
    await scrubber.stop();
  });

  it('begins by itself: soon after the first start, then once an interval', async () => {
    const group = await loaded(50);
    const options = { intervalMs: 300_000, bytesPerSecond: 16 * 1024 * 1024 };
    const { scrubber } = watch(group, 'n0', options);
    scrubber.start();
    const later = async (ms: number): Promise<void> => {
      group.clock.advance(ms);
      await group.run(200);
    };
    await later(50_000);
    expect(scrubber.status()).to.include({ pass: 0, isRunning: false });
    await later(15_000);
    expect(scrubber.status()).to.include({ pass: 1, lastPass: 1 });
    await later(200_000);
    expect(scrubber.status().pass).to.equal(1);
    await later(100_000);
    expect(scrubber.status()).to.include({ pass: 2, lastPass: 2 });
    await scrubber.stop();
    // Another process remembers when the last one began.
    const { scrubber: next } = watch(group, 'n0', options);
    next.start();
    await later(200_000);
    expect(next.status()).to.include({ pass: 2, lastPass: 2 });
    await later(100_000);
    expect(next.status()).to.include({ pass: 3, lastPass: 3 });
    await next.stop();
  });

  it('begins anew when it is asked again, and only the later pass counts', async () => {
    const group = await loaded();
    const { scrubber, events } = watch(group, 'n0', { bytesPerSecond: 64 * 1024 });
    scrubber.scrubNow(null);
    await group.run(500);
    expect(scrubber.status().isRunning).to.equal(true);
    expect(scrubber.scrubNow(16 * 1024 * 1024)).to.equal(2);
    await group.until('the pass to end', () => !scrubber.status().isRunning);
    expect(scrubber.status()).to.include({ pass: 2, lastPass: 2 });
    expect(events).to.have.length(1);
    const ended = scrubber.stop();
    await scrubber.stop();
    await ended;
    expect(() => scrubber.scrubNow(null)).to.throw('shutting down');
  });

  it('ends at once when it is stopped', async () => {
    const group = await loaded();
    const { scrubber, warnings } = watch(group, 'n0', { bytesPerSecond: 4_096 });
    scrubber.scrubNow(null);
    await group.run(20);
    await scrubber.stop();
    expect(warnings).to.deep.equal([]);
  });

  it('compares itself with the others, also with one that lags', async () => {
    const group = await loaded(60);
    const lie = (copy: OtherCopy): OtherCopy => {
      return { ...copy, digest: copy.digest && { ...copy.digest, chainCrc: copy.digest.chainCrc ^ 1 } };
    };
    for (const lag of [0, 20]) {
      const { scrubber, findings } = watch(group, 'n0', {
        bytesPerSecond: 16 * 1024 * 1024,
        askOthers: async (index) =>
          ['n1', 'n2'].map((id) => {
            const top = group.replica(id).status().appliedIndex - lag;
            const copy = { ...copyOf(group, id, index), appliedIndex: logIndex(top) };
            const seen = index > top ? { ...copy, digest: null } : copy;
            return id === 'n2' ? lie(seen) : seen;
          }),
      });
      scrubber.scrubNow(null);
      await group.until('the pass to end', () => !scrubber.status().isRunning);
      expect(findings).to.have.length(1);
      const top = group.replica('n0').status().appliedIndex - lag;
      expect(findings[0]).to.include({ kind: 'divergence', index: top });
      expect(findings[0]!.reason).to.match(/^the log up to record \d+ is [0-9a-f]{8} here and [0-9a-f]{8} on n2$/);
      await scrubber.stop();
    }
  });
});
