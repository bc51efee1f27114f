// TLedger beside other systems on the same machine: `npm run bench:peers -- [--rounds 5] [--seconds 4] [--size 1024]
// [--peers nats,etcd,rabbitmq] [--only row,…] [--flush sync] [--prototype DIR] [--report reports/peers.json] [--json]`.
// Three nodes of each on loopback, all started by this script with data in a temporary directory. First they all run at
// once, and loads come in turn; then all others are ended, and rows of TLedger alone come. Prints medians of the rounds,
// how many times faster TLedger is, and which goals are met; with --json the report instead of tables. Nothing is
// installed: what is missing is named, with its Debian package (exit code 2). Exit code 0 only if every goal whose rows
// were measured is met.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { areMet, tableOf } from '../goals.ts';
import { machineNow } from '../machine.ts';
import { endAfter, writeReport } from '../script.ts';
import { BareServer } from './bare_server.ts';
import { type Contender, missingPrograms, takesPart } from './contender.ts';
import { Etcd } from './etcd.ts';
import { Nats } from './nats.ts';
import { Prototype } from './prototype.ts';
import { Rabbit } from './rabbit.ts';
import { cpuMsOfAll, type Progress, runRounds } from './rounds.ts';
import { settle } from './settle.ts';
import { shapesOf } from './shapes.ts';
import { TLedger } from './tledger.ts';
import { goalsOf, machineText, middlesOf, rowsTable } from './verdicts.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    size: { type: 'string', default: '1024' },
    peers: { type: 'string', default: 'nats,etcd,rabbitmq' },
    only: { type: 'string' },
    flush: { type: 'string', default: 'sync' },
    prototype: { type: 'string', default: process.env.TLEDGER_PROTOTYPE ?? '' },
    report: { type: 'string', default: 'reports/peers.json' },
    json: { type: 'boolean', default: false },
  },
});

const known: Readonly<Record<string, () => Contender>> = {
  nats: () => new Nats(),
  etcd: () => new Etcd(),
  rabbitmq: () => new Rabbit(),
};

/** @throws Error naming what is not known. */
function chosen(): Contender[] {
  if (values.flush !== 'sync' && values.flush !== 'async') throw new Error('--flush sync or async');
  const names = values.peers.split(',').filter((name) => name !== '');
  const stranger = names.find((name) => !Object.hasOwn(known, name));
  if (stranger !== undefined) throw new Error(`--peers ${stranger}: there are ${Object.keys(known).join(', ')}`);
  return [
    new TLedger(values.flush),
    ...names.map((name) => known[name]!()),
    new BareServer(),
    ...(values.prototype === '' ? [] : [new Prototype(values.prototype)]),
  ].filter((contender) => shapes.some((shape) => takesPart(contender, shape)));
}

function say({ round, shape: { name, isAlone }, system, measured, remainingSeconds }: Progress): void {
  const { messagesPerSecond, p50Ms, p99Ms, failures } = measured;
  const latencies = p50Ms === 0 ? '' : `   p50 ${p50Ms.toFixed(2)} ms   p99 ${p99Ms.toFixed(2)} ms`;
  const failed = failures === 0 ? '' : `   ${failures} FAILED`;
  const rate = `${messagesPerSecond.toLocaleString('en').padStart(9)}/s`;
  const rest = `${Math.ceil(remainingSeconds / 60)} min left`;
  const what = `${name.padEnd(12)} ${system.padEnd(21)}`;
  const part = isAlone ? 'alone, ' : '';
  console.error(`${part}round ${round} of ${values.rounds}, ${rest}: ${what} ${rate}${latencies}${failed}`);
}

const shapes = shapesOf({
  ...{ seconds: Number(values.seconds), sizeBytes: Number(values.size) },
  ...(values.only !== undefined && { only: values.only.split(',') }),
});
const contenders = chosen();
const missing = missingPrograms(contenders, shapes);
for (const line of missing) console.error(line);
if (missing.length > 0) process.exit(2);
const machine = machineNow();
const directory = mkdtempSync(join(tmpdir(), 'tledger-peers-'));

async function cleanUp(): Promise<void> {
  await Promise.allSettled(contenders.map((contender) => contender.stop()));
  rmSync(directory, { recursive: true, force: true });
}

endAfter(cleanUp);

const beganAtMs = performance.now();
try {
  for (const [at, contender] of contenders.entries()) {
    const own = join(directory, String(at));
    mkdirSync(own);
    await contender.start(own);
    console.error(`${contender.name} is up`);
  }
  const found = await runRounds(contenders, shapes, Number(values.rounds), {
    before: () => settle({ cpuMs: () => cpuMsOfAll(contenders) }),
    onMeasured: say,
  });
  const [middles, goals] = [middlesOf(found.rows), goalsOf(found)];
  const minutes = Number(((performance.now() - beganAtMs) / 60_000).toFixed(1));
  const report = {
    machine,
    options: values,
    systems: contenders.map(({ name }) => name),
    minutes,
    goals,
    middles,
    ...found,
  };
  writeReport(values.report, report);
  if (values.json) {
    console.log(JSON.stringify(report, null, 2));
  } else {
    const { cores, cpu, node } = machine;
    console.log(`${values.size} bytes, 3 nodes each, medians of ${values.rounds} rounds of ${values.seconds} s:`);
    console.log(rowsTable(middles));
    console.log(tableOf(goals));
    console.log(`${cores} cores, ${cpu}, Node ${node}, ${minutes} minutes; ${machineText(found)}`);
  }
  process.exitCode = areMet(goals) ? 0 : 1;
} finally {
  await cleanUp();
}
