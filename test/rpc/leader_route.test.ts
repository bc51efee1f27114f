// The way of a call to the leader: order, bounds, what is unknown and what certainly had no effect.
import { EventEmitter } from 'node:events';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { expect } from 'chai';
import { ManualClock } from '../../src/base/clock.ts';
import type { TLedgerError } from '../../src/base/errors.ts';
import type { Replica } from '../../src/replica/replica.ts';
import type { ForwardingLink } from '../../src/rpc/forwarder.ts';
import type { LeaderCall } from '../../src/rpc/leader_calls.ts';
import { LeaderRoute } from '../../src/rpc/leader_route.ts';
import { Parking } from '../../src/rpc/parking.ts';
import type { ForwardCall, ForwardRequest, ForwardResponse } from '../../src/wire/peer_messages.ts';

/** A stream to another node that remembers what it was sent. */
class FakeStream extends EventEmitter {
  readonly frames: ForwardCall[][] = [];
  isCancelled = false;

  readonly hurried: string[] = [];

  write({ calls, hurried }: ForwardRequest): boolean {
    if (calls.length > 0) this.frames.push([...calls]);
    this.hurried.push(...hurried);
    return true;
  }

  cancel(): void {
    this.isCancelled = true;
  }

  answer(...texts: string[]): void {
    const calls = this.frames.flat();
    const results = texts.map((text, at) => ({
      id: calls[at]!.id,
      response: Buffer.from(text),
      errorCode: '',
      errorMessage: '',
    }));
    this.emit('data', { results } satisfies ForwardResponse);
  }
}

/** What the route sees of its replica and of the links. */
class Fixture {
  readonly clock = new ManualClock();
  readonly streams: FakeStream[] = [];
  readonly local: string[] = [];
  isLeader = false;
  leaderId: string | null = null;
  readonly up = new Set<string>();
  /** Of the leader: another one has a link of its own. */
  address = 'here';
  readonly #listeners: (() => void)[] = [];
  readonly route: LeaderRoute;

  constructor() {
    const replica = {
      self: this,
      get isLeader() {
        return this.self.isLeader;
      },
      get leaderId() {
        return this.self.leaderId;
      },
      onChange: (listener: () => void) => {
        this.#listeners.push(listener);
        return () => {};
      },
    };
    const links = new Map<string, ForwardingLink>();
    const linkTo = (nodeId: string): ForwardingLink => {
      const { up, streams } = this;
      const known = links.get(`${nodeId} ${this.address}`);
      if (known !== undefined) return known;
      const link: ForwardingLink = {
        get isUp() {
          return up.has(nodeId);
        },
        openForward: () => {
          const stream = new FakeStream();
          streams.push(stream);
          return stream as unknown as ClientDuplexStream<ForwardRequest, ForwardResponse>;
        },
      };
      links.set(`${nodeId} ${this.address}`, link);
      return link;
    };
    this.route = new LeaderRoute({ replica: replica as unknown as Replica, linkTo, clock: this.clock });
  }

  /** Another leader is known from now on. */
  led(leaderId: string | null, isReachable = true): void {
    this.leaderId = leaderId;
    this.isLeader = leaderId === 'me';
    if (leaderId !== null && isReachable) this.up.add(leaderId);
    for (const listener of this.#listeners) listener();
  }

  /** Makes a call; its outcome gathers in the returned list. */
  call(text: string, timeoutMs = 5_000, signal?: AbortSignal): string[] {
    const outcome: string[] = [];
    const kind: LeaderCall<string, string> = {
      kind: 'APPEND',
      run: (_replica, request, _deadline, done, onWait) => {
        this.local.push(request);
        if (request.startsWith('wait')) onWait(() => done(null, `${request} hurried`));
        else done(null, `${request} here`);
      },
      encodeRequest: (request) => Buffer.from(request),
      decodeRequest: String,
      encodeResult: (result) => Buffer.from(result),
      decodeResult: String,
    };
    const deadlineMs = this.clock.monotonicMs() + timeoutMs;
    const done = (error: Error | null, result: string | null): void => {
      outcome.push(error === null ? result! : (error as TLedgerError).code);
    };
    this.route.call(kind, text, text.length, deadlineMs, done, signal);
    return outcome;
  }

  sent(stream = 0): string[] {
    return (this.streams[stream]?.frames ?? []).flat().map((call) => call.request.toString());
  }
}

describe('the way to the leader', () => {
  it('is short when this node leads', () => {
    const fixture = new Fixture();
    fixture.led('me');
    expect(fixture.call('a')).to.deep.equal(['a here']);
  });

  it('sends what is submitted in one turn as one frame, in order, and answers each', () => {
    const fixture = new Fixture();
    fixture.led('n1');
    const outcomes = ['a', 'b', 'c'].map((text) => fixture.call(text));
    fixture.clock.advance(1);
    expect(fixture.streams[0]!.frames).to.have.length(1);
    expect(fixture.sent()).to.deep.equal(['a', 'b', 'c']);
    fixture.streams[0]!.answer('A', 'B');
    expect(outcomes).to.deep.equal([['A'], ['B'], []]);
  });

  it('hurries a call whose caller waits no longer, here and on another node', () => {
    const fixture = new Fixture();
    const callers = Array.from({ length: 3 }, () => new AbortController());
    fixture.led('me');
    const here = fixture.call('wait', 5_000, callers[0]!.signal);
    callers[0]!.abort();
    expect(here).to.deep.equal(['wait hurried']);
    fixture.led('n1');
    const there = fixture.call('a', 5_000, callers[1]!.signal);
    const answered = fixture.call('b', 5_000, callers[2]!.signal);
    fixture.clock.advance(1);
    callers[1]!.abort();
    fixture.clock.advance(1);
    const [{ id }] = fixture.streams[0]!.frames[0] as [ForwardCall];
    expect(fixture.streams[0]!.hurried).to.deep.equal([id]);
    fixture.streams[0]!.answer('A', 'B');
    callers[2]!.abort();
    fixture.clock.advance(1);
    expect([there, answered]).to.deep.equal([['A'], ['B']]);
    expect(fixture.streams[0]!.hurried, 'nothing more').to.deep.equal([id]);
  });

  it('waits in order for a leader, and calls made meanwhile do not overtake', () => {
    const fixture = new Fixture();
    const first = [fixture.call('a'), fixture.call('b')];
    fixture.clock.advance(100);
    fixture.leaderId = 'n1';
    fixture.up.add('n1');
    const third = fixture.call('c');
    fixture.led('n1');
    fixture.clock.advance(1);
    expect(fixture.sent()).to.deep.equal(['a', 'b', 'c']);
    fixture.streams[0]!.answer('A', 'B', 'C');
    expect([...first, third]).to.deep.equal([['A'], ['B'], ['C']]);
  });

  it('waits no longer than a failover takes, and then refuses at once, until there is a leader', () => {
    const fixture = new Fixture();
    const waiting = fixture.call('a');
    fixture.clock.advance(990);
    expect(waiting).to.deep.equal([]);
    fixture.clock.advance(50);
    expect(waiting).to.deep.equal(['NO_LEADER']);
    expect(fixture.call('b')).to.deep.equal(['NO_LEADER']);
    fixture.led('me');
    expect(fixture.call('c')).to.deep.equal(['c here']);
    fixture.led(null);
    fixture.isLeader = false;
    expect(fixture.call('d'), 'a new search begins').to.deep.equal([]);
  });

  it('goes to a leader that moved over its new link, and calls what went over the old one unknown', () => {
    const fixture = new Fixture();
    fixture.led('n1');
    const lost = fixture.call('a');
    fixture.clock.advance(1);
    fixture.address = 'there';
    const arrived = fixture.call('b');
    fixture.clock.advance(1);
    expect(lost).to.deep.equal(['OUTCOME_UNKNOWN']);
    expect(fixture.sent(1)).to.deep.equal(['b']);
    fixture.streams[1]!.answer('B');
    expect(arrived).to.deep.equal(['B']);
  });

  it('calls what was sent unknown when the stream breaks, and what was not, undone', () => {
    const fixture = new Fixture();
    fixture.led('n1');
    const sent = fixture.call('a');
    fixture.clock.advance(1);
    const unsent = fixture.call('b');
    fixture.streams[0]!.emit('error', new Error('gone'));
    expect([sent, unsent]).to.deep.equal([['OUTCOME_UNKNOWN'], ['UNREACHABLE']]);
  });

  it('gives back what went to a leader that is replaced, without waiting for it to answer', () => {
    const fixture = new Fixture();
    fixture.led('n1');
    const stuck = fixture.call('a');
    fixture.clock.advance(1);
    fixture.led('n2');
    expect(stuck).to.deep.equal(['OUTCOME_UNKNOWN']);
    expect(fixture.streams[0]!.isCancelled).to.equal(true);
    fixture.call('b');
    fixture.clock.advance(1);
    expect(fixture.sent(1)).to.deep.equal(['b']);
  });

  it('calls what was sent unknown at its deadline, and ignores an answer that comes later', () => {
    const fixture = new Fixture();
    fixture.led('n1');
    const outcome = fixture.call('a', 300);
    fixture.clock.advance(500);
    expect(outcome).to.deep.equal(['OUTCOME_UNKNOWN']);
    fixture.streams[0]!.answer('late');
    expect(outcome).to.have.length(1);
  });

  it('passes the refusal of the leader on as it is', () => {
    const fixture = new Fixture();
    fixture.led('n1');
    const outcome = fixture.call('a');
    fixture.clock.advance(1);
    const { id } = fixture.streams[0]!.frames[0]![0]!;
    const refusal = { id, response: Buffer.alloc(0), errorCode: 'TOPIC_NOT_FOUND', errorMessage: 'no such topic' };
    fixture.streams[0]!.emit('data', { results: [refusal] });
    expect(outcome).to.deep.equal(['TOPIC_NOT_FOUND']);
  });

  it('refuses everything once it is closed', () => {
    const fixture = new Fixture();
    const waiting = fixture.call('a');
    fixture.route.close();
    expect([waiting, fixture.call('b')]).to.deep.equal([['SHUTTING_DOWN'], ['SHUTTING_DOWN']]);
  });

  it('holds a bounded number of calls on their way', () => {
    const fixture = new Fixture();
    fixture.led('n1');
    const outcomes = Array.from({ length: 8_193 }, () => fixture.call('x'));
    expect(outcomes.filter((outcome) => outcome[0] === 'OVERLOADED')).to.have.length(1);
  });
});

describe('a place to wait for a leader', () => {
  it('keeps its order when a call that goes parks another one', () => {
    const parking = new Parking();
    const gone: string[] = [];
    const park = (name: string, go: () => boolean = () => true): void =>
      parking.park({
        sizeBytes: 1,
        deadlineMs: 100,
        refuse: () => {},
        go: () => {
          gone.push(name);
          return go();
        },
      });
    park('a', () => {
      park('c');
      return true;
    });
    park('b');
    parking.release();
    expect(gone).to.deep.equal(['a', 'b', 'c']);
    expect(parking.length).to.equal(0);
  });

  it('stops at the first call that still cannot go, and tells the late ones', () => {
    const parking = new Parking();
    const refused: string[] = [];
    for (const deadlineMs of [10, 20]) {
      const refuse = (error: TLedgerError): void => void refused.push(`${deadlineMs} ${error.code}`);
      parking.park({ sizeBytes: 1, deadlineMs, refuse, go: () => false });
    }
    parking.release();
    expect(parking.length).to.equal(2);
    parking.expire(15);
    expect(refused).to.deep.equal(['10 NO_LEADER']);
  });
});
