// The leader's end of forwarded calls: frames that the other side takes, calls that wait and whose caller goes.
import { EventEmitter } from 'node:events';
import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import { logIndex } from '../../src/raft/types.ts';
import type { PoppedMessage } from '../../src/replica/consuming/types.ts';
import type { Replica } from '../../src/replica/replica.ts';
import { popCall } from '../../src/rpc/consuming_calls.ts';
import { ForwardService } from '../../src/rpc/forward_service.ts';
import type { ForwardRequest, ForwardResponse } from '../../src/wire/peer_messages.ts';

type PopDone = (error: Error | null, result: readonly PoppedMessage[] | null) => void;

class FakeStream extends EventEmitter {
  readonly frames: ForwardResponse[] = [];
  isEnded = false;

  write(frame: ForwardResponse): boolean {
    this.frames.push(frame);
    return true;
  }

  end(): void {
    this.isEnded = true;
  }
}

class Fixture {
  readonly clock = new ManualClock();
  readonly stream = new FakeStream();
  readonly waiting = new Map<string, PopDone>();
  readonly givenBack: number[] = [];

  constructor() {
    const consuming = {
      pop: ({ attemptId }: { attemptId: string }, _deadlineMs: number, done: PopDone) => {
        this.waiting.set(attemptId, done);
        return () => this.waiting.delete(attemptId);
      },
      giveBack: (_of: object, messages: readonly PoppedMessage[]) => {
        for (const { offset } of messages) this.givenBack.push(offset);
      },
    };
    const service = new ForwardService({ consuming } as unknown as Replica, this.clock, () => {});
    service.serve(this.stream as unknown as Parameters<typeof service.serve>[0]);
  }

  pop(...ids: string[]): void {
    const calls = ids.map((id) => ({
      id,
      kind: 'POP' as const,
      request: popCall.encodeRequest({ attemptId: id } as Parameters<typeof popCall.encodeRequest>[0]),
      timeoutMs: 1_000,
    }));
    this.stream.emit('data', { calls, hurried: [] } satisfies ForwardRequest);
  }

  answer(id: string, ...records: Buffer[]): void {
    const done = this.waiting.get(id)!;
    this.waiting.delete(id);
    done(
      null,
      records.map((record, offset) => ({ queueId: 0, offset, handle: logIndex(1), attempt: 1, record })),
    );
  }

  /** How many messages each answered call got. */
  answers(): Record<string, number> {
    this.clock.advance(1);
    const results = this.stream.frames.flatMap((frame) => frame.results);
    return Object.fromEntries(results.map(({ id, response }) => [id, popCall.decodeResult(response).length]));
  }
}

describe('the leader that calls are forwarded to', () => {
  it('answers calls of one turn together, in frames that the other side takes', () => {
    const fixture = new Fixture();
    const ids = ['1', '2', '3', '4'];
    fixture.pop(...ids);
    fixture.answer('1');
    fixture.answer('2');
    fixture.answer('3', Buffer.alloc(3_000_000));
    fixture.answer('4', Buffer.alloc(4_200_000), Buffer.alloc(1_000));
    expect(fixture.answers()).to.deep.equal({ 1: 0, 2: 0, 3: 1, 4: 2 });
    expect(fixture.stream.frames.map(({ results }) => results.length)).to.deep.equal([2, 1, 1]);
  });

  it('answers a call that waits at once when its caller has no more time', () => {
    const fixture = new Fixture();
    fixture.pop('1', '2');
    fixture.stream.emit('data', { calls: [], hurried: ['2', '7'] });
    expect(fixture.answers()).to.deep.equal({ 2: 0 });
    expect([...fixture.waiting.keys()]).to.deep.equal(['1']);
  });

  for (const event of ['end', 'cancelled', 'error']) {
    it(`lets nothing wait for a caller that is gone (${event}), and takes back what was handed to it`, () => {
      const fixture = new Fixture();
      fixture.pop('1', '2');
      const late = fixture.waiting.get('2')!;
      fixture.waiting.delete('2');
      fixture.stream.emit(event, new Error('gone'));
      expect(fixture.waiting.size, 'waits').to.equal(0);
      late(null, [{ queueId: 0, offset: 9, handle: logIndex(1), attempt: 1, record: Buffer.alloc(1) }]);
      expect(fixture.givenBack).to.deep.equal([9]);
      expect(fixture.answers()).to.deep.equal({});
    });
  }
});
