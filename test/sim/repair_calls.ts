// How a node that repairs its data reaches the others: over the same network, with its delays, losses and flipped bits. A
// node without a running replica answers nothing.
import { TLedgerError } from '../../src/base/errors.ts';
import type { RepairPeers } from '../../src/replica/repair_sources.ts';
import type { Life } from './life.ts';
import { numberOf } from './names.ts';
import type { Network } from './network.ts';
import type { Process, SimNode } from './node.ts';

const TIMEOUT_MS = 300;

/** What the calls need of the world. */
export interface RepairWorld {
  readonly nodes: readonly SimNode[];
  readonly network: Network;
  later(delayMs: number, run: () => void): void;
  answerRepair<T>(to: number, work: (process: Process) => T): { readonly given: T } | { readonly refused: string };
}

/** Every other node there is may be asked. */
export function repairPeersOf(world: RepairWorld, node: SimNode, life: Life): RepairPeers {
  const ask = <T>(peer: string, work: (process: Process) => T): Promise<T> =>
    new Promise((resolve, reject) => {
      const { network } = world;
      const to = numberOf(peer);
      const fail = (why: string): void => reject(new TLedgerError('UNREACHABLE', why));
      life.plan('timer', TIMEOUT_MS, () => fail(`${peer} does not answer`));
      if (!network.carries(node.number, to)) return;
      world.later(network.clientDelayMs(), () => {
        const answer = world.answerRepair(to, work);
        if (!network.carries(to, node.number)) return;
        world.later(network.clientDelayMs(), () => {
          life.plan('io', 0, () => ('given' in answer ? resolve(answer.given) : fail(answer.refused)));
        });
      });
    });
  return {
    list: () => world.nodes.filter((other) => other !== node).map(({ id }) => id),
    fetchRecords: (peer, firstIndex, bytesMax) =>
      ask(peer, ({ replica }) => {
        const answer = replica.fetchRecords(firstIndex, bytesMax);
        return { ...answer, records: world.network.garbled(Buffer.from(answer.records)) };
      }),
    fetchSnapshot: (peer, index, offset) =>
      ask(peer, ({ replica }) => {
        const answer = replica.fetchSnapshot(index, offset);
        return answer === null ? null : { ...answer, piece: world.network.garbled(Buffer.from(answer.piece)) };
      }),
  };
}
