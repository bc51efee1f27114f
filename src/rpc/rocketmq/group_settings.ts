// What consumers go by, as long as their group stays what it is. When somebody changes it, those that are connected here are
// told at once, on their streams (ROCKETMQ §4.1); each node hears of it by the log and tells its own.
import type { Clock } from '../../base/clock.ts';
import { type GroupInfo, type GroupTable, groupDefaults } from '../../broker/consuming/groups.ts';
import type { Settings } from '../../wire/rocketmq/definitions.ts';
import type { Client, Clients } from './clients.ts';
import { mergedSettings } from './settings.ts';
import { okStatus } from './status.ts';

/** What it stands on. */
export interface GroupSettingsOptions {
  /** Of the replica as it is now. */
  readonly groups: () => GroupTable;
  readonly clients: Clients;
  readonly clock: Clock;
}

/** Settings of the consumers of one node. */
export class GroupSettings {
  readonly #options: GroupSettingsOptions;
  /** By client id: what its group was when it was told last. */
  readonly #told = new Map<string, string>();
  /** Groups that changed and whose consumers are not told yet; `all` after a snapshot has taken the place of everything. */
  #changed: Set<string> | 'all' = new Set();
  #isDue = false;
  #forget: (() => void) | null = null;

  constructor(options: GroupSettingsOptions) {
    this.#options = options;
    options.clients.onGone((clientId) => this.#told.delete(clientId));
  }

  close(): void {
    this.#forget?.();
  }

  /** What a client that has just said what it is, is to go by. @throws TLedgerError REPAIRING while there are no groups. */
  of({ clientId, settings, role }: Client): Settings {
    const groups = this.#options.groups();
    this.#forget ??= groups.onChange((name) => this.#note(name));
    const group = groups.get(role.group);
    this.#told.set(clientId, textOf(group));
    return mergedSettings(settings, group);
  }

  #note(name: string | null): void {
    if (name === null) this.#changed = 'all';
    else if (this.#changed !== 'all') this.#changed.add(name);
    if (this.#isDue) return;
    this.#isDue = true;
    // Applying goes on first; then one look for all that changed.
    this.#options.clock.defer(() => this.#tell());
  }

  #tell(): void {
    const { clients } = this.#options;
    const changed = this.#changed;
    this.#changed = new Set();
    this.#isDue = false;
    for (const client of clients.list()) {
      const { clientId, role } = client;
      if (role.group === '' || (changed !== 'all' && !changed.has(role.group))) continue;
      // A group that is made on first use is what its consumers were told that it would be.
      if (this.#told.get(clientId) === textOf(this.#options.groups().get(role.group))) continue;
      // Whoever has no stream open at the moment is told when it opens one again.
      clients.tell(clientId, { status: okStatus, settings: this.of(client) });
    }
  }
}

/** What consumers are told of their group. */
function textOf(group: GroupInfo | undefined): string {
  const { isFifo, attemptsMax, retryPolicy } = group ?? groupDefaults;
  return JSON.stringify([isFifo, attemptsMax, retryPolicy]);
}
