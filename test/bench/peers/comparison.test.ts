// What a comparison makes of what it measures: its rows, its turns, its medians and its verdicts.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Goal, isMet } from '../goals.ts';
import { BareServer } from './bare_server.ts';
import {
  type Contender,
  type Measured,
  missingPrograms,
  Processes,
  type Shape,
  systems,
  takesPart,
} from './contender.ts';
import { Etcd } from './etcd.ts';
import { Nats } from './nats.ts';
import { Prototype } from './prototype.ts';
import { Rabbit } from './rabbit.ts';
import { type Row, ratedBy, runRounds } from './rounds.ts';
import { shapesOf } from './shapes.ts';
import { TLedger } from './tledger.ts';
import { goalsOf, machineText, middlesOf, rowsTable } from './verdicts.ts';

const measured = (messagesPerSecond: number, p50Ms = 1, p99Ms = 2, failures = 0): Measured => {
  return { messagesPerSecond, p50Ms, p99Ms, failures };
};

function row(shape: string, system: string, ...rates: number[]): Row {
  return { shape, system, flush: 'fsync', rounds: rates.map((rate) => measured(rate)) };
}

/** Notes its turns and its end; has no shapes but those of `kinds`. */
class Fake implements Contender {
  readonly flush = 'never';
  pids: readonly number[];
  readonly name: string;
  readonly #turns: string[];
  readonly #kinds: readonly Shape['kind'][];

  constructor(name: string, turns: string[], kinds: readonly Shape['kind'][], pids: readonly number[] = []) {
    [this.name, this.#turns, this.#kinds, this.pids] = [name, turns, kinds, pids];
  }

  programsFor(): Readonly<Record<string, string>> {
    return {};
  }

  async start(): Promise<void> {}

  has({ kind }: Shape): boolean {
    return this.#kinds.includes(kind);
  }

  async run({ name, ratePerSecond }: Shape): Promise<Measured> {
    this.#turns.push(`${this.name} ${name}${ratePerSecond === undefined ? '' : ` at ${ratePerSecond}`}`);
    return measured(1_000 + this.#turns.length);
  }

  async empty(): Promise<void> {
    this.#turns.push(`${this.name} empties`);
  }

  async stop(): Promise<void> {
    this.#turns.push(`${this.name} stops`);
    this.pids = [];
  }
}

describe('bench: comparison', () => {
  const options = { seconds: 2, sizeBytes: 512 };

  it('has every row of the given size and length, if nothing else is wanted', () => {
    const shapes = shapesOf(options);
    expect(new Set(shapes.map(({ name }) => name)).size).to.equal(shapes.length);
    expect(new Set(shapes.map(({ durationMs }) => durationMs))).to.deep.equal(new Set([2_000]));
    const sizes = Object.fromEntries(shapes.map(({ name, sizeBytes }) => [name, sizeBytes]));
    expect(sizes).to.include({ 'singles-1': 512, 'frames-100b': 100, 'frames-16k': 16_384 });
  });

  it('has the rows that README names', () => {
    const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8');
    const table = readme.slice(
      readme.indexOf('| row | who | what is measured |'),
      readme.indexOf('`npm run bench:width'),
    );
    const namedIn = (row: RegExp) => [...table.matchAll(row)].flatMap((found) => found[1]!.match(/[a-z0-9-]+/g)).sort();
    const sorted = (shapes: readonly Shape[]) => shapes.map(({ name }) => name).sort();
    const shapes = shapesOf(options);
    expect(namedIn(/^\| (`.*?`) \|/gm)).to.deep.equal(sorted(shapes));
    expect(namedIn(/^\| (`.*?`) \| TLedger, alone \|/gm)).to.deep.equal(sorted(shapes.filter((one) => one.isAlone)));
  });

  it('brings the row along that another one goes by, and refuses what there is not', () => {
    const names = shapesOf({ ...options, only: ['consume', 'open-frames'] }).map(({ name }) => name);
    expect(names).to.deep.equal(['peak-frames', 'open-frames', 'consume']);
    expect(() => shapesOf({ ...options, only: ['frames-7'] })).to.throw(/--only frames-7: there are singles-1, /);
  });

  it('names the Debian package of what is missing, once, and only for rows that need it', () => {
    const contenders = [new TLedger('sync'), new Etcd(), new Rabbit(), new Nats()];
    const unary = shapesOf({ ...options, only: ['unary-128'] });
    expect(missingPrograms(contenders, unary, () => false)).to.deep.equal([
      "h2load is missing: Debian's package nghttp2-client has it",
      "etcd is missing: Debian's package etcd-server has it",
      "rabbitmq-server is missing: Debian's package rabbitmq-server has it",
      "epmd is missing: Debian's package erlang-base has it",
      "nats-server is missing: Debian's package nats-server has it",
    ]);
    expect(missingPrograms(contenders, unary, (program) => program !== 'etcd')).to.have.length(1);
    const singles = shapesOf({ ...options, only: ['singles-1'] });
    expect(missingPrograms([new TLedger('sync')], singles, () => false)).to.deep.equal([]);
  });

  it('asks each system for what it has only', () => {
    const singles = ['singles-1', 'singles-128', 'singles-1024'];
    const shapes = shapesOf(options);
    const rowsOf = (one: Contender) => shapes.filter((shape) => takesPart(one, shape)).map(({ name }) => name);
    expect(rowsOf(new TLedger('sync'))).to.have.length(shapes.length);
    expect(rowsOf(new Nats())).to.deep.equal(singles);
    expect(rowsOf(new Rabbit())).to.deep.equal(singles);
    expect(rowsOf(new Etcd())).to.deep.equal([...singles, 'unary-1', 'unary-128']);
    expect(rowsOf(new BareServer())).to.deep.equal(['unary-1', 'unary-128']);
    const frames = ['frames-64', 'frames-256', 'frames-100b', 'frames-16k'];
    expect(rowsOf(new Prototype('.'))).to.deep.equal([...singles, ...frames]);
  });

  it('takes turns, then leaves TLedger alone, and goes by half of what was reached so far', async () => {
    const turns: string[] = [];
    const contenders = [
      new Fake(systems.tledger, turns, ['frames', 'consume'], [process.pid]),
      new Fake(systems.prototype, turns, ['frames'], [process.pid, process.pid]),
    ];
    const shapes = shapesOf({ ...options, only: ['open-frames', 'consume', 'frames-256'] });
    const told: string[] = [];
    const { rows, footprints, unsettled } = await runRounds(contenders, shapes, 2, {
      before: async () => {
        turns.push('settled');
        return turns.length > 1;
      },
      onMeasured: ({ round, system, shape }) => told.push(`${round} ${system} ${shape.name}`),
    });
    const turn = (system: string, shape: string) => ['settled', `${system} ${shape}`, `${system} empties`];
    // Each run reaches a thousand and the notes so far: TLedger's peak-frames were the fifteenth and the twenty-fourth.
    expect(turns).to.deep.equal([
      ...turn('TLedger', 'frames-256'),
      ...turn('bare prototype', 'frames-256'),
      ...turn('bare prototype', 'frames-256'),
      ...turn('TLedger', 'frames-256'),
      'bare prototype stops',
      ...turn('TLedger', 'peak-frames'),
      ...turn('TLedger', 'open-frames at 508'),
      ...turn('TLedger', 'consume'),
      ...turn('TLedger', 'peak-frames'),
      ...turn('TLedger', 'open-frames at 510'),
      ...turn('TLedger', 'consume'),
    ]);
    expect(told).to.have.length(10);
    expect(unsettled).to.equal(1);
    expect(told.slice(2, 5)).to.deep.equal([
      '2 bare prototype frames-256',
      '2 TLedger frames-256',
      '1 TLedger peak-frames',
    ]);
    const own = rows.filter(({ system }) => system === systems.tledger);
    expect(own.map((one) => [one.shape, ...one.rounds.map((two) => two.messagesPerSecond)])).to.deep.equal([
      ['frames-256', 1_002, 1_011],
      ['peak-frames', 1_015, 1_024],
      ['open-frames', 1_018, 1_027],
      ['consume', 1_021, 1_030],
    ]);
    expect(footprints.map(({ system, memoryMegabytes }) => [system, memoryMegabytes.length])).to.deep.equal([
      [systems.tledger, 1],
      [systems.prototype, 2],
    ]);
    for (const { memoryMegabytes } of footprints) expect(Math.min(...memoryMegabytes)).to.be.greaterThan(10);
  });

  it('does not guess the peak that a row goes by', () => {
    const [shape] = shapesOf({ ...options, only: ['open-singles'] }).filter(({ halfOf }) => halfOf !== undefined);
    expect(() => ratedBy(shape!, [row('peak-singles', systems.etcd, 5)])).to.throw(/which was not measured/);
  });

  it('compares medians, not the best rounds', () => {
    const middles = middlesOf([
      row('singles-128', systems.tledger, 90, 30, 1_000),
      row('singles-128', systems.nats, 60, 61, 59),
      row('unary-128', systems.etcd, 7),
    ]);
    expect(middles.map((one) => one.messagesPerSecond)).to.deep.equal([90, 60, 7]);
    expect(middles.map((one) => one.tledgerRatio)).to.deep.equal([1, 1.5, null]);
    expect(rowsTable(middles)).to.match(/NATS JetStream R3 │ +60 │ +1.00 │ +2.00 │ +x 1.5 │ fsync/);
  });

  const verdictsOf = (rows: Row[], memoryMegabytes: number[] = []): Record<string, string> => {
    const footprints = [{ system: systems.tledger, idleCpuPercent: null, idleCpuPercentMost: null, memoryMegabytes }];
    const text = (goal: Goal): string => {
      const verdict = goal.least === undefined && goal.most === undefined ? [] : [isMet(goal) ? 'met' : 'missed'];
      return [goal.value, ...verdict].join(' ');
    };
    return Object.fromEntries(goalsOf({ rows, footprints }).map((goal) => [goal.what, text(goal)]));
  };

  it('holds frames against the prototype and against the best that others reached in any shape', () => {
    const rows = [
      row('frames-256', systems.tledger, 150),
      row('frames-256', systems.prototype, 200),
      row('singles-128', systems.nats, 40),
      row('singles-1024', systems.nats, 50),
      row('unary-128', systems.etcd, 31),
    ];
    expect(verdictsOf(rows)).to.deep.include({
      'frames-256': '150',
      '  of the bare prototype': '0.75 met',
      "  of NATS's best": '3 met',
      "  of etcd's best": '4.84 missed',
    });
  });

  for (const [what, rows, verdict] of [
    ['  of NATS', [row('singles-128', systems.tledger, 129), row('singles-128', systems.nats, 100)], '1.29 missed'],
    ['  of etcd', [row('unary-128', systems.tledger, 130), row('unary-128', systems.etcd, 100)], '1.3 met'],
    [
      'unary-spread of unary-128',
      [row('unary-spread', systems.tledger, 110), row('unary-128', systems.tledger, 100)],
      '1.1 met',
    ],
    ['singles-1: p50', [row('singles-1', systems.tledger, 9)], '1 met'],
    ["  of etcd's", [row('singles-1', systems.tledger, 9), row('singles-1', systems.etcd, 1)], '1 met'],
    ["  of etcd's", [row('unary-1', systems.tledger, 9), row('unary-1', systems.etcd, 1)], '1 met'],
    [
      '  of the bare gRPC server',
      [row('unary-128', systems.tledger, 1), row('unary-128', systems.bareServer, 2)],
      '0.5',
    ],
    ['open-frames: p99', [row('open-frames', systems.tledger, 9)], '2 met'],
    ['consume', [row('consume', systems.tledger, 299_999)], '299999 missed'],
    ['end-to-end: p50', [row('end-to-end', systems.tledger, 1)], '1 met'],
  ] as const) {
    it(`finds for ${what.trim()} that it is ${verdict}`, () => {
      expect(verdictsOf([...rows])).to.include({ [what]: verdict });
    });
  }

  it('says nothing of what was not measured, and tells memory and failures', () => {
    const failing = { ...row('consume', systems.tledger), rounds: [measured(400_000, 0, 0, 3), measured(1, 0, 0, 4)] };
    expect(verdictsOf([failing], [400, 401])).to.deep.equal({
      consume: '200001 missed',
      'most memory of node 0': '400 met',
      'most memory of node 1': '401 missed',
      'requests that failed': '7 missed',
    });
  });

  it('tells who else used the machine', () => {
    const footprints = [
      { system: 'etcd', idleCpuPercent: 2.7, idleCpuPercentMost: 4.6, memoryMegabytes: [181, 177] },
      { system: 'NATS', idleCpuPercent: 0, idleCpuPercentMost: 0.8, memoryMegabytes: [43] },
    ];
    expect(machineText({ footprints, othersCpuPercent: 52.6, unsettled: 2 })).to.equal(
      [
        'of one core while others were measured: etcd 2.7 % (most 4.6 %), NATS 0 % (most 0.8 %)',
        'most memory of each process, MB: etcd 181 177, NATS 43',
        'of the machine, processes of others took 52.6 %',
        'measurements that began while a system still worked on what came before: 2',
      ].join('\n'),
    );
    const alone = [{ system: 'NATS', idleCpuPercent: null, idleCpuPercentMost: null, memoryMegabytes: [43] }];
    expect(machineText({ footprints: alone, othersCpuPercent: 0, unsettled: 0 })).to.match(/^most memory of each/);
  });

  it('ends what it started for everybody who asks, and then has no processes', async () => {
    const processes = new Processes();
    const directory = mkdtempSync(join(tmpdir(), 'tledger-contender-'));
    try {
      for (const name of ['a', 'b']) processes.start('sleep', ['60'], directory, name);
      const { pids } = processes;
      const isRunning = (pid: number): boolean => existsSync(`/proc/${pid}`);
      expect(pids.filter(isRunning)).to.have.length(2);
      void processes.stop();
      await processes.stop();
      expect(pids.filter(isRunning)).to.deep.equal([]);
      expect(processes.pids).to.deep.equal([]);
      await processes.stop();
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
