// A lane by itself, on a replica whose answers the test gives.
import { expect } from 'chai';
import { ManualClock } from '../../../src/base/clock.ts';
import { TLedgerError } from '../../../src/base/errors.ts';
import { Lane } from '../../../src/replica/consuming/lane.ts';
import type { LeaderPort } from '../../../src/replica/consuming/port.ts';
import { acknowledge, popOf } from './consumers.ts';

describe('replica: a lane', () => {
  it('takes what came during a step that failed at once, and not when it next looks at the time', async () => {
    const clock = new ManualClock();
    let fail = (_error: Error): void => {};
    const broker = { topic: () => undefined, tables: { progress: { get: () => undefined } } };
    const ensureGroup = () =>
      new Promise((_resolve, reject) => {
        fail = reject;
      });
    const port = { clock, broker, isServing: true, term: 1, ensureGroup } as unknown as LeaderPort;
    const lane = new Lane(port, 'g', 't', () => {});
    const heard: string[] = [];
    lane.pop(popOf({ waitMs: 60_000 }), 100_000, (error) => heard.push((error as TLedgerError).code));
    clock.advance(0);
    const receipt = { queueId: 0, offset: 0, handle: 1 } as unknown as Parameters<typeof acknowledge>[0];
    lane.settle({ group: 'g', topic: 't', verdicts: [acknowledge(receipt)] }, 100_000, (_error, settled) => {
      heard.push(`done: ${settled?.map(({ isDone }) => isDone).join()}`);
    });
    fail(new TLedgerError('STORAGE_FAILED', 'as asked'));
    for (let turn = 0; turn < 20; turn++) await null;
    clock.advance(0);
    for (let turn = 0; turn < 20; turn++) await null;
    expect(heard).to.deep.equal(['STORAGE_FAILED', 'done: false']);
  });
});
