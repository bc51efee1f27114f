// The parts of the replicated state beside topics, queues and producers, and what commands do to them.
import type { LogIndex } from '../raft/types.ts';
import type { Command, PutGroup } from './commands.ts';
import { applyConsume } from './consuming/consume_command.ts';
import { GroupTable } from './consuming/groups.ts';
import { ProgressTable } from './consuming/progress.ts';
import { LiteTable } from './lite/lite_table.ts';
import { LiteOwners } from './lite/owner_table.ts';
import { EndedTransactions, type Resolution } from './parked/ended.ts';
import { ParkedTable } from './parked/parked.ts';
import { SentWindow } from './sent/sent_window.ts';
import { type RowChanges, rowsOf, type StateTable } from './state_table.ts';

/** See the head of the file. */
export class Tables {
  readonly groups = new GroupTable();
  readonly progress = new ProgressTable();
  readonly lite = new LiteTable();
  readonly owners = new LiteOwners();
  readonly parked = new ParkedTable();
  readonly ended = new EndedTransactions();
  readonly sent = new SentWindow();
  readonly #all: readonly StateTable[] = [
    this.groups,
    this.progress,
    this.lite,
    this.owners,
    this.parked,
    this.ended,
    this.sent,
  ];

  /** Carries out a command of record `index`. @throws InvariantError when it contradicts the state. */
  apply(command: Exclude<Command, { type: 'create-topic' | 'add-queues' | 'add-lite' }>, index: LogIndex): void {
    switch (command.type) {
      case 'put-group':
        return this.#putGroup(command);
      case 'bind-lite':
        return this.groups.bind(command);
      case 'claim-lite':
        // The group was deleted meanwhile, or shares its lite topics now.
        if (this.groups.get(command.name)?.lite?.isExclusive === true) this.owners.apply(command);
        return;
      case 'delete-group':
        this.groups.delete(command.name);
        this.owners.forget(command.name);
        return this.progress.forget(({ group }) => group === command.name);
      case 'consume':
        // The group was deleted meanwhile: nobody is there to have progress.
        if (this.groups.get(command.group) !== undefined) applyConsume(command, index, this.progress);
        return;
      case 'drop-parked':
        return this.unpark(command.index, 'rollback', index);
      case 'check-half':
        return this.parked.checked(command.index, command.nextMs);
    }
  }

  /**
   * What was held back is in its queue now, or is dropped: by record `by`. How a transaction ended is remembered.
   * @throws InvariantError when it is not held back.
   */
  unpark(index: LogIndex, resolution: Resolution, by: LogIndex): void {
    const parked = this.parked.get(index);
    this.parked.remove(index);
    if (parked?.kind === 'half') this.ended.add({ topic: parked.topic, id: parked.id, resolution }, by);
  }

  #putGroup({ group, onlyNew }: PutGroup): void {
    const before = this.groups.get(group.name);
    if (onlyNew === true && before !== undefined) return;
    // Bound once is bound, unless somebody names another parent.
    const lite = group.lite ?? before?.lite;
    this.groups.put(lite === undefined ? group : { ...group, lite });
  }

  /** Adds the rows that changed since the last call. */
  takeChanges(into: RowChanges): void {
    for (const table of this.#all) table.takeChanges(into);
  }

  /** Become what the rows say. @throws TLedgerError DATA_CORRUPTED */
  restore(rows: ReadonlyMap<string, string>): void {
    for (const table of this.#all) table.restore(rowsOf(table.prefix, rows));
  }
}
