// All lanes of a group's leader (lane.ts), and the consumer groups they serve.
import { TLedgerError } from '../../base/errors.ts';
import { checkGroup, type GroupInfo, groupDefaults } from '../../broker/consuming/groups.ts';
import type { LogIndex } from '../../raft/types.ts';
import { withDeadline } from '../deadline.ts';
import type { Done } from './call.ts';
import { Lane } from './lane.ts';
import { parentOf } from './lite_topics.ts';
import type { LeaderPort } from './port.ts';
import {
  consumingLimits,
  type MoveRequest,
  type PoppedMessage,
  type PopRequest,
  type Receipt,
  type Settled,
  type SettleRequest,
} from './types.ts';

/** How long giving back may wait for its turn. */
const GIVE_BACK_MS = 10_000;

/** What the leader needs to be told from outside. */
export type ConsumingPort = Omit<LeaderPort, 'ensureGroup'>;

/** Consumption on the leader of a group; refuses with NOT_LEADER elsewhere. */
export class Consuming {
  readonly #port: ConsumingPort;
  readonly #lanes = new Map<string, Lane>();
  readonly #beginning = new Map<string, Promise<GroupInfo>>();
  readonly #isLeader: () => boolean;

  constructor(port: ConsumingPort, isLeader: () => boolean) {
    this.#port = port;
    this.#isLeader = isLeader;
  }

  /** Hands out messages, or waits for some. @returns takes the call back while it waits; tells whether it did. */
  pop(request: PopRequest, deadlineMs: number, done: Done<readonly PoppedMessage[]>): () => boolean {
    try {
      let waiting = 0;
      for (const lane of this.#lanes.values()) waiting += lane.waitingPops;
      if (waiting >= consumingLimits.waitingPopsTotalMax) throw new TLedgerError('OVERLOADED', 'polling full');
      if (this.#port.broker.topic(request.topic) === undefined) {
        throw new TLedgerError('TOPIC_NOT_FOUND', `topic ${JSON.stringify(request.topic)} does not exist`);
      }
      return this.#lane(request.group, request.topic).pop(request, deadlineMs, done);
    } catch (error) {
      done(error as Error, null);
      return () => false;
    }
  }

  /** Carries out verdicts; which of them were is answered in their order. */
  settle(request: SettleRequest, deadlineMs: number, done: Done<readonly Settled[]>): void {
    this.#with(request, done, (lane) => lane.settle(request, deadlineMs, done));
  }

  /**
   * What was handed out reached nobody: it can be had again at once, and this does not count as an attempt. If it cannot be
   * done, it comes back when its invisible time is over.
   */
  giveBack({ group, topic }: Pick<PopRequest, 'group' | 'topic'>, messages: readonly Receipt[]): void {
    if (messages.length === 0) return;
    const verdict = { kind: 'change', invisibleMs: 0, mode: 'uncounted' } as const;
    const verdicts = messages.map(({ queueId, offset, handle }) => ({ receipt: { queueId, offset, handle }, verdict }));
    this.settle({ group, topic, verdicts }, this.#port.clock.monotonicMs() + GIVE_BACK_MS, () => {});
  }

  /** Has a group go on elsewhere. */
  move(request: MoveRequest, deadlineMs: number, done: Done<LogIndex>): void {
    this.#with(request, done, (lane) => lane.move(request, deadlineMs, done));
  }

  /**
   * Makes a group, or changes what is said of it.
   * @throws TLedgerError ILLEGAL_GROUP, INVALID_ARGUMENT, TOO_MANY_GROUPS; TOPIC_NOT_FOUND, MESSAGE_TYPE_MISMATCH of the parent
   * of lite topics; OUTCOME_UNKNOWN at the deadline; as `command`.
   */
  async putGroup(group: GroupInfo, deadlineMs: number): Promise<GroupInfo> {
    this.#checkNew(group);
    if (group.lite !== undefined) parentOf(this.#port.broker, group.lite.topic);
    await withDeadline(this.#port.clock, this.#port.command({ type: 'put-group', group }), deadlineMs);
    return this.#port.broker.tables.groups.get(group.name) ?? group;
  }

  /** Forgets a group and all that it has consumed. @returns whether it was there. */
  async deleteGroup(name: string, deadlineMs: number): Promise<boolean> {
    if (this.#port.broker.tables.groups.get(name) === undefined) return false;
    await withDeadline(this.#port.clock, this.#port.command({ type: 'delete-group', name }), deadlineMs);
    return true;
  }

  /** The replica does not lead any more, or ends. */
  end(error: Error): void {
    const lanes = [...this.#lanes.values()];
    this.#lanes.clear();
    this.#beginning.clear();
    for (const lane of lanes) lane.fail(error);
  }

  #checkNew(group: GroupInfo): void {
    checkGroup(group);
    const { groups } = this.#port.broker.tables;
    if (groups.get(group.name) === undefined && groups.count >= consumingLimits.groupsMax) {
      throw new TLedgerError('TOO_MANY_GROUPS', `there are ${groups.count} consumer groups, as many as there may be`);
    }
  }

  #with<T>(
    { group, topic }: { readonly group: string; readonly topic: string },
    done: Done<T>,
    use: (lane: Lane) => void,
  ): void {
    try {
      use(this.#lane(group, topic));
    } catch (error) {
      done(error as Error, null);
    }
  }

  #lane(group: string, topic: string): Lane {
    if (!this.#isLeader()) throw new TLedgerError('NOT_LEADER');
    const name = `${group}/${topic}`;
    let lane = this.#lanes.get(name);
    if (lane === undefined) {
      const made = new Lane(this.#lanePort, group, topic, () => {
        if (this.#lanes.get(name) === made) this.#lanes.delete(name);
      });
      lane = made;
      this.#lanes.set(name, lane);
    }
    return lane;
  }

  get #lanePort(): LeaderPort {
    const port = Object.create(this.#port) as LeaderPort & { ensureGroup: LeaderPort['ensureGroup'] };
    port.ensureGroup = (name) => this.#ensureGroup(name);
    return port;
  }

  async #ensureGroup(name: string): Promise<GroupInfo> {
    const known = this.#port.broker.tables.groups.get(name);
    if (known !== undefined) return known;
    const begun = this.#beginning.get(name) ?? this.#begin(name);
    this.#beginning.set(name, begun);
    try {
      return await begun;
    } finally {
      this.#beginning.delete(name);
    }
  }

  /** Somebody may describe the group at the same time: that counts. */
  async #begin(name: string): Promise<GroupInfo> {
    const group = { name, ...groupDefaults, createdAtMs: this.#port.clock.wallMs() };
    this.#checkNew(group);
    await this.#port.command({ type: 'put-group', group, onlyNew: true });
    return this.#port.broker.tables.groups.get(name) ?? group;
  }
}
