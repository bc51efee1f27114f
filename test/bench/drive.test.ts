// What a benchmark counts, held against servers whose speed is known.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { drive, type Load, type Request } from '../../src/bench/drive.ts';
import { LatencyHistogram, Meter } from '../../src/bench/meter.ts';
import { WorkingTime } from '../chaos/working_time.ts';

const SIZE = 100;
/** Shorter ones disturb nothing that is measured here. */
const STALL_MS_MIN = 10;

async function measure(
  load: Load,
  request: Request,
  { warmUpMs = 0, durationMs = 300, signal = new AbortController().signal } = {},
) {
  const meter = new Meter();
  await drive({ load, request, meter, sizeBytes: SIZE, warmUpMs, durationMs, signal });
  return meter.figures();
}

/** Answers after 5 ms, but nothing between 100 and 200 ms after it was made. */
function stalling(): Request {
  const [fromMs, untilMs] = [performance.now() + 100, performance.now() + 200];
  return (answered) => {
    const atMs = performance.now();
    const delayMs = atMs >= fromMs && atMs < untilMs ? untilMs - atMs : 5;
    setTimeout(() => answered(null, 1), delayMs);
  };
}

const TRIES_MAX = 10;

/** A test of what is measured in real time: one that failed while the machine stalled is made again. */
function onSteadyMachine(name: string, run: () => Promise<void>): void {
  it(name, async () => {
    for (let tries = 1; ; tries++) {
      const begunMs = performance.now();
      const time = new WorkingTime();
      try {
        return await run();
      } catch (error) {
        const stalledMs = performance.now() - begunMs - time.elapsedMs;
        if (stalledMs < STALL_MS_MIN || tries === TRIES_MAX) throw error;
      } finally {
        time.end();
      }
    }
  });
}

describe('bench: load', () => {
  onSteadyMachine('keeps so many requests under way in a closed loop, and never more', async () => {
    let underWay = 0;
    let most = 0;
    const figures = await measure({ kind: 'closed', inFlight: 4 }, (answered) => {
      most = Math.max(most, ++underWay);
      setTimeout(() => {
        underWay--;
        answered(null, 3);
      }, 5);
    });
    expect(most).to.equal(4);
    expect(underWay).to.equal(0);
    expect(figures.messages % 3).to.equal(0);
    expect(figures.messages).to.be.greaterThan(12);
    expect(figures.megabytesPerSecond).to.be.closeTo((figures.messages * SIZE) / figures.seconds / 1e6, 0.01);
  });

  onSteadyMachine(
    'counts in an open loop what was due while the server stood still; a closed loop omits it',
    async () => {
      const open = await measure({ kind: 'open', requestsPerSecond: 500 }, stalling());
      const closed = await measure({ kind: 'closed', inFlight: 1 }, stalling());
      expect(open.latencyMs.count).to.be.closeTo(500 * open.seconds, 5);
      expect(open.latencyMs.p90, 'a third was due in the stall').to.be.greaterThan(50);
      expect(closed.latencyMs.p90, 'only one was').to.be.lessThan(50);
      expect(closed.latencyMs.max).to.be.greaterThan(50);
    },
  );

  onSteadyMachine('charges an open loop for what it could not send in time itself', async () => {
    const untilMs = performance.now() + 150;
    const figures = await measure({ kind: 'open', requestsPerSecond: 200 }, (answered) => {
      while (performance.now() < untilMs); // The whole process hangs.
      answered(null, 1);
    });
    expect(figures.latencyMs.max).to.be.greaterThan(100);
    expect(figures.latencyMs.p50, 'half of all were due meanwhile').to.be.greaterThan(1);
  });

  onSteadyMachine('leaves out the warm-up', async () => {
    const beganAtMs = performance.now();
    const slowAtFirst: Request = (answered) => {
      setTimeout(() => answered(null, 1), performance.now() - beganAtMs < 50 ? 60 : 2);
    };
    const figures = await measure({ kind: 'closed', inFlight: 1 }, slowAtFirst, { warmUpMs: 100, durationMs: 100 });
    expect(figures.latencyMs.count).to.be.greaterThan(5);
    expect(figures.latencyMs.p50).to.be.lessThan(40);
  });

  onSteadyMachine('counts failures that pass by code, and goes on', async () => {
    let turn = 0;
    const figures = await measure({ kind: 'open', requestsPerSecond: 100 }, (answered) => {
      answered(turn++ % 2 === 0 ? new TLedgerError('NO_LEADER', 'nobody') : null, 1);
    });
    expect(Object.keys(figures.failed)).to.deep.equal(['NO_LEADER']);
    expect(figures.failed.NO_LEADER).to.be.closeTo(figures.messages, 2);
  });

  onSteadyMachine('ends with the first refusal that no repetition can help', async () => {
    const request: Request = (answered) => answered(new TLedgerError('TOPIC_NOT_FOUND', 'gone'), 0);
    const beganAtMs = performance.now();
    const error = await measure({ kind: 'closed', inFlight: 8 }, request, { durationMs: 10_000 }).catch((one) => one);
    expect(error.code).to.equal('TOPIC_NOT_FOUND');
    expect(performance.now() - beganAtMs).to.be.lessThan(2_000);
  });

  onSteadyMachine('ends early when it is interrupted, with what it has measured', async () => {
    const signal = AbortSignal.timeout(100);
    const request: Request = (answered) => setTimeout(() => answered(null, 1), 1);
    const figures = await measure({ kind: 'closed', inFlight: 1 }, request, { durationMs: 10_000, signal });
    expect(figures.messages).to.be.greaterThan(10);
    expect(figures.seconds).to.be.lessThan(2);
  });
});

describe('bench: latencies', () => {
  it('are exact to a thousandth, from a microsecond to an hour', () => {
    for (const ms of [0.001, 0.5, 1, 77.7, 30_000, 3_600_000]) {
      const histogram = new LatencyHistogram();
      histogram.record(ms);
      expect(histogram.percentile(50), `${ms} ms`).to.be.closeTo(ms, ms / 1_000 + 0.001);
    }
  });

  it('are 0 when there are none', () => {
    expect(new LatencyHistogram().latencies()).to.deep.equal({
      ...{ count: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 },
    });
  });

  it('have their percentiles where they belong', () => {
    const histogram = new LatencyHistogram();
    for (let ms = 1; ms <= 1_000; ms++) histogram.record(ms);
    const { p50, p90, p99, max } = histogram.latencies();
    for (const [value, expected] of [
      [p50, 500],
      [p90, 900],
      [p99, 990],
      [max, 1_000],
    ] as const) {
      expect(value).to.be.closeTo(expected, 2);
    }
  });
});
