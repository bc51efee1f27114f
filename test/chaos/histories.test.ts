// Histories of a group that is honest are linearizable; every lie is seen.
import { expect } from 'chai';
import { TLedgerError } from '../../src/base/errors.ts';
import { TLedgerClient } from '../../src/client/index.ts';
import { FakeGroup } from '../client/fake_server.ts';
import { Histories } from './histories.ts';
import { History } from './history.ts';
import { pause, until } from './pause.ts';

const ROUND_MS = 900;
const CALLS_MIN = 40;

describe('histories of chaos', () => {
  let group: FakeGroup;

  /** Two rounds against a group that may be told to lie. @returns what was not linearizable. */
  async function run(prepare: () => void): Promise<{ sightings: string[]; histories: Histories }> {
    group = await FakeGroup.start(3);
    const history = new History(1);
    prepare();
    const nodes = group.nodes.map(({ id, address }) => ({ nodeId: id, address }));
    const client = new TLedgerClient({ endpoints: group.endpoints });
    const histories = new Histories({ client: () => client, nodes: () => nodes, history, roundMs: ROUND_MS });
    await pause(2 * ROUND_MS);
    // A machine that stalls takes longer until there is something to judge.
    const calls = () => group.nodes.flatMap(({ unaryCalls }) => unaryCalls).length;
    await until(() => calls() >= CALLS_MIN, 40_000);
    await histories.judge();
    await histories.close();
    await client.close();
    return { sightings: history.sightings.map(({ kind }) => kind), histories };
  }

  /** Every third call. */
  const sometimes = () => {
    let calls = 0;
    return () => ++calls % 3 === 0;
  };

  afterEach(() => group.stop());

  it('have an order when nothing goes wrong', async () => {
    const { sightings, histories } = await run(() => {});
    expect(sightings).to.deep.equal([]);
    expect(histories.counts.judged).to.be.at.least(4);
    expect(histories.counts.operations).to.be.greaterThan(20);
    expect(histories.counts.undecided).to.equal(0);
  });

  it('have an order though calls are refused, lost, or done and lost', async () => {
    const endings = ['NO_LEADER', 'drop', 'apply, then drop', 'go on', 'go on'] as const;
    let calls = 0;
    const { sightings, histories } = await run(() => {
      group.onAppend = () => endings[calls++ % endings.length]!;
      group.onCreateTopic = () => endings[calls++ % endings.length]!;
    });
    expect(sightings).to.deep.equal([]);
    expect(histories.counts.undecided).to.equal(0);
  });

  const lies: readonly (readonly [string, () => void])[] = [
    [
      'a failure is told that was none',
      () => {
        const isOne = sometimes();
        const apply = group.apply.bind(group);
        group.apply = (request) => {
          const answer = apply(request);
          if (isOne()) throw new TLedgerError('NO_LEADER');
          return answer;
        };
      },
    ],
    [
      'an acknowledged message is not kept',
      () => {
        const isOne = sometimes();
        const apply = group.apply.bind(group);
        group.apply = (request) => {
          const answer = apply(request);
          if (isOne()) group.log.pop();
          return answer;
        };
      },
    ],
    [
      'a topic is made twice',
      () => {
        group.onCreateTopic = () => {
          group.topics.clear();
          return 'go on';
        };
      },
    ],
    [
      'a node shows what was as what is',
      () => {
        const node = group.nodes[1]!;
        const metadata = node.metadata.bind(node);
        node.metadata = (topics) => metadata(topics, false);
        node.lagsAt = 0;
      },
    ],
  ];
  for (const [what, prepare] of lies) {
    it(`have none when ${what}`, async () => {
      const { sightings } = await run(prepare);
      expect(sightings).to.include('unlinearizable');
    });
  }
});
