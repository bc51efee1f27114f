// A replica as those who decide things on its leader see it: consumption, timers, transactions.
import { TLedgerError } from '../base/errors.ts';
import type { Command } from '../broker/commands.ts';
import type { StoreRequest } from '../broker/types.ts';
import { queueOffset } from '../format/message.ts';
import type { LogIndex } from '../raft/types.ts';
import type { ConsumingPort } from './consuming/consuming.ts';
import type { ReplicaLoop, ReplicaOptions } from './loop.ts';
import type { AppendDone } from './types.ts';

/** How long making a topic may take: asking for it again is harmless. */
const TOPIC_TIMEOUT_MS = 10_000;
/** What is decided is waited for until its fate is known. */
const NO_DEADLINE = Number.POSITIVE_INFINITY;

/** What of a replica decides nothing by itself. */
interface Doer extends Pick<ConsumingPort, 'term'> {
  command(command: Command, deadlineMs: number): Promise<LogIndex>;
  store(request: StoreRequest, deadlineMs: number, done: AppendDone): void;
  createTopic(name: string, queues: number, deadlineMs: number): Promise<unknown>;
}

/** The port of `replica`, whose loop is `loop`. */
export function leaderPortOf(
  replica: Doer,
  loop: ReplicaLoop,
  { clock, broker }: Pick<ReplicaOptions, 'clock' | 'broker'>,
): ConsumingPort {
  return {
    clock,
    broker,
    get isServing() {
      return loop.isUp && loop.isLeader && loop.leading.isServing;
    },
    get term() {
      return replica.term;
    },
    command: (command) => replica.command(command, NO_DEADLINE),
    store: (request) =>
      new Promise((resolve, reject) => {
        replica.store(request, NO_DEADLINE, (error, result) =>
          result === null ? reject(error) : resolve(result.lastIndex),
        );
      }),
    ensureTopic: async (name) => {
      if (broker.topic(name) !== undefined) return;
      await replica.createTopic(name, 1, clock.monotonicMs() + TOPIC_TIMEOUT_MS);
    },
    readOne: async (topic, queueId, offset) => {
      if (offset < broker.range(topic, queueId).min) return null;
      try {
        const { records, count } = await broker.read({
          topic,
          queueId,
          offset: queueOffset(offset),
          countMax: 1,
          bytesMax: 1,
        });
        return count === 0 ? null : records;
      } catch (error) {
        if (error instanceof TLedgerError && error.code === 'OFFSET_OUT_OF_RANGE') return null;
        throw error;
      }
    },
  };
}
