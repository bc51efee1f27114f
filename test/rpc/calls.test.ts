// One call from its start to its end, seen from the handler: what it holds of grpc-js's call, and who is told of its end.
import { EventEmitter } from 'node:events';
import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import { CALL_TIMEOUT_MS_DEFAULT, type CallContext, OpenCall, OpenCalls } from '../../src/rpc/calls.ts';

class FakeCall extends EventEmitter {
  readonly cancelled: boolean;

  constructor(cancelled = false) {
    super();
    this.cancelled = cancelled;
  }

  getDeadline(): number {
    return Number.POSITIVE_INFINITY;
  }
}

describe('rpc: open call', () => {
  const context = (): CallContext => ({ clock: new ManualClock(), calls: new OpenCalls(), report: () => {} });

  it('leaves nothing at its call once it is over, and is counted no more', () => {
    const { calls, ...rest } = context();
    const call = new FakeCall();
    const open = new OpenCall({ calls, ...rest }, call);
    expect([call.listenerCount('cancelled'), calls.count]).to.deep.equal([1, 1]);
    open.close();
    expect([call.listenerCount('cancelled'), calls.count]).to.deep.equal([0, 0]);
  });

  it('is over as soon as its caller cancels, once, and tells all who asked', () => {
    const call = new FakeCall();
    const open = new OpenCall(context(), call);
    const told: string[] = [];
    open.whenOver(() => told.push('first'));
    open.whenOver(() => told.push('second'));
    call.emit('cancelled');
    open.close();
    expect(open.isOver).to.equal(true);
    open.whenOver(() => told.push('late'));
    expect(told).to.deep.equal(['first', 'second', 'late']);
  });

  it('is over from the start when its caller has gone', () => {
    const { calls, ...rest } = context();
    const call = new FakeCall(true);
    const open = new OpenCall({ calls, ...rest }, call);
    expect([open.isOver, calls.count, call.listenerCount('cancelled')]).to.deep.equal([true, 0, 0]);
  });

  it('gives a step the default time where the caller sets no deadline', () => {
    const open = new OpenCall(context(), new FakeCall());
    expect(open.deadlineMs).to.equal(Number.POSITIVE_INFINITY);
    expect(open.stepDeadlineMs).to.equal(CALL_TIMEOUT_MS_DEFAULT);
  });
});
