// What the lanes of a leader stand on.
import type { Clock } from '../../base/clock.ts';
import type { Broker } from '../../broker/broker.ts';
import type { Command } from '../../broker/commands.ts';
import type { GroupInfo } from '../../broker/consuming/groups.ts';
import type { StoreRequest } from '../../broker/types.ts';
import type { LogIndex, Term } from '../../raft/types.ts';

/** A replica, as those who decide things on its leader see it. */
export interface LeaderPort {
  readonly clock: Clock;
  readonly broker: Broker;
  /** It leads and has applied everything that earlier leaders left: what it decides now fits. */
  readonly isServing: boolean;
  readonly term: Term;
  /**
   * Resolves when it is applied, however long that takes: whoever decides one thing after the other must know what became of
   * the one before. Callers with a deadline are told before, and wait no longer.
   * @throws TLedgerError NOT_LEADER, OVERLOADED …: it has no effect and never will. OUTCOME_UNKNOWN: this node does not lead
   * any more, and nobody can tell here.
   */
  command(command: Command): Promise<LogIndex>;
  /** The same for messages. */
  store(request: StoreRequest): Promise<LogIndex>;
  /** The group, made with the defaults if it is not there. */
  ensureGroup(name: string): Promise<GroupInfo>;
  /** Makes a topic of one queue if there is none of that name. */
  ensureTopic(name: string): Promise<void>;
  /** One record of a queue; null when the log does not hold it any more. */
  readOne(topic: string, queueId: number, offset: number): Promise<Buffer | null>;
}
