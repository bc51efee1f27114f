import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { TLedgerError } from '../../src/base/errors.ts';
import { LevelStateStore } from '../../src/storage/level_state_store.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import type { StateEntry, StateStore } from '../../src/storage/state_store.ts';

interface Implementation {
  readonly name: string;
  /** Opens the store of that name; the same name again after closing it. */
  open(name: string): Promise<StateStore>;
}

let directory = '';
let mediums = new Map<string, MemoryStateMedium>();

const implementations: readonly Implementation[] = [
  { name: 'level', open: (name) => LevelStateStore.open(join(directory, name)) },
  {
    name: 'memory',
    open: async (name) => {
      const medium = mediums.get(name) ?? new MemoryStateMedium();
      mediums.set(name, medium);
      return new MemoryStateStore(medium);
    },
  },
];

const changes = (entries: Record<string, string | null>) => new Map(Object.entries(entries));

async function codeOf(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
    return 'none';
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).name;
  }
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tledger-state-'));
  mediums = new Map();
});
afterEach(() => rmSync(directory, { recursive: true }));

for (const { name, open } of implementations) {
  describe(`a state store (${name})`, () => {
    it('is empty at first', async () => {
      const store = await open('a');
      expect([...(await store.load())]).to.deep.equal([]);
      await store.close();
    });

    it('keeps what was written, and forgets what was removed, in the order of the batches', async () => {
      const store = await open('a');
      await store.load();
      await store.write(changes({ a: '1', b: '2', c: '3' }), { sync: false });
      await store.write(changes({ a: null, b: '22', missing: null }), { sync: true });
      const expected = [
        ['b', '22'],
        ['c', '3'],
      ];
      expect([...(await store.load())]).to.deep.equal(expected);
      await store.close();
      const again = await open('a');
      expect([...(await again.load())]).to.deep.equal(expected);
      await again.close();
    });

    it('loads in the order of the bytes of the keys', async () => {
      const store = await open('a');
      await store.load();
      const keys = ['b', 'a', 'a/b', 'a!b', '!sum', '=', 'é', '𝄞', '\uffee', 'Z', '__proto__', 'constructor'];
      await store.write(new Map(keys.map((key) => [key, `value of ${key}`])), { sync: true });
      const sorted = [...keys].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
      const loaded = await store.load();
      expect([...loaded.keys()]).to.deep.equal(sorted);
      for (const key of keys) expect(loaded.get(key)).to.equal(`value of ${key}`);
      await store.close();
    });

    it('does what a map does, over any batches and reopenings', async () => {
      const key = fc.constantFrom('a', 'b', 'c', 'd/1', 'd/2');
      const value = fc.option(fc.string({ unit: 'binary', maxLength: 8 }), { nil: null });
      const step = fc.record({ batch: fc.array(fc.tuple(key, value), { maxLength: 4 }), reopen: fc.boolean() });
      let run = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 6 }), async (steps) => {
          const id = `run-${run++}`;
          const model = new Map<string, string>();
          let store = await open(id);
          await store.load();
          for (const { batch, reopen } of steps) {
            for (const [key, value] of batch) {
              if (value === null) model.delete(key);
              else model.set(key, value);
            }
            await store.write(new Map(batch), { sync: false });
            if (!reopen) continue;
            await store.close();
            store = await open(id);
            expect([...(await store.load())]).to.deep.equal([...model].sort());
          }
          await store.close();
        }),
        { numRuns: 25 },
      );
    });

    it('is empty after a reset, and after opening it again; it wants to be loaded anew', async () => {
      const store = await open('a');
      await store.load();
      await store.write(changes({ a: '1', b: '2' }), { sync: true });
      await store.write(changes({ c: '3' }), { sync: false });
      await store.reset();
      expect(await codeOf(() => store.write(changes({ a: '1' }), { sync: true }))).to.equal('InvariantError');
      expect([...(await store.load())]).to.deep.equal([]);
      await store.write(changes({ d: '4' }), { sync: true });
      await store.close();
      const again = await open('a');
      expect([...(await again.load())]).to.deep.equal([['d', '4']]);
      await again.close();
    });

    it('gives its entries as of the call, whatever is written while they are read', async () => {
      const store = await open('a');
      await store.load();
      const written = Array.from({ length: 500 }, (_, at) => [`k${String(at).padStart(3, '0')}`, `${at}`] as const);
      await store.write(new Map([...written].reverse()), { sync: false });
      const entries = store.entries();
      await store.write(changes({ k000: null, k499: 'new', k500: 'new', é: 'new' }), { sync: true });
      const read: StateEntry[] = [];
      for await (const entry of entries) {
        if (read.push(entry) % 100 === 0)
          await store.write(changes({ [`l${read.length}`]: '1', k200: null }), { sync: false });
      }
      expect(read).to.deep.equal(written);
      const later: string[] = [];
      for await (const [key] of store.entries()) {
        if (later.push(key) === 3) break;
      }
      expect(later).to.deep.equal(['k001', 'k002', 'k003']);
      await store.close();
    });

    it('replaces all entries durably, in any order, and is written on as if it had been loaded', async () => {
      const store = await open('a');
      await store.load();
      await store.write(changes({ a: '1', b: '2', zz: '3' }), { sync: true });
      const large = 'x'.repeat(100_000);
      const replacing = async function* (): AsyncGenerator<StateEntry> {
        for (const key of ['b', 'e', 'd', 'c']) yield [key, `${key}${large}`];
      };
      await store.replace(replacing());
      await store.write(changes({ c: null, f: 'f' }), { sync: true });
      const expected = [
        ['b', `b${large}`],
        ['d', `d${large}`],
        ['e', `e${large}`],
        ['f', 'f'],
      ];
      const read: StateEntry[] = [];
      for await (const entry of store.entries()) read.push(entry);
      expect(read).to.deep.equal(expected);
      await store.close();
      const again = await open('a');
      expect([...(await again.load())]).to.deep.equal(expected);
      await again.replace([]);
      expect([...(await again.load())]).to.deep.equal([]);
      await again.close();
    });

    it('is replaced also when it was not loaded, or was reset', async () => {
      const store = await open('a');
      await store.replace([['a', '1']]);
      await store.reset();
      await store.replace([['b', '2']]);
      expect([...(await store.load())]).to.deep.equal([['b', '2']]);
      await store.close();
    });

    it('is empty at the next start when the new entries failed half-way, and not written before', async () => {
      const store = await open('a');
      await store.load();
      await store.write(changes({ a: '1', b: '2' }), { sync: true });
      const failing = async function* (): AsyncGenerator<StateEntry> {
        yield ['c', 'x'.repeat(300_000)];
        throw new TLedgerError('DATA_CORRUPTED', 'the snapshot is damaged');
      };
      expect(await codeOf(() => store.replace(failing()))).to.equal('DATA_CORRUPTED');
      expect(await codeOf(() => store.write(changes({ d: '1' }), { sync: true }))).to.equal('InvariantError');
      await store.close();
      for (let start = 0; start < 2; start++) {
        const again = await open('a');
        expect([...(await again.load())]).to.deep.equal([]);
        await again.write(changes({ e: null }), { sync: true });
        await again.close();
      }
    });

    it('wants to be loaded before its entries are asked for', async () => {
      const store = await open('a');
      expect(() => store.entries()).to.throw('is loaded before');
      await store.close();
    });

    it('wants to be loaded before it is written, and may be closed twice', async () => {
      const store = await open('a');
      expect(await codeOf(() => store.write(changes({ a: '1' }), { sync: true }))).to.equal('InvariantError');
      await store.close();
      await store.close();
    });
  });
}

describe('the state store in memory', () => {
  it('loses the newest batches that no sync covered, and only those', async () => {
    for (const kept of [0, 1, 2]) {
      const medium = new MemoryStateMedium();
      const store = new MemoryStateStore(medium);
      await store.load();
      await store.write(changes({ a: 'synced' }), { sync: true });
      await store.write(changes({ b: '1' }), { sync: false });
      await store.write(changes({ b: '2', c: '2' }), { sync: false });
      medium.crash(kept);
      const expected = [['a=synced'], ['a=synced', 'b=1'], ['a=synced', 'b=2', 'c=2']][kept];
      const loaded = await new MemoryStateStore(medium).load();
      expect([...loaded].map((entry) => entry.join('='))).to.deep.equal(expected);
    }
  });

  it('is empty or replaced as a whole after a crash while it is replaced, nothing in between', async () => {
    const before = [
      ['a', '1'],
      ['b', '1'],
    ] as const;
    const after = [
      ['b', '2'],
      ['c', '2'],
      ['d', '2'],
    ] as const;
    const seen = new Set<string>();
    for (let ticks = 0; ticks < 30; ticks++) {
      const medium = new MemoryStateMedium();
      const store = new MemoryStateStore(medium);
      await store.load();
      await store.write(new Map(before), { sync: true });
      store.replace(after).catch(() => {});
      for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
      medium.crash();
      await new Promise(setImmediate);
      seen.add(JSON.stringify([...(await new MemoryStateStore(medium).load())]));
    }
    expect([...seen].sort()).to.deep.equal([JSON.stringify(after), '[]'].sort());
  });

  it('makes earlier batches durable with a later sync', async () => {
    const medium = new MemoryStateMedium();
    const store = new MemoryStateStore(medium);
    await store.load();
    await store.write(changes({ a: '1' }), { sync: false });
    await store.write(changes({ b: '1' }), { sync: true });
    medium.crash();
    expect([...(await new MemoryStateStore(medium).load()).keys()]).to.deep.equal(['a', 'b']);
  });
});

describe('the state store on LevelDB', () => {
  it('says who is in the way: DATA_DIR_LOCKED', async () => {
    const store = await LevelStateStore.open(join(directory, 'a'));
    expect(await codeOf(() => LevelStateStore.open(join(directory, 'a')))).to.equal('DATA_DIR_LOCKED');
    await store.close();
  });

  it('stays locked by the same file when it is reset, and keeps the old files beside', async () => {
    const store = await LevelStateStore.open(join(directory, 'a'));
    await store.load();
    await store.write(changes({ a: '1' }), { sync: true });
    const { ino } = statSync(join(directory, 'a', 'LOCK'));
    for (const number of [1, 2]) {
      expect(await store.reset()).to.equal(join(directory, `a.damaged-${number}`));
      expect(await codeOf(() => LevelStateStore.open(join(directory, 'a')))).to.equal('DATA_DIR_LOCKED');
      expect(statSync(join(directory, 'a', 'LOCK')).ino).to.equal(ino);
    }
    await store.close();
    const old = await LevelStateStore.open(join(directory, 'a.damaged-1'));
    expect([...(await old.load())]).to.deep.equal([['a', '1']]);
    await old.close();
  });

  it('that cannot be opened is put aside, and then can', async () => {
    const path = await prepare(3);
    writeFileSync(join(path, readdirSync(path).find((name) => name.startsWith('MANIFEST'))!), 'nonsense');
    const { ino } = statSync(join(path, 'LOCK'));
    expect(await codeOf(() => LevelStateStore.open(path))).to.equal('DATA_CORRUPTED');
    expect(LevelStateStore.setAside(path)).to.equal(`${path}.damaged-1`);
    expect(readdirSync(path)).to.deep.equal(['LOCK']);
    expect(statSync(join(path, 'LOCK')).ino).to.equal(ino);
    const store = await LevelStateStore.open(path);
    expect([...(await store.load())]).to.deep.equal([]);
    await store.close();
  });

  it('does not take a file for its directory', async () => {
    writeFileSync(join(directory, 'file'), 'something else');
    expect(await codeOf(() => LevelStateStore.open(join(directory, 'file')))).to.equal('STORAGE_FAILED');
  });

  /** A database with `count` batches, closed. */
  async function prepare(count: number): Promise<string> {
    const path = join(directory, 'good');
    const store = await LevelStateStore.open(path);
    await store.load();
    for (let batch = 1; batch <= count; batch++) {
      const entries = changes({ applied: String(batch), [`key-${batch}`]: `${batch}`.padStart(50, '.') });
      await store.write(entries, { sync: batch === count });
    }
    await store.close();
    return path;
  }

  /** What opening says of a copy in which one file was changed: entries of a whole prefix, or an error code. */
  async function outcomeOf(good: string, file: string, change: (bytes: Buffer) => Buffer): Promise<string> {
    const copy = join(directory, 'copy');
    rmSync(copy, { recursive: true, force: true });
    cpSync(good, copy, { recursive: true });
    writeFileSync(join(copy, file), change(readFileSync(join(copy, file))));
    try {
      const store = await LevelStateStore.open(copy);
      try {
        const loaded = await store.load();
        const applied = Number(loaded.get('applied') ?? 0);
        const expected = applied === 0 ? 0 : applied + 1;
        return loaded.size === expected ? `prefix ${applied}` : `WRONG: ${applied} with ${loaded.size} entries`;
      } finally {
        await store.close();
      }
    } catch (error) {
      return (error as { code?: string }).code ?? String(error);
    }
  }

  it('never serves entries that lost some of their like: a whole prefix of the batches, or DATA_CORRUPTED', async () => {
    const good = await prepare(40);
    const outcomes = new Map<string, number>();
    for (const file of readdirSync(good).filter((name) => !name.startsWith('LO'))) {
      const size = readFileSync(join(good, file)).length;
      for (let step = 0; step < 40; step++) {
        const at = Math.floor((step * size) / 40);
        const flip = (bytes: Buffer) => {
          bytes[at]! ^= 0x20;
          return bytes;
        };
        for (const change of [flip, (bytes: Buffer) => bytes.subarray(0, at)]) {
          const outcome = await outcomeOf(good, file, change);
          expect(outcome, `${file} at ${at}`).to.match(/^(prefix \d+|DATA_CORRUPTED|STORAGE_FAILED)$/);
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        }
      }
    }
    expect(outcomes.get('DATA_CORRUPTED') ?? 0, JSON.stringify([...outcomes])).to.be.greaterThan(20);
  }).timeout(180_000);

  for (const [file, what] of [
    ['MANIFEST', 'its list of files'],
    ['CURRENT', 'the name of that list'],
  ] as const) {
    it(`says DATA_CORRUPTED when ${what} is damaged`, async () => {
      const good = await prepare(3);
      const name = readdirSync(good).find((known) => known.startsWith(file))!;
      expect(await outcomeOf(good, name, (bytes) => bytes.map((byte) => byte ^ 0x15) as Buffer)).to.equal(
        'DATA_CORRUPTED',
      );
    });
  }

  it('holds nothing of what was replaced half-way when the process is killed, at whatever batch', async () => {
    const values = Array.from({ length: 40 }, (_, at) => [`n${at}`, `${at}`.padEnd(60_000, '.')] as const);
    const path = join(directory, 'good');
    const outcomes = new Set<number>();
    for (let stop = 0; stop <= values.length; stop += 4) {
      rmSync(path, { recursive: true, force: true });
      const store = await LevelStateStore.open(path);
      await store.load();
      await store.write(changes({ old: '1', older: '2' }), { sync: true });
      const copy = join(directory, `copy-${stop}`);
      const entries = async function* (): AsyncGenerator<StateEntry> {
        for (const [at, entry] of values.entries()) {
          if (at === stop) cpSync(path, copy, { recursive: true });
          yield entry;
        }
        if (stop === values.length) cpSync(path, copy, { recursive: true });
      };
      await store.replace(entries());
      await store.close();
      // What a killed process leaves is what its files hold.
      for (let start = 0; start < 2; start++) {
        const again = await LevelStateStore.open(copy);
        outcomes.add((await again.load()).size);
        await again.close();
      }
      const whole = await LevelStateStore.open(path);
      expect((await whole.load()).size).to.equal(values.length);
      await whole.close();
    }
    expect([...outcomes]).to.deep.equal([0]);
  }).timeout(180_000);

  it('does not give out entries that do not add up', async () => {
    const path = await prepare(200);
    const [table] = readdirSync(path).filter((name) => name.endsWith('.log'));
    const store = await LevelStateStore.open(path);
    await store.load();
    await store.close();
    const again = await LevelStateStore.open(path);
    await again.load();
    // Opened from a table now; a bit flips there that LevelDB does not look for.
    const tables = readdirSync(path).filter((name) => name.endsWith('.ldb'));
    expect(tables, table).to.have.length.greaterThan(0);
    const file = join(path, tables[0]!);
    const bytes = readFileSync(file);
    const at = bytes.lastIndexOf('.....');
    bytes[at]! ^= 1;
    writeFileSync(file, bytes);
    const outcome = await codeOf(async () => {
      for await (const entry of again.entries()) expect(entry).to.have.length(2);
    });
    expect(outcome).to.equal('DATA_CORRUPTED');
    await again.close();
  });

  it('notices an entry that was changed behind its back', async () => {
    const good = await prepare(3);
    const outcome = await outcomeOf(good, readdirSync(good).find((name) => name.endsWith('.log'))!, (bytes) => bytes);
    expect(outcome).to.equal('prefix 3');
    const { Level } = await import('level');
    const database = new Level<string, string>(good);
    await database.put('=key-2', 'forged');
    await database.close();
    const store = await LevelStateStore.open(good);
    expect(await codeOf(() => store.load())).to.equal('DATA_CORRUPTED');
    await store.close();
  });
});
