import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import { Alarm } from '../../src/replica/alarm.ts';
import { NodeClock } from './node_clock.ts';

function setUp(): { clock: ManualClock; node: NodeClock; alarm: Alarm; rings: number[]; late: number[] } {
  const clock = new ManualClock();
  const node = new NodeClock(clock);
  const rings: number[] = [];
  const late: number[] = [];
  const ring = (): void => void rings.push(clock.monotonicMs());
  return { clock, node, alarm: new Alarm(node, ring, (lateMs) => late.push(lateMs)), rings, late };
}

describe('replica: the alarm', () => {
  it('rings when it is due, and an earlier time takes the place of a later one', () => {
    const { clock, alarm, rings } = setUp();
    alarm.set(100);
    alarm.set(50);
    alarm.set(200);
    clock.advance(49);
    expect(rings).to.deep.equal([]);
    clock.advance(200);
    expect(rings).to.deep.equal([50]);
    alarm.set(300);
    alarm.cancel();
    clock.advance(200);
    expect(rings).to.deep.equal([50]);
  });

  it('tells first by how much it was held up, and rings after what has arrived', () => {
    const { clock, node, alarm, rings, late } = setUp();
    alarm.set(100);
    node.stall(400);
    clock.advance(200);
    node.arrive(() => {
      expect(late).to.deep.equal([300]);
      expect(rings).to.deep.equal([]);
    });
    clock.advance(300);
    expect(late).to.deep.equal([300]);
    expect(rings).to.have.length(1);
  });

  it('rings at once for what is overdue when it is set, which nothing has held up', () => {
    const { clock, alarm, rings, late } = setUp();
    clock.advance(1_000);
    alarm.set(10);
    clock.advance(1);
    expect(rings).to.deep.equal([1_000]);
    expect(late).to.deep.equal([]);
  });
});
