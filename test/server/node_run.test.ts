// The phases of a node: what follows what, and when the same damage was repaired often enough.
import { expect } from 'chai';
import { logIndex } from '../../src/raft/types.ts';
import { NodeRun, type Phase, type PhaseEnd } from '../../src/server/node_run.ts';
import { type Damage, DamageError } from '../../src/storage/damage.ts';

const log = { kind: 'log', file: 'f', position: 0, index: logIndex(1), reason: 'r' } as unknown as Damage;
const unit: Damage = { kind: 'derived', file: 'u', what: 'consume queue', reason: 'r' };
const snapshot: Damage = { kind: 'snapshot', file: 's', index: logIndex(5), reason: 'r' };

/** A node whose serving phases come to these ends, one after the other; the last one goes on. */
async function run(
  ends: readonly (Damage | null)[],
  options: { apartMs?: number; refusal?: Damage; isDispensable?: boolean } = {},
) {
  const turns: string[] = [];
  let nowMs = 0;
  let served = 0;
  const forever: Phase = { ended: new Promise(() => {}) };
  const node = await NodeRun.start({
    serve: async (_, damage) => {
      turns.push(damage === null ? 'serve' : `serve without ${damage.kind}`);
      if (damage !== null && options.refusal !== undefined) throw new DamageError(options.refusal);
      const end = ends[served++] ?? null;
      nowMs += options.apartMs ?? 1_000;
      if (end === null) return forever;
      const { isDispensable = false } = options;
      const found: PhaseEnd = { kind: 'damaged', found: { damage: end, membership: null, isDispensable } };
      return { ended: Promise.resolve(found) };
    },
    repair: async (_, { damage }) => {
      turns.push(`repair ${damage.kind}`);
      return { ended: Promise.resolve({ kind: 'repaired' } as const) };
    },
    clock: { monotonicMs: () => nowMs },
    onTurn: () => {},
  });
  const failed = await Promise.race([
    node.failed.then(({ message }) => message),
    new Promise<string>((resolve) => setTimeout(() => resolve('goes on'), 50)),
  ]);
  return { turns, failed };
}

describe('the phases of a node', () => {
  it('repairs a damaged log, and opens without derived data that are damaged', async () => {
    expect(await run([log, unit])).to.deep.equal({
      turns: ['serve', 'repair log', 'serve', 'serve without derived'],
      failed: 'goes on',
    });
  });

  it('repairs what turns out to be damaged when derived data are made anew', async () => {
    const { turns } = await run([unit], { refusal: snapshot });
    expect(turns).to.deep.equal(['serve', 'serve without derived', 'repair snapshot', 'serve']);
  });

  it('never gives up because of a snapshot that it can do without, as often as somebody asks for it', async () => {
    const { failed, turns } = await run([snapshot, snapshot, snapshot, snapshot, snapshot], { isDispensable: true });
    expect([failed, turns.length]).to.deep.equal(['goes on', 11]);
  });

  for (const damage of [log, unit]) {
    it(`gives up when the same ${damage.kind} is damaged again and again, but not over the years`, async () => {
      const ends = Array.from({ length: 6 }, () => damage);
      expect((await run(ends)).failed).to.include('damaged again and again');
      expect((await run(ends, { apartMs: 24 * 3_600_000 })).failed).to.equal('goes on');
    });
  }
});
