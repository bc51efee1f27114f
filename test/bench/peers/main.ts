// TLedger beside other systems on the same machine: `npm run bench:peers -- [--rounds 5] [--seconds 4] [--size 1024]
// [--peers nats,etcd,rabbitmq] [--shapes name,…] [--flush sync] [--prototype DIR] [--report reports/peers.json]`. Three nodes of each
// on loopback, all started by this script with data in a temporary directory, all running at once; loads come in turn, A B C
// A B C, so that what else the machine does hits all alike. Medians of the rounds, and how many times faster TLedger is.
// Nothing is installed: what is missing is named, with its Debian package (exit code 2).
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { median } from '../../../src/server/demo/gap_meter.ts';
import { machineNow } from '../machine.ts';
import { type Contender, type Measured, pathOf, type Shape } from './contender.ts';
import { Etcd } from './etcd.ts';
import { Nats } from './nats.ts';
import { Prototype } from './prototype.ts';
import { Rabbit } from './rabbit.ts';
import { TLedger } from './tledger.ts';

const WARM_UP_MS = 1_500;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    size: { type: 'string', default: '1024' },
    peers: { type: 'string', default: 'nats,etcd,rabbitmq' },
    shapes: { type: 'string' },
    flush: { type: 'string', default: 'sync' },
    prototype: { type: 'string', default: process.env.TLEDGER_PROTOTYPE ?? '' },
    report: { type: 'string', default: 'reports/peers.json' },
  },
});

const common = { sizeBytes: Number(values.size), warmUpMs: WARM_UP_MS, durationMs: Number(values.seconds) * 1_000 };
const all: readonly Shape[] = [
  ...[1, 128, 1_024].map((inFlight) => ({
    ...({ name: `singles-${inFlight}`, kind: 'singles', inFlight, batch: 1 } as const),
    ...common,
  })),
  ...[64, 256].map((batch) => ({
    ...({ name: `frames-${batch}`, kind: 'frames', inFlight: 16, batch } as const),
    ...common,
  })),
  { name: 'unary-128', kind: 'unary', inFlight: 128, batch: 1, ...common },
];

const known: Readonly<Record<string, () => Contender>> = {
  nats: () => new Nats(),
  etcd: () => new Etcd(),
  rabbitmq: () => new Rabbit(),
};

/** @throws Error naming what is not known. */
function chosen(): { contenders: Contender[]; shapes: readonly Shape[] } {
  if (values.flush !== 'sync' && values.flush !== 'async') throw new Error('--flush sync or async');
  const names = values.peers.split(',').filter((name) => name !== '');
  const stranger = names.find((name) => !Object.hasOwn(known, name));
  if (stranger !== undefined) throw new Error(`--peers ${stranger}: there are ${Object.keys(known).join(', ')}`);
  const wanted = values.shapes?.split(',') ?? all.map(({ name }) => name);
  const unknown = wanted.find((name) => all.every((shape) => shape.name !== name));
  if (unknown !== undefined)
    throw new Error(`--shapes ${unknown}: there are ${all.map(({ name }) => name).join(', ')}`);
  return {
    contenders: [
      new TLedger(values.flush),
      ...names.map((name) => known[name]!()),
      ...(values.prototype === '' ? [] : [new Prototype(values.prototype)]),
    ],
    shapes: all.filter(({ name }) => wanted.includes(name)),
  };
}

interface Row {
  readonly shape: string;
  readonly system: string;
  readonly flush: string;
  readonly rounds: Measured[];
}

function middle(rows: readonly Measured[], pick: (one: Measured) => number): number {
  return median(rows.map(pick)) ?? 0;
}

async function runAll(contenders: readonly Contender[], shapes: readonly Shape[]): Promise<Row[]> {
  const rows = new Map<string, Row>();
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const shape of shapes) {
      for (const contender of contenders) {
        const measured = await contender.run(shape);
        if (measured === undefined) continue;
        const { name, flush } = contender;
        const key = `${shape.name} ${name}`;
        if (!rows.has(key)) rows.set(key, { shape: shape.name, system: name, flush, rounds: [] });
        rows.get(key)!.rounds.push(measured);
        console.error(`round ${round}  ${shape.name.padEnd(14)} ${name.padEnd(20)} ${measured.messagesPerSecond}/s`);
      }
    }
  }
  return shapes.flatMap(({ name }) => [...rows.values()].filter(({ shape }) => shape === name));
}

/** TLedger's rate as a multiple of each row's, from the medians. */
function documentOf(rows: readonly Row[]) {
  const own = new Map(rows.filter(({ system }) => system === 'TLedger').map((row) => [row.shape, row]));
  return rows.map((row) => {
    const rate = middle(row.rounds, ({ messagesPerSecond }) => messagesPerSecond);
    const ours = middle(own.get(row.shape)?.rounds ?? [], ({ messagesPerSecond }) => messagesPerSecond);
    return {
      ...row,
      messagesPerSecond: rate,
      p50Ms: middle(row.rounds, ({ p50Ms }) => p50Ms),
      p99Ms: middle(row.rounds, ({ p99Ms }) => p99Ms),
      tledgerRatio: rate === 0 ? null : Number((ours / rate).toFixed(2)),
    };
  });
}

function tableOf(documents: ReturnType<typeof documentOf>): string {
  const table = new Table({
    head: ['shape', 'system', 'messages/s', 'p50 ms', 'p99 ms', 'TLedger is', 'acknowledged when'],
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right', 'left'],
    style: { head: [], border: [] },
  });
  for (const { shape, system, messagesPerSecond, p50Ms, p99Ms, tledgerRatio, flush } of documents) {
    const ratio = system === 'TLedger' || tledgerRatio === null ? '' : `x ${tledgerRatio}`;
    const rate = Math.round(messagesPerSecond).toLocaleString('en');
    table.push([shape, system, rate, p50Ms.toFixed(2), p99Ms.toFixed(2), ratio, flush]);
  }
  return table.toString();
}

const { contenders, shapes } = chosen();
const missing = new Map(
  contenders.flatMap(({ programs }) => Object.entries(programs)).filter(([name]) => pathOf(name) === undefined),
);
if (missing.size > 0) {
  for (const [program, name] of missing) console.error(`${program} is missing: Debian's package ${name} has it`);
  process.exit(2);
}
const machine = machineNow();
const directory = mkdtempSync(join(tmpdir(), 'tledger-peers-'));
try {
  for (const [at, contender] of contenders.entries()) {
    const own = join(directory, String(at));
    mkdirSync(own);
    await contender.start(own);
  }
  const documents = documentOf(await runAll(contenders, shapes));
  const report = { ...{ machine, sizeBytes: common.sizeBytes, seconds: Number(values.seconds) }, rows: documents };
  mkdirSync(dirname(values.report), { recursive: true });
  writeFileSync(values.report, `${JSON.stringify(report, null, 2)}\n`);
  console.log(`${values.size} bytes, 3 nodes each, medians of ${values.rounds} rounds of ${values.seconds} s:`);
  console.log(tableOf(documents));
} finally {
  for (const contender of contenders) await contender.stop();
  rmSync(directory, { recursive: true, force: true });
}
