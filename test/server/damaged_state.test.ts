// A node whose derived data went bad while it was down: it comes up, says so, and serves what its log holds.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Level } from 'level';
import { TLedgerClient } from '../../src/client/client.ts';
import { loadConfig, type NodeConfig } from '../../src/config/load.ts';
import type { Logger } from '../../src/observe/logger.ts';
import { startNode } from '../../src/server/node.ts';
import { freePorts } from '../../src/server/ports.ts';
import { until } from '../chaos/pause.ts';

const BODIES = Array.from({ length: 40 }, (_, number) => `message ${number}`);

function recorder(warnings: string[]): Logger {
  const ignore = (): void => {};
  const logger: Logger = {
    error: ignore,
    warn: (message, fields) => void warnings.push(`${message} ${JSON.stringify(fields ?? {})}`),
    info: ignore,
    debug: ignore,
    isEnabled: () => false,
    child: () => logger,
  };
  return logger;
}

/** Starts the node on `dataDir`, lets `use` have a client, and stops it. @returns what it warned of. */
async function withNode(dataDir: string, use: (client: TLedgerClient) => Promise<void>): Promise<string[]> {
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
  const { config } = loadConfig({
    env: {},
    flags: { dataDir, clientListen: `127.0.0.1:${clientPort}`, peerListen: `127.0.0.1:${peerPort}` },
  });
  const warnings: string[] = [];
  const node = await startNode(config satisfies NodeConfig, recorder(warnings));
  const client = new TLedgerClient({ endpoints: [`127.0.0.1:${clientPort}`], timeoutMs: 60_000 });
  try {
    await use(client);
  } finally {
    await client.close();
    await node.stop();
  }
  return warnings;
}

async function send(client: TLedgerClient): Promise<void> {
  await client.admin.createTopic('orders', { queues: 2 });
  const producer = client.producer();
  for (const body of BODIES) await producer.send({ topic: 'orders', body: Buffer.from(body) });
}

async function all(client: TLedgerClient): Promise<string[]> {
  const found: string[] = [];
  for await (const { body } of client.consume({ topic: 'orders', untilEnd: true })) found.push(body.toString());
  return found;
}

/** Sends one more, which is answered when all before it is applied, and reads everything. */
async function check(client: TLedgerClient): Promise<void> {
  await client.producer().send({ topic: 'orders', body: Buffer.from('afterwards') });
  expect((await all(client)).sort()).to.deep.equal([...BODIES, 'afterwards'].sort());
}

/** What a node says that had to mend something; it may be warned of a busy machine. */
const MENDED = /anew|damage/;

describe('a node with damaged derived data', function () {
  this.timeout(180_000);
  let whole = '';
  before(async () => {
    whole = mkdtempSync(join(tmpdir(), 'tledger-derived-'));
    expect((await withNode(whole, send)).join('\n')).to.not.match(MENDED);
  });
  after(() => rmSync(whole, { recursive: true }));

  const groupIn = (dataDir: string): string => join(dataDir, readdirSync(dataDir)[0]!);
  const damages: readonly [string, boolean, (group: string) => Promise<void> | void][] = [
    ['nothing', false, () => {}],
    [
      'a database that cannot be opened',
      true,
      (group) => {
        const state = join(group, 'state');
        writeFileSync(join(state, readdirSync(state).find((name) => name.startsWith('MANIFEST'))!), 'nonsense');
      },
    ],
    [
      'a database with an altered entry',
      true,
      async (group) => {
        const database = new Level<string, string>(join(group, 'state'));
        await database.put('=t/orders', 'forged');
        await database.close();
      },
    ],
    ['lost consume queues', true, (group) => rmSync(join(group, 'consumequeue'), { recursive: true })],
  ];
  for (const [what, isDamage, damage] of damages) {
    it(`serves everything that its log holds: ${what}`, async () => {
      const dataDir = mkdtempSync(join(tmpdir(), 'tledger-derived-'));
      try {
        cpSync(whole, dataDir, { recursive: true });
        await damage(groupIn(dataDir));
        const warnings = await withNode(dataDir, check);
        expect(warnings.length, warnings.join()).to.equal(isDamage ? 1 : 0);
        if (isDamage)
          expect(warnings[0]).to.include('is damaged and is made anew from the log').and.include('damaged-1');
        // Once is enough.
        expect((await withNode(dataDir, async () => {})).join('\n')).to.not.match(MENDED);
      } finally {
        rmSync(dataDir, { recursive: true });
      }
    });
  }

  const whileItRuns: readonly [string, (group: string) => void, RegExp][] = [
    [
      'a unit of a queue, found by a read',
      (group) => {
        const path = join(group, 'consumequeue', 'orders', '1', '0'.repeat(20));
        const bytes = readFileSync(path);
        bytes[3 * 20 + 7]! ^= 1;
        writeFileSync(path, bytes);
      },
      /queues and state are made anew from the log: the consume queue in .*the log holds something else there/,
    ],
    [
      'a queue that was cut off, found by a read',
      (group) => truncateSync(join(group, 'consumequeue', 'orders', '1', '0'.repeat(20)), 50),
      /queues and state are made anew from the log: the consume queue in .*ends before byte/,
    ],
    [
      'a unit that leads out of the log',
      (group) => {
        const path = join(group, 'consumequeue', 'orders', '1', '0'.repeat(20));
        const bytes = readFileSync(path);
        bytes[3 * 20 + 3]! ^= 1;
        writeFileSync(path, bytes);
      },
      /queues and state are made anew from the log: the consume queue in .*lie behind the log's end/,
    ],
  ];
  for (const [what, damage, warning] of whileItRuns) {
    it(`makes it anew and goes on: ${what}`, async () => {
      const dataDir = mkdtempSync(join(tmpdir(), 'tledger-derived-'));
      try {
        cpSync(whole, dataDir, { recursive: true });
        const queues = (): Buffer[] =>
          [0, 1].map((queue) =>
            readFileSync(join(groupIn(dataDir), 'consumequeue', 'orders', `${queue}`, '0'.repeat(20))),
          );
        const before = queues();
        const warnings = await withNode(dataDir, async (client) => {
          damage(groupIn(dataDir));
          // Who asked is refused, and asks again.
          expect((await all(client)).sort()).to.deep.equal([...BODIES].sort());
          expect(await until(async () => queues().every((bytes, at) => bytes.equals(before[at]!)), 30_000)).to.equal(
            true,
          );
          await check(client);
        });
        expect(warnings.join('\n')).to.match(warning);
        // Nothing is kept of what was made anew.
        expect(readdirSync(groupIn(dataDir)).filter((name) => name.includes('damaged'))).to.deep.equal([]);
        expect((await withNode(dataDir, async () => {})).join('\n')).to.not.match(MENDED);
      } finally {
        rmSync(dataDir, { recursive: true });
      }
    });
  }
});
