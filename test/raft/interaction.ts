// Plays a transcript: text blocks of commands, a line of four dashes, and what they led to (the style of etcd-io/raft's
// testdata). README.md beside this file lists the commands.
import { InvariantError } from '../../src/base/assert.ts';
import { TLedgerError } from '../../src/base/errors.ts';
import {
  logIndex,
  type MembershipChange,
  type MembershipEntry,
  type NodeId,
  type RaftMessage,
  type Ready,
} from '../../src/raft/types.ts';
import { addressOf, Group, type GroupOptions } from './harness/group.ts';
import type { CrashPoint, Envelope, Member } from './harness/member.ts';
import { append } from './paper/messages.ts';

type Command = (words: readonly string[], options: ReadonlyMap<string, string>) => void;

/** Runs every block of a script. @returns the same script with the outputs that the blocks really have. */
export function play(script: string): string {
  const interaction = new Interaction();
  const blocks = script
    .split(/\n{2,}/)
    .map((block) => block.trim())
    .filter((block) => block !== '');
  return `${blocks.map((block) => playBlock(interaction, block)).join('\n\n')}\n`;
}

function playBlock(interaction: Interaction, block: string): string {
  const input = block.split('\n----')[0]!.split('\n');
  const commands = input.filter((line) => !line.startsWith('#'));
  if (commands.length === 0) return block;
  const output = commands.flatMap((line) => interaction.run(line));
  return [...input, '----', ...(output.length === 0 ? ['ok'] : output)].join('\n');
}

class Interaction {
  #group = new Group();
  #lines: string[] = [];

  /** Runs one command line. @returns what happened. */
  run(line: string): string[] {
    this.#lines = [];
    const [name, ...rest] = line.trim().split(/\s+/);
    if (name === 'quietly') {
      this.run(rest.join(' '));
      return [];
    }
    const words = rest.filter((word) => !word.includes('='));
    const options = new Map(
      rest.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string]),
    );
    const command = this.#commands[name!];
    if (command === undefined) throw new Error(`no such command: ${line}`);
    try {
      command(words, options);
    } catch (error) {
      if (error instanceof TLedgerError) this.#say(`error ${error.code}: ${error.message}`);
      else if (error instanceof InvariantError && !error.message.startsWith('checker'))
        this.#say(`stops: ${error.message}`);
      else throw error;
    }
    return this.#lines;
  }

  readonly #commands: Record<string, Command> = {
    group: (_, options) => this.#newGroup(options),
    log: ([id], options) => {
      const terms = options.get('terms')?.split(',').map(Number) ?? [];
      this.#group.preload(id!, terms, Number(options.get('term') ?? terms.at(-1) ?? 0), options.get('vote') ?? null);
    },
    start: () => void this.#group.start(),
    timer: ([id]) => this.#group.fireTimer(id!),
    await: ([id]) => this.#awaitTimer(id!),
    elect: ([id]) => void this.#group.elect(id!),
    wait: ([ms]) => {
      this.#group.nowMs += Number(ms);
    },
    advance: ([ms]) => this.#group.advance(Number(ms)),
    deliver: ([from, to], options) => this.#deliver(from, to, options),
    drop: ([from, to]) => {
      for (const envelope of this.#group.take(onLink(from, to))) this.#say(`lost: ${describe(envelope.message)}`);
    },
    repeat: ([from, to]) => {
      for (const envelope of this.#group.network.filter(onLink(from, to))) this.#group.deliver(envelope);
    },
    network: () => {
      for (const { message } of this.#group.network) this.#say(describe(message));
    },
    cut: ([from, to]) => this.#group.cut(from!, to!),
    isolate: ([id]) => this.#group.isolate(id!),
    heal: () => this.#group.heal(),
    crash: ([id], options) => this.#group.crash(id!, Number(options.get('keep') ?? 0)),
    restart: ([id]) => this.#group.restart(id!),
    fail: ([id, point]) => {
      this.#group.member(id!).crashPoint = point as CrashPoint;
    },
    flush: ([id, what]) => this.#flush(this.#group.member(id!), what!),
    inject: ([from, to], options) => this.#inject(from!, to!, options),
    propose: ([id, ...values]) => this.#group.propose(id!, ...values),
    compact: ([id, index]) => this.#group.send(this.#group.member(id!).compact(logIndex(Number(index)))),
    change: ([id, ...words], options) => void this.#group.change(id!, parseChange(words, options)),
    impaired: ([id, how]) => this.#group.input(id!, (raft, nowMs) => raft.setImpaired(how !== 'off', nowMs)),
    transfer: ([id, target]) => this.#group.input(id!, (raft, nowMs) => raft.transferLeadership(target!, nowMs)),
    read: ([id, ...tokens]) => {
      for (const token of tokens) this.#group.checker.beginRead(Number(token));
      this.#group.input(id!, (raft, nowMs) => {
        for (const token of tokens) raft.readIndex(Number(token), nowMs);
      });
    },
    up: ([id, peer]) => this.#group.input(id!, (raft, nowMs) => raft.peerUp(peer!, nowMs)),
    down: ([id, peer]) => this.#group.input(id!, (raft, nowMs) => raft.peerDown(peer!, nowMs)),
    status: (ids) => {
      for (const member of ids.length === 0 ? this.#group.all : ids.map((id) => this.#group.member(id))) {
        for (const line of describeMember(member)) this.#say(line);
      }
    },
  };

  #newGroup(options: ReadonlyMap<string, string>): void {
    const config: Record<string, number> = {};
    const preferredLeaders: string[] = [];
    let leaseReads = false;
    for (const [name, value] of options) {
      if (name === 'preferredLeaders') preferredLeaders.push(...value.split(','));
      else if (name === 'leaseReads') leaseReads = value === 'true';
      else if (!['size', 'spare', 'seed', 'pieceBytesMax'].includes(name)) config[name] = Number(value);
    }
    const groupOptions: GroupOptions = {
      size: Number(options.get('size') ?? 3),
      seed: Number(options.get('seed') ?? 1),
      spare: Number(options.get('spare') ?? 0),
      pieceBytesMax: Number(options.get('pieceBytesMax') ?? 50),
      config: { ...config, preferredLeaders, leaseReads },
      observer: {
        onStart: (member) => this.#say(`${member.id}: starts with ${describeLog(member)}`),
        onWrite: () => {},
        onRestore: (member, { index, term }) => this.#say(`${member.id}: installs snapshot ${index}@${term}`),
        onReady: (member, ready, sent) => this.#describeReady(member, ready, sent),
      },
    };
    this.#group = new Group(groupOptions);
  }

  /** Lets the group live until the next timer is that of `id`, without output; then fires it alone. */
  #awaitTimer(id: NodeId): void {
    const lines = this.#lines;
    const { core } = this.#group.member(id);
    const others = this.#group.up.filter((member) => member.id !== id);
    this.#lines = [];
    this.#group.settle();
    for (let count = 0; others.some((other) => other.core.deadlineMs <= core.deadlineMs); count++) {
      if (count === 1000) throw new Error(`the timer of ${id} never comes next`);
      this.#group.advance(Math.min(...others.map((other) => other.core.deadlineMs)) - this.#group.nowMs);
    }
    this.#lines = lines;
    this.#group.fireTimer(id);
  }

  /** Without a link: everything, until nothing moves. With one: what is on it now, or the first `count` of that. */
  #deliver(from: string | undefined, to: string | undefined, options: ReadonlyMap<string, string>): void {
    if (from === undefined) {
      this.#group.settle();
      return;
    }
    const waiting = this.#group.network.filter(onLink(from, to));
    const chosen = new Set(waiting.slice(0, Number(options.get('count') ?? waiting.length)));
    for (const envelope of this.#group.take((candidate) => chosen.has(candidate))) this.#group.deliver(envelope);
  }

  /** An append of a leader that the script makes up, on the network. */
  #inject(from: NodeId, to: NodeId, options: ReadonlyMap<string, string>): void {
    const [prevIndex, prevTerm] = (options.get('prev') ?? '0@0').split('@').map(Number) as [number, number];
    const terms = options.get('terms')?.split(',').map(Number) ?? [];
    const commit = Number(options.get('commit') ?? 0);
    this.#group.network.push(append(from, to, Number(options.get('term')), [prevIndex, prevTerm], terms, commit));
  }

  #flush(member: Member, what: string): void {
    if (what === 'manual') member.autoFlush = false;
    if (what === 'auto') member.autoFlush = true;
    if (what === 'begin') member.beginFlush();
    if (what !== 'complete') return;
    this.#say(`${member.id}: a flush completes`);
    this.#group.send(member.completeFlush());
  }

  #describeReady(member: Member, ready: Ready, sent: readonly Envelope[]): void {
    const { id } = member;
    if (ready.stateChanged) {
      const { role, term, leader, transferee } = member.core.status();
      const handing = transferee === null ? '' : `, handing over to ${transferee}`;
      this.#say(`${id}: ${role} in term ${term}, leader ${leader ?? 'unknown'}${handing}`);
    }
    if (ready.hardState !== null)
      this.#say(`${id}: persists term ${ready.hardState.term}, vote ${ready.hardState.vote}`);
    if (ready.own?.kind === 'noop') this.#say(`${id}: writes no-op ${ready.own.index}`);
    if (ready.own?.kind === 'membership') this.#say(`${id}: writes membership ${ready.own.index}`);
    if (ready.append !== null) {
      const { truncateAfter, firstIndex, lastIndex } = ready.append;
      if (truncateAfter !== null) this.#say(`${id}: removes records after ${truncateAfter}`);
      this.#say(`${id}: writes ${firstIndex}..${lastIndex}`);
    }
    if (ready.snapshot !== null)
      this.#say(`${id}: stores snapshot ${ready.snapshot.index} from byte ${ready.snapshot.offset}`);
    if (ready.membership !== null) this.#say(`${id}: goes by ${describeMembership(ready.membership)}`);
    for (const { message } of sent) this.#say(describe(message));
    if (ready.commit > (this.#commits.get(member) ?? 0)) this.#say(`${id}: commits up to ${ready.commit}`);
    this.#commits.set(member, ready.commit);
    for (const { token, index } of ready.reads) this.#say(`${id}: read ${token} sees ${index}`);
    for (const { token } of ready.abortedReads) this.#say(`${id}: read ${token} is aborted`);
  }
  readonly #commits = new WeakMap<Member, number>();

  #say(line: string): void {
    this.#lines.push(line);
  }
}

function onLink(from: NodeId | undefined, to: NodeId | undefined) {
  return ({ message }: Envelope): boolean =>
    (from === '*' || message.from === from) && (to === '*' || message.to === to);
}

/** A message as one line. */
function describe(message: RaftMessage): string {
  return `${message.from} -> ${message.to} [${message.term}] ${describeBody(message)}`;
}

function describeBody(message: RaftMessage): string {
  switch (message.type) {
    case 'vote-request': {
      const kind = message.preVote ? 'pre-vote' : message.transfer ? 'vote by transfer' : 'vote';
      return `${kind}? log ends at ${message.lastIndex}@${message.lastTerm}`;
    }
    case 'vote-response':
      return `${message.preVote ? 'pre-vote' : 'vote'} ${message.granted ? 'granted' : 'refused'}`;
    case 'append': {
      const runs = message.runs.map(({ firstIndex, term }) => `${firstIndex}@${term}`).join(' ');
      const records = message.runs.length === 0 ? 'heartbeat' : `append ..${message.lastIndex} (${runs})`;
      return `${records} after ${message.prevIndex}@${message.prevTerm}, commit ${message.commit}, round ${message.round}`;
    }
    case 'append-response': {
      const { match, reject, round } = message;
      if (reject === null) return `holds ..${match}, round ${round}`;
      return `lacks ${reject.prevIndex}, try after ${reject.hintIndex}@${reject.hintTerm}, round ${round}`;
    }
    case 'snapshot':
      return `snapshot ${message.index}@${message.indexTerm} from byte ${message.offset}, round ${message.round}`;
    case 'snapshot-response':
      return `holds ${message.offset} bytes of snapshot ${message.index}, round ${message.round}`;
    case 'timeout-now':
      return 'campaign now';
  }
}

function describeMember(member: Member): string[] {
  if (!member.isUp) return [`${member.id}: down`];
  const { role, term, leader, commit, flushedIndex, progress } = member.core.status();
  const head = `${member.id}: ${role} in term ${term}, leader ${leader ?? 'unknown'}`;
  return [
    `${head}, flushed ..${flushedIndex}, commit ${commit}, ${describeLog(member)}`,
    ...(member.core.membership.index > 0 ? [`  ${describeMembership(member.core.membership)}`] : []),
    ...progress.map(({ peer, state, match, next, connected, snapshotOffset }) => {
      const bytes = snapshotOffset === null ? '' : `, ${snapshotOffset} bytes of it`;
      return `  ${peer}: ${state}, match ${match}, next ${next}${bytes}${connected ? '' : ', down'}`;
    }),
  ];
}

function describeLog(member: Member): string {
  const { base, records } = member.log;
  const cut = base.index === 0 ? '' : ` after ${base.index}@${base.term}`;
  if (records.length === 0) return `an empty log${cut}`;
  return `log${cut}${cut === '' ? '' : ':'} ${records.map(({ term }) => term).join(' ')}`;
}

function describeMembership({ index, membership }: MembershipEntry): string {
  const { voters, outgoing, learners } = membership;
  const leaving = outgoing.length === 0 ? '' : `, and of ${outgoing.join(' ')}`;
  const rest = learners.map(({ id, promote, replaces }) => {
    return `${id}${promote ? ' to be promoted' : ''}${replaces === null ? '' : ` for ${replaces}`}`;
  });
  const learning = rest.length === 0 ? '' : `, learners ${rest.join(', ')}`;
  return `membership ${index}: a majority of ${voters.join(' ')}${leaving}${learning}`;
}

function parseChange([type, id]: readonly string[], options: ReadonlyMap<string, string>): MembershipChange {
  switch (type) {
    case 'add': {
      const promote = options.get('promote') !== 'false';
      return { type, id: id!, address: addressOf(id!), promote, replaces: options.get('replaces') ?? null };
    }
    case 'promote':
    case 'remove':
      return { type, id: id! };
    case 'readdress':
      return { type, id: id!, address: addressOf(options.get('to')!) };
    case 'cancel':
      return { type };
    default:
      throw new Error(`no such change: ${type}`);
  }
}
