// tledger member add | remove | promote | readdress | cancel | list
import type { Command } from 'commander';
import { lagOf, type MembershipWish } from '../../client/membership.ts';
import { shortly } from '../../client/shortly.ts';
import type { ClusterStatusResponse, GroupMember, Membership } from '../../wire/admin_messages.ts';
import { type CliContext, withSession } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { grouped, table } from '../output.ts';
import { outsideLines } from '../outside.ts';
import { endpoint } from '../parsing.ts';

interface ChangeOptions {
  readonly wait: boolean;
  readonly force?: boolean;
}

interface AddressOptions {
  readonly peer: string;
  readonly client: string;
}

type AddOptions = ChangeOptions & AddressOptions & { readonly learner?: boolean; readonly replaces?: string };

const ADD_HELP = `
The new node is started first, with an empty data directory:
  tledger node start --join --node-id n3 --data-dir /var/lib/tledger \\
    --peer-listen 10.0.0.4:40911 --client-listen 10.0.0.4:8081
Settings that must be equal on all members (--segment-size-bytes, --reads) are repeated there, if they are not the defaults.
The node gets the log as a learner, without a vote, and becomes a voter by itself once it has caught up; until then the group
is as safe as before. What is waited for is said on stderr, every 10 s anew. The command waits without limit, also for a
node that never answers; --no-wait returns at once, --timeout limits it. Ctrl-C ends the wait (exit code 130), not the
change: that goes on, and "tledger member cancel" takes it back.

Several nodes may wait as learners at a time; voters change one step at a time, and what is asked for during a change-over
is refused with MEMBERSHIP_CHANGING.

Examples:
  tledger member add n3 --peer 10.0.0.4:40911 --client 10.0.0.4:8081
  tledger member add n3 --peer 10.0.0.4:40911 --client 10.0.0.4:8081 --replaces n0
  tledger member add n4 --peer 10.0.0.5:40911 --client 10.0.0.5:8081 --learner`;

const REMOVE_HELP = `
Works on dead members and on the leader, too, which hands over when it is out. Refused if no voter would be left. If the
members that are left could not form a majority because some of them do not answer, --force is needed.
The removed node stays up, says that it was removed, and serves nobody; its data is of no use to the group any more.

Examples:
  tledger member remove n0
  tledger member remove n0 --force`;

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const member = program.command('member').description('say who belongs to the group, and look who does');
  const add = member
    .command('add')
    .description('take a node in, which was started with --join; done when it is a voter')
    .argument('<node>', 'its name')
    .requiredOption('--peer <host:port>', 'where the other members reach it (required)', endpoint)
    .requiredOption('--client <host:port>', 'where clients reach it (required)', endpoint)
    .option('--learner', 'it gets the log and serves readers, and has no vote until it is promoted')
    .option('--replaces <node>', 'the voter that leaves in the same step in which this one becomes one')
    .addHelpText('after', ADD_HELP);
  changing(add).action((nodeId: string, options: AddOptions, command: Command) => {
    const { learner, replaces, peer, client } = options;
    if (learner === true && replaces !== undefined) {
      return command.error('error: --learner and --replaces exclude each other');
    }
    return change(
      { kind: 'add', nodeId, addresses: { peer, client }, learnerOnly: learner, replaces },
      command,
      context,
    );
  });
  const remove = member
    .command('remove')
    .description('take a member out; works on the leader and on dead members, too')
    .argument('<node>', 'its name')
    .addHelpText('after', REMOVE_HELP);
  changing(remove).action((nodeId: string, _options: ChangeOptions, command: Command) =>
    change({ kind: 'remove', nodeId }, command, context),
  );
  const promote = member
    .command('promote')
    .description('let a learner become a voter once it has caught up')
    .argument('<node>', 'its name')
    .addHelpText('after', '\nExample:\n  tledger member promote n4');
  changing(promote).action((nodeId: string, _options: ChangeOptions, command: Command) =>
    change({ kind: 'promote', nodeId }, command, context),
  );
  const readdress = member
    .command('readdress')
    .description('tell the group where a member is reached from now on')
    .argument('<node>', 'its name')
    .requiredOption('--peer <host:port>', 'where the other members reach it (required)', endpoint)
    .requiredOption('--client <host:port>', 'where clients reach it (required)', endpoint)
    .addHelpText('after', '\nExample:\n  tledger member readdress n1 --peer 10.0.0.9:40911 --client 10.0.0.9:8081');
  changing(readdress).action((nodeId: string, { peer, client }: ChangeOptions & AddressOptions, command: Command) =>
    change({ kind: 'readdress', nodeId, addresses: { peer, client } }, command, context),
  );
  const cancel = member
    .command('cancel')
    .description('take back the change that is under way, as far as that is possible')
    .addHelpText('after', CANCEL_HELP);
  changing(cancel).action((_options: ChangeOptions, command: Command) => change({ kind: 'cancel' }, command, context));
  member
    .command('list')
    .description('show who belongs to the group, what each member is, and how far behind')
    .addHelpText('after', LIST_HELP)
    .action((_options: unknown, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const status = await client.admin.clusterStatus({ timeoutMs });
        await output.result(documentOf(status), () => textOf(status));
      }),
    );
}

const LIST_HELP = `
ROLE: a voter counts for majorities; a learner gets the log and has no vote; a member that is leaving counts until the
change is done. STATE is what Raft makes of it at the moment. LAG is how many records its log is behind the longest one.
Whichever node is asked says what it knows; that works without a majority, too.

Examples:
  tledger member list
  tledger member list --format json`;

const CANCEL_HELP = `
During a change-over it is turned back, so that the voters are what they were. Without one, every learner that waits to
become a voter leaves the group; learners that were added with --learner stay, also when they were promoted later on and have
not caught up yet. Refused if nothing is under way.

Example:
  tledger member cancel`;

function changing(command: Command): Command {
  return command
    .option('--no-wait', 'end when the change has begun instead of when it is done')
    .option('--force', 'do it although the group would be left without a majority that answers');
}

async function change(wish: MembershipWish, command: Command, context: CliContext): Promise<void> {
  await withSession(command, context, async ({ client, output, timeoutMs }) => {
    const { wait, force } = command.opts<ChangeOptions>();
    const interrupted = context.interrupted();
    const { index, isDone, text } = await client.admin.changeMembers(wish, {
      timeoutMs,
      wait,
      force,
      signal: interrupted,
      onProgress: (progress) => context.stderr.write(`${progress}\n`),
    });
    await output.result({ index: index ?? null, done: isDone, text }, () => (isDone ? `done: ${text}` : text));
    if (isDone || !wait) return;
    context.stderr.write(`${interruptedText(wish, index)}\n`);
    throw new QuietExit(exitCodes.interrupted);
  });
}

/** What becomes of a change that nobody waits for any more. @param index undefined: whether it began is not known. */
function interruptedText({ kind }: MembershipWish, index: number | undefined): string {
  const goesOn = index === undefined ? 'the change may have begun, and then goes on' : 'the change goes on';
  const isCancellable = kind !== 'cancel' && kind !== 'readdress';
  return isCancellable ? `${goesOn}; "tledger member cancel" takes it back` : goesOn;
}

function documentOf(status: ClusterStatusResponse) {
  const { cluster, group, leaderId, nodes, outside } = status;
  const membership = membershipOf(status);
  return {
    cluster,
    group,
    leaderId: leaderId === '' ? null : leaderId,
    ...(outside === '' ? {} : { outside }),
    index: Number(membership.index),
    committed: membership.committed,
    changingOver: membership.changingOver,
    members: membership.members.map((member) => {
      const node = nodes.find(({ nodeId }) => nodeId === member.nodeId);
      const { nodeId, role, clientAddress, peerAddress } = member;
      return {
        nodeId,
        role,
        ...(role === 'learner' ? { promote: member.promote, replaces: member.replaces || null } : {}),
        reachable: node?.reachable ?? false,
        ...(node?.reachable === true ? {} : { error: node?.error ?? '' }),
        state: node?.role || null,
        lag: node === undefined ? null : lagOf(node, nodes),
        clientAddress,
        peerAddress,
      };
    }),
  };
}

function textOf(status: ClusterStatusResponse): string {
  const { cluster, group, leaderId, nodes, outside } = status;
  const membership = membershipOf(status);
  const rows = membership.members.map(({ nodeId, role, clientAddress, peerAddress }) => {
    const node = nodes.find((one) => one.nodeId === nodeId);
    const lag = node === undefined ? null : lagOf(node, nodes);
    const state = node?.reachable === true ? node.role : 'unreachable';
    return [nodeId, role, state, lag === null ? '' : grouped(lag), clientAddress, peerAddress];
  });
  const silent = nodes.filter(({ reachable }) => !reachable).map(({ nodeId, error }) => `${nodeId}: ${shortly(error)}`);
  return [
    ...outsideLines(outside),
    `cluster ${cluster}, group ${group}, ${leaderId === '' ? 'no leader' : `leader ${leaderId}`}`,
    '',
    table(['NODE', 'ROLE', 'STATE', 'LAG', 'CLIENTS', 'PEERS'], rows),
    ...silent,
    ...pending(membership),
  ].join('\n');
}

/** What is still to happen to the members, a sentence each. */
function pending({ members, changingOver, committed }: Membership): string[] {
  const learners = members.filter(({ role, promote }) => role === 'learner' && promote);
  const place = ({ replaces }: GroupMember) => (replaces === '' ? '' : `, in the place of ${replaces},`);
  return [
    ...learners.map((learner) => `${learner.nodeId} becomes a voter${place(learner)} once it has caught up`),
    ...(changingOver ? ['the group is changing over: a majority of the old and one of the new voters must agree'] : []),
    ...(committed ? [] : ['a majority has yet to agree to this']),
  ];
}

function membershipOf({ membership }: ClusterStatusResponse): Membership {
  return membership ?? { index: '0', committed: false, changingOver: false, members: [] };
}
