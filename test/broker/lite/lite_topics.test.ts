import { expect } from 'chai';
import { TLedgerError } from '../../../src/base/errors.ts';
import { type Command, decodeCommand, encodeCommand } from '../../../src/broker/commands.ts';
import { checkLiteName, LiteTable } from '../../../src/broker/lite/lite_table.ts';
import { blankRecord, recordMagic } from '../../../src/format/record.ts';
import { batch, Harness } from '../fixture.ts';

function command(harness: Harness, some: Command): void {
  harness.log.append(blankRecord(recordMagic.command, encodeCommand(some)));
  harness.applyTo();
}

const add = (harness: Harness, lite: string, name = 'P'): void => command(harness, { type: 'add-lite', name, lite });

async function started(): Promise<Harness> {
  const harness = await Harness.start();
  const topic = { name: 'P', queues: 1, createdAtMs: 1, messageType: 'lite' } as const;
  command(harness, { type: 'create-topic', topic });
  return harness;
}

function stateOf({ broker }: Harness) {
  return { lite: [...broker.tables.lite.list('P')], queues: broker.topic('P')?.queues, all: broker.queueCount };
}

describe('broker: lite topics', () => {
  it('carries the command there and back', () => {
    const some = { type: 'add-lite', name: 'P', lite: 'x' } as const;
    expect(decodeCommand(encodeCommand(some))).to.deep.equal(some);
  });

  it('allots queues in the order of the log, new ones when all are taken, and none twice', async () => {
    const harness = await started();
    for (const name of ['b', 'a', 'b', 'c']) add(harness, name);
    add(harness, 'ordinary topics have none', 'T');
    add(harness, 'nobody', 'unknown');
    const lite = [
      ['b', 0],
      ['a', 1],
      ['c', 2],
    ];
    expect(stateOf(harness)).to.deep.equal({ lite, queues: 3, all: 7 });
    expect(harness.broker.tables.lite.count('T')).to.equal(0);
  });

  it('are there again after a crash, from checkpoint and log, with their messages', async () => {
    for (const checkpointAt of [0, 1, 2, 3]) {
      const harness = await started();
      for (const [at, name] of ['a', 'b', 'c'].entries()) {
        if (at === checkpointAt) await harness.broker.checkpoint();
        add(harness, name);
        harness.append(batch([name], { topic: 'P', queueId: at }));
      }
      if (checkpointAt === 3) await harness.broker.checkpoint();
      const before = stateOf(harness);
      await harness.crash(1 + checkpointAt);
      expect(stateOf(harness)).to.deep.equal(before);
      expect(harness.broker.range('P', 2)).to.deep.equal({ queueId: 2, min: 0, max: 1 });
    }
  });

  it('make the same snapshot on every replica', async () => {
    const one = await started();
    for (const name of ['a', 'b', 'c']) add(one, name);
    await one.broker.checkpoint();
    const other = new Harness({ log: one.log.replica() });
    await other.open();
    other.applyTo();
    expect((await one.snapshot()).equals(await other.snapshot())).to.equal(true);
  });

  it('wake whoever waits for any queue of a topic, those to come included', async () => {
    const harness = await started();
    let calls = 0;
    const forget = harness.broker.onAppendToAny('P', () => calls++);
    add(harness, 'a');
    add(harness, 'b');
    expect(calls).to.equal(0);
    harness.append(batch(['x', 'y'], { topic: 'P', queueId: 1 }));
    expect(calls).to.equal(1);
    harness.append(batch(['z']));
    forget();
    harness.append(batch(['x'], { topic: 'P', queueId: 0 }));
    expect(calls).to.equal(1);
  });

  it('go with their parent', () => {
    const table = new LiteTable();
    table.add('P', 'a');
    table.takeChanges(new Map());
    table.forget('P');
    const rows = new Map<string, string | null>();
    table.takeChanges(rows);
    expect([...rows]).to.deep.equal([['l/P/a', null]]);
    expect(table.count('P')).to.equal(0);
  });

  for (const [name, isLegal] of [
    ['a', true],
    ['A-Z_09', true],
    ['x'.repeat(64), true],
    ['x'.repeat(65), false],
    ['', false],
    [' ', false],
    ['a b', false],
    ['a/b', false],
    ['%', false],
    ['ä', false],
  ] as const) {
    it(`${isLegal ? 'may' : 'may not'} be called ${JSON.stringify(name)}`, () => {
      const check = (): void => checkLiteName(name);
      if (isLegal) expect(check).not.to.throw();
      else expect(check).to.throw(TLedgerError).with.property('code', 'ILLEGAL_LITE_TOPIC');
    });
  }
});
