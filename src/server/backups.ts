// Backups of a running replica, one at a time: what may be backed up to where, and what becomes of damage found meanwhile.
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { TLedgerError } from '../base/errors.ts';
import type { Broker } from '../broker/broker.ts';
import { logIndex, type Membership } from '../raft/types.ts';
import type { BackupDoor, BackupMade, BackupOrder, BackupSteps } from '../rpc/gateway.ts';
import { checksumOf } from '../storage/backup_format.ts';
import { type BackupDone, writeBackup } from '../storage/backup_writer.ts';
import type { CommitLog } from '../storage/commit_log.ts';
import { type Damage, damageOf } from '../storage/damage.ts';
import type { Disk } from '../storage/disk.ts';
import type { Identity } from '../storage/identity.ts';
import { RateLimit } from '../storage/pace.ts';

/** What backups are made of. */
export interface BackupsOptions {
  readonly disk: Disk;
  /** All that this node stores; no backup lies in it. */
  readonly dataDir: string;
  /** The group's directory in it. */
  readonly directory: string;
  readonly claimed: { readonly identity: Identity; readonly groupId: string | null };
  readonly log: CommitLog;
  readonly broker: Broker;
  /** The founding members, who belong to the group until a record says who does. */
  readonly founders: Membership;
  readonly clock: Clock;
  /** Learns what was found damaged in this replica's own files. */
  readonly onDamage: (damage: Damage) => void;
  readonly onEvent: (message: string) => void;
}

/** See the head of the file. */
export class Backups implements BackupDoor {
  readonly #options: BackupsOptions;
  readonly #closing = new AbortController();
  #running: Promise<unknown> | null = null;

  constructor(options: BackupsOptions) {
    this.#options = options;
  }

  async run(order: BackupOrder, onProgress: (steps: BackupSteps) => void, signal: AbortSignal): Promise<BackupMade> {
    if (this.#closing.signal.aborted || signal.aborted) throw new TLedgerError('SHUTTING_DOWN');
    if (this.#running !== null) throw new TLedgerError('OVERLOADED', 'another backup is under way on this node');
    this.#checkDirectory(order.directory);
    const running = this.#make(order, onProgress, AbortSignal.any([signal, this.#closing.signal]));
    this.#running = running;
    try {
      return await running;
    } finally {
      this.#running = null;
    }
  }

  /** Ends the one that is under way; resolves when it touches nothing any more. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running?.catch(() => {});
  }

  async #make(
    { directory, prune, bytesPerSecond }: BackupOrder,
    onProgress: (steps: BackupSteps) => void,
    signal: AbortSignal,
  ): Promise<BackupMade> {
    const { disk, log, broker, claimed, clock, founders, onEvent, onDamage } = this.#options;
    const { groupId, identity } = claimed;
    if (groupId === null) throw new TLedgerError('NODE_REMOVED', 'no group has taken this node in yet');
    const upTo = logIndex(Math.min(broker.appliedIndex, log.flushedIndex));
    onEvent(`a backup up to record ${upTo} to ${directory} begins`);
    try {
      const done = await writeBackup({
        ...{ ...identity, groupId, disk, directory, log, groupDirectory: this.#options.directory, upTo, prune },
        membership: broker.membership ?? { index: logIndex(0), membership: founders },
        pace: new RateLimit(clock, bytesPerSecond, signal),
        wallMs: () => clock.wallMs(),
        onProgress,
      });
      onEvent(`the backup up to record ${upTo} to ${directory} is complete`);
      return madeOf(done);
    } catch (error) {
      onEvent(`the backup to ${directory} has failed: ${(error as Error).message}`);
      const damage = damageOf(error);
      if (damage !== null) onDamage(damage);
      throw error;
    }
  }

  #checkDirectory(directory: string): void {
    if (!isAbsolute(directory) || resolve(directory) !== directory.replace(/(?<=.)\/$/, '')) {
      throw new TLedgerError('INVALID_ARGUMENT', `${JSON.stringify(directory)} is no absolute path without detours`);
    }
    const [backup, data] = [realPath(directory), realPath(resolve(this.#options.dataDir))];
    if (contains(data, backup) || contains(backup, data)) {
      throw new TLedgerError(
        'INVALID_ARGUMENT',
        `a backup lies outside of the node's data in ${this.#options.dataDir}`,
      );
    }
  }
}

function madeOf({ manifest, earlier, ...steps }: BackupDone): BackupMade {
  const { base, last } = manifest;
  return {
    ...steps,
    firstIndex: base.index + 1,
    lastTerm: last.term,
    chainCrc: last.chainCrc,
    checksum: checksumOf(manifest),
    continuedFrom: earlier?.last.index ?? 0,
  };
}

/** Where a path leads, as far as it exists. */
function realPath(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const parent = dirname(path);
  return parent === path ? path : join(realPath(parent), basename(path));
}

function contains(directory: string, path: string): boolean {
  const way = relative(directory, path);
  return way === '' || (!way.startsWith('..') && !isAbsolute(way));
}
