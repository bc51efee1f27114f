// Which node of which new group a backup is restored to: checked as the settings of the node that will be started.
import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { BackupFacts, RestoreRequest } from '../server/backup_tools.ts';
import { type CliContext, globalOptionsOf } from './context.ts';
import { describeFailure, exitCodes, QuietExit } from './failure.ts';

/** Options of `tledger backup restore`. */
export interface RestoreOptions {
  readonly dataDir: string;
  readonly nodeId: string;
  readonly peers: string;
  readonly clientAddresses: string;
  readonly cluster?: string;
  readonly group?: string;
  readonly generation: string;
}

/** What is to be restored. @throws QuietExit for wrong usage, which was told. */
export function newGroupOf(
  directory: string,
  options: RestoreOptions,
  facts: BackupFacts,
  command: Command,
  context: CliContext,
): RestoreRequest {
  const { dataDir, nodeId, peers, clientAddresses, generation } = options;
  const { cluster = facts.cluster, group = facts.group } = options;
  try {
    const flags = { dataDir, nodeId, peers, clientAddresses, cluster, group };
    const { config } = loadConfig({ file: undefined, env: {}, flags });
    const members = config.members.map(({ nodeId: id, peerAddress: peer, clientAddress: client }) => [
      id,
      { peer, client },
    ]);
    return { directory, dataDir, cluster, group, nodeId, members: Object.fromEntries(members), generation };
  } catch (error) {
    context.stderr.write(`${describeFailure(error, globalOptionsOf(command).format)}\n`);
    throw new QuietExit(exitCodes.usage);
  }
}
