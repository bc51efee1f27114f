// tledger backup create | verify | list | restore
import { type Command, Option } from 'commander';
import { formatQuantity } from '../../config/quantity.ts';
import type { BackupFacts, ListedBackup, RestoredNode } from '../../server/backup_tools.ts';
import type { BackupProgress } from '../../wire/admin_messages.ts';
import { type CliContext, globalOptionsOf, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { grouped, Output, table } from '../output.ts';
import { bytes } from '../parsing.ts';
import { ProgressLine } from '../progress.ts';
import { newGroupOf, type RestoreOptions } from '../restore_options.ts';

const BYTES_PER_SECOND = '64MiB';

const CREATE_HELP = `
DIRECTORY is an absolute path on the machine of the node that makes the backup: missing, empty, or with an earlier backup
of the same group, which is brought up to date then. Name the node when the next backup is to find this one: which follower
is taken by default changes with the leader. The backup holds everything that was acknowledged before the command,
up to one record of the log (LAST), and nothing behind it. Nodes go on serving meanwhile.

On the file system of the node's data, closed segments are hard links: no bytes are copied and no space is taken until
retention removes them from the log. Such a backup outlives mistakes and deleted segments, not the disk: copy it elsewhere,
or give a directory of another file system, where everything is copied.

What lies there already is read and compared with its checksums, not copied again. What retention has removed from the
log since is kept, so that the backup goes back further than the log; --prune lets go of it. When the log was cut beyond
the end of the earlier backup, it begins anew.

The manifest is written last: interrupted at any time, the earlier backup is what it was. A damaged segment is named, and
nothing of it goes in. Every byte is checked against the log's chain on its way.

Examples:
  tledger backup create /backup/g0 --node n2
  tledger backup create /backup/g0 --node n2 --bytes-per-second 16MiB --prune`;

const VERIFY_HELP = `
Reads everything, on this machine: each file against its checksum, each record against the chain from the first to the
last one, the snapshot and its rows. Exit code 0 when all of it is good.

Example:
  tledger backup verify /backup/g0 && echo good`;

const LIST_HELP = `
Looks into DIRECTORY and into the directories right below it, on this machine. Only manifests are read: "tledger backup
verify" reads the rest.

Example:
  tledger backup list /backup`;

const RESTORE_HELP = `
Makes the data directory of one node of a new group, offline. Run it once for each node of the new group, on the machine
where that node will run (or copy the directory there), each time with the same backup, --peers and --client-addresses;
then start the nodes as usual, with the same settings. All get the same log, with one record behind it that names the new
members, and serve all messages with their queue offsets as soon as a majority of them runs.

The new group has an id of its own: nodes of the old group, and those of another restoration, are refused, whatever their
names. To restore the same backup to the same nodes once more, give another --generation, the same for all nodes, so that
the two restorations are told apart.

Segments keep their size: start the nodes with the same --segment-size-bytes as the old group, if that was set.
A directory that is not empty is refused; one that an interrupted restore has left is restored anew.

Example, for n0 (the same with n1 and n2):
  tledger backup restore /backup/g0 --data-dir /var/lib/tledger --node-id n0 \\
    --peers n0=10.0.0.1:40911,n1=10.0.0.2:40911,n2=10.0.0.3:40911 \\
    --client-addresses n0=10.0.0.1:8081,n1=10.0.0.2:8081,n2=10.0.0.3:8081`;

interface CreateOptions {
  readonly node?: string;
  readonly bytesPerSecond: number;
  readonly prune?: boolean;
  readonly stale?: boolean;
}

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const backup = program.command('backup').description('back up a group while it runs, and restore it');
  registerCreate(backup, context);
  backup
    .command('verify')
    .argument('<directory>', 'the backup')
    .description('read all of a backup on this machine; exit code 1 unless it is good')
    .addHelpText('after', VERIFY_HELP)
    .action((directory: string, _options: unknown, command: Command) => verify(directory, command, context));
  backup
    .command('list')
    .argument('<directory>', 'a backup, or a directory of backups')
    .description('say which backups there are on this machine')
    .addHelpText('after', LIST_HELP)
    .action((directory: string, _options: unknown, command: Command) => list(directory, command, context));
  registerRestore(backup, context);
}

function registerCreate(backup: Command, context: CliContext): void {
  backup
    .command('create')
    .argument('<directory>', 'absolute, on the machine of the node')
    .description('have a node (a follower by default) back up the group, or bring a backup up to date')
    .option('--node <id>', 'who makes it (default: a follower that has caught up)')
    .addOption(
      new Option('--bytes-per-second <size>', 'how fast it reads at most; 0 for as fast as the disk gives')
        .argParser(bytes(0))
        .default(bytes(0)(BYTES_PER_SECOND), BYTES_PER_SECOND),
    )
    .option('--prune', 'let go of what the log does not hold any more')
    .option('--stale', 'without a leader, too: what the node has may lack what was acknowledged lately')
    .addHelpText('after', CREATE_HELP)
    .action((directory: string, options: CreateOptions, command: Command) =>
      withSession(command, context, async ({ client, output }) => {
        const { node, bytesPerSecond, prune, stale } = options;
        const signal = context.interrupted();
        const wish = { directory, nodeId: node, bytesPerSecond, prune, stale, signal };
        let last: BackupProgress | undefined;
        const line = new ProgressLine(context, true, () =>
          progressText(Number(last?.bytesRead), Number(last?.bytesTotal)),
        );
        try {
          for await (const progress of client.admin.backup(wish)) last = progress;
        } catch (error) {
          if (signal.aborted) throw new QuietExit(exitCodes.interrupted);
          throw error;
        } finally {
          line.stop();
        }
        await output.result(createdDocument(last!), () => createdText(last!));
      }),
    );
}

function registerRestore(backup: Command, context: CliContext): void {
  backup
    .command('restore')
    .argument('<directory>', 'the backup, on this machine')
    .description('make the data directory of one node of a new group, offline')
    .requiredOption('--data-dir <directory>', "the node's data directory (required)")
    .requiredOption('--node-id <id>', 'which of the peers (required)')
    .requiredOption('--peers <list>', 'n0=host:port,…: the peer address of each node of the new group (required)')
    .requiredOption('--client-addresses <list>', 'n0=host:port,…: where clients reach each of them (required)')
    .option('--cluster <name>', 'the new cluster (default: as in the backup)')
    .option('--group <name>', 'the new group (default: as in the backup)')
    .option('--generation <text>', 'tells this restoration from an earlier one of the same backup', '')
    .addHelpText('after', RESTORE_HELP)
    .action(async (directory: string, options: RestoreOptions, command: Command) => {
      const { describeBackup, restoreNode } = await import('../../server/backup_tools.ts');
      const request = newGroupOf(directory, options, describeBackup(directory), command, context);
      const restored = await withProgress(context, (tell) => restoreNode(request, tell));
      const output = new Output(context.stdout, globalOptionsOf(command).format);
      const { facts, ...done } = restored;
      const { nodeId, cluster, group } = request;
      const document = { ...done, nodeId, cluster, group, backup: documentOf(facts) };
      await output.result(document, () => restoredText(request.nodeId, restored));
    });
}

async function verify(directory: string, command: Command, context: CliContext): Promise<void> {
  const { checkBackup } = await import('../../server/backup_tools.ts');
  const { facts, problems } = await withProgress(context, (tell) => checkBackup(directory, tell));
  const isGood = problems.length === 0;
  const text = (): string =>
    [
      ...problems.map(({ file, reason }) => `${file}: ${reason}`),
      isGood
        ? `good: ${whatOf(facts)}, all ${grouped(facts.sizeBytes)} bytes of ${counted(facts.files, 'file')} read`
        : `NOT good: ${problems.length} of ${counted(facts.files, 'file')} cannot be restored`,
    ].join('\n');
  const output = new Output(context.stdout, globalOptionsOf(command).format);
  await output.result({ good: isGood, problems, ...documentOf(facts) }, text);
  if (!isGood) throw new QuietExit(exitCodes.failed);
}

async function list(directory: string, command: Command, context: CliContext): Promise<void> {
  const { listBackups } = await import('../../server/backup_tools.ts');
  const found = listBackups(directory);
  const output = new Output(context.stdout, globalOptionsOf(command).format);
  const document = found.map((one) => (one.facts === null ? one : documentOf(one.facts)));
  await output.result(document, () => (found.length === 0 ? `no backup in ${directory}` : listText(found)));
}

async function withProgress<T>(
  context: CliContext,
  work: (tell: (bytesRead: number, bytesTotal: number) => void) => Promise<T>,
): Promise<T> {
  let [read, total] = [0, 0];
  const line = new ProgressLine(context, true, () => progressText(read, total));
  try {
    return await work((bytesRead, bytesTotal) => {
      [read, total] = [bytesRead, bytesTotal];
    });
  } finally {
    line.stop();
  }
}

function progressText(bytesRead: number, bytesTotal: number): string {
  if (!(bytesTotal > 0)) return 'begins';
  return `${grouped(bytesRead)} of ${grouped(bytesTotal)} bytes (${Math.floor((100 * bytesRead) / bytesTotal)} %)`;
}

function documentOf({ createdMs, ...facts }: BackupFacts) {
  return { ...facts, createdAt: new Date(createdMs).toISOString() };
}

function createdDocument(progress: BackupProgress) {
  const { nodeId, directory, checksum, chainCrc, continuedFrom, firstIndex, lastIndex, lastTerm } = progress.done!;
  return {
    ...{ nodeId, directory, checksum, chainCrc },
    firstIndex: Number(firstIndex),
    lastIndex: Number(lastIndex),
    lastTerm: Number(lastTerm),
    continuedFrom: Number(continuedFrom) === 0 ? null : Number(continuedFrom),
    bytesKept: Number(progress.bytesKept),
    bytesLinked: Number(progress.bytesLinked),
    bytesCopied: Number(progress.bytesCopied),
  };
}

function createdText({ done, bytesKept, bytesLinked, bytesCopied }: BackupProgress): string {
  const { nodeId, directory, firstIndex, lastIndex, continuedFrom, checksum } = done!;
  const from = continuedFrom === '0' ? '' : `, going on from record ${grouped(continuedFrom)}`;
  return [
    `${nodeId} has backed up records ${grouped(firstIndex)} to ${grouped(lastIndex)} to ${directory} (${checksum})${from}`,
    `bytes: ${grouped(bytesCopied)} copied, ${grouped(bytesLinked)} linked, ${grouped(bytesKept)} there already`,
  ].join('\n');
}

function whatOf({ cluster, group, firstIndex, lastIndex }: BackupFacts): string {
  return `cluster ${cluster}, group ${group}, records ${grouped(firstIndex)} to ${grouped(lastIndex)}`;
}

function listText(found: readonly ListedBackup[]): string {
  const rows = found.flatMap(({ directory, facts }) => {
    if (facts === null) return [];
    const { cluster, group, firstIndex, lastIndex, sizeBytes, createdMs, createdBy } = facts;
    const [first, last, size] = [firstIndex, lastIndex, sizeBytes].map(grouped);
    return [[directory, `${cluster}/${group}`, first!, last!, size!, new Date(createdMs).toISOString(), createdBy]];
  });
  const head = ['DIRECTORY', 'GROUP', 'FIRST', 'LAST', 'BYTES', 'CREATED', 'BY'];
  const failures = found.flatMap(({ directory, error }) => (error === null ? [] : [`${directory}: ${error}`]));
  return [...(rows.length === 0 ? [] : [table(head, rows)]), ...failures].join('\n');
}

function restoredText(nodeId: string, { directory, facts, groupId, index }: RestoredNode): string {
  const { firstIndex, lastIndex, segmentSizeBytes } = facts;
  const size = formatQuantity(segmentSizeBytes, 'bytes').replace(' ', '');
  return [
    `${directory} holds records ${grouped(firstIndex)} to ${grouped(lastIndex)}, and record ${grouped(index)}, which names the new members`,
    `the new group has the id ${groupId}: it must be the same for all of its nodes`,
    `start ${nodeId} with the same peers and client addresses, and --segment-size-bytes ${size}`,
  ].join('\n');
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
