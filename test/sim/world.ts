// One run: a group of real replicas in a world made from one seed, in which everything that can go wrong does, and then
// nothing any more. Time is an agenda of events; between two events promises inside the nodes move on, in the same way each
// time.
import { assert, InvariantError } from '../../src/base/assert.ts';
import { messageOf, TLedgerError } from '../../src/base/errors.ts';
import { type Random, SeededRandom } from '../../src/base/random.ts';
import type { TopicInfo } from '../../src/broker/types.ts';
import { bootstrap } from '../../src/raft/membership.ts';
import { logIndex, type Membership, type RaftMessage } from '../../src/raft/types.ts';
import type { RepairPeers } from '../../src/replica/repair_sources.ts';
import type { RecordBytes } from '../../src/replica/types.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import { type Damage, damageOf, describeDamage } from '../../src/storage/damage.ts';
import type { CrashMode, DiskFailure, DiskOperation } from '../../src/storage/memory_disk.ts';
import { Agenda, type Event } from './agenda.ts';
import { ClientCounts, type ClientWorld, codeOf, type Outcome, type Work } from './calls.ts';
import { Checker } from './checker.ts';
import { Crowd } from './crowd.ts';
import { Life } from './life.ts';
import { Marks } from './marks.ts';
import { nodeId, numberOf } from './names.ts';
import { Network } from './network.ts';
import { type Process, SimNode } from './node.ts';
import { addressOf, founders, Operator } from './operator.ts';
import { drawPlan, type LoadPlan, type Plan, type Profile } from './plan.ts';
import { probeSuperseded } from './readers.ts';
import { repairPeersOf } from './repair_calls.ts';
import { comeToRest } from './rest.ts';
import { Sights } from './sights.ts';
import { Strikes } from './strikes.ts';
import { newTallies, type Tallies, tally } from './tally.ts';
import { membersInWords, Trace } from './trace.ts';
import { hold, Violation } from './truth.ts';

/**
 * Enough for the promises that a message or a call sets going; more only costs time. What flushes and timers set going is
 * waited for to its end.
 */
const MICROTASKS_PER_EVENT = 12;
/** A hanging disk is noticed by a timer, and `async` flushes pause in between. */
const HANG_SLACK_MS = 250;
/** A group that needs more is running in circles. */
const EVENTS_PER_MS_AND_NODE_MAX = 25;

/** What a run is asked to be. */
export interface RunOptions {
  readonly seed: number;
  /** Null draws one. */
  readonly profile: Profile | null;
  readonly isVerbose?: boolean;
}

/** What a run was. */
export interface RunReport {
  readonly seed: number;
  readonly profile: Profile;
  readonly simulatedMs: number;
  readonly events: number;
  readonly hash: string;
  /** How often each thing happened, by name. */
  readonly tallies: Tallies;
  /** The broken promise, if any. */
  readonly failure: Error | null;
  readonly lines: readonly string[];
}

/** Runs one seed to its end. */
export async function runSeed(options: RunOptions): Promise<RunReport> {
  const { stackTraceLimit } = Error;
  // Refusals are part of the game, and their stacks cost more than all the rest; a replay with a trace has them.
  Error.stackTraceLimit = options.isVerbose ? 30 : 0;
  try {
    return await new World(options).run();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** See the head of the file. */
export class World implements ClientWorld {
  readonly plan: Plan;
  readonly random: Random;
  readonly trace: Trace;
  readonly nodes: readonly SimNode[];
  readonly network: Network;
  readonly checker: Checker;
  readonly operator: Operator;
  readonly topics: TopicInfo[] = [];
  readonly tallies = newTallies();
  readonly marks = new Marks();
  readonly #seed: number;
  readonly #agenda = new Agenda<Life>();
  readonly #faults: Random;
  readonly #strikes: Strikes;
  readonly #clientCounts = new ClientCounts();
  readonly #sights: Sights;
  readonly #dying = new Map<SimNode, CrashMode | 'kill'>();
  /** Nodes whose disk was made to fail in their present life: they may stop. */
  readonly #diskFailed = new Set<SimNode>();
  #acted: SimNode | null = null;
  #failure: Error | null = null;
  /** In the event under way: what follows from that must not be mistaken for a state that lasts. */
  #hasDiskFailed = false;
  #nowMs = 0;
  #events = 0;
  isCalm = false;
  isClosing = false;

  constructor({ seed, profile, isVerbose = false }: RunOptions) {
    this.#seed = seed;
    const draw = new SeededRandom(seed);
    this.plan = drawPlan(draw, profile);
    this.random = new SeededRandom(draw.between(0, 0xffff_ffff));
    this.#faults = new SeededRandom(draw.between(0, 0xffff_ffff));
    this.trace = new Trace(isVerbose);
    const { group, clockDrift } = this.plan;
    const { segmentSizeBytes, electionTimeoutMsMax, preferredLeaders, nodes: founderCount, spares } = group;
    const founding = bootstrap(Object.fromEntries(founders(founderCount).map((id) => [id, addressOf(id)])));
    const blank = bootstrap({});
    const nodeRandom = new SeededRandom(draw.between(0, 0xffff_ffff));
    this.nodes = Array.from({ length: founderCount + spares }, (_, number) => {
      return new SimNode(number, number < founderCount ? founding : blank, this.plan.group, nodeRandom, this);
    });
    const { nodes, marks } = this;
    this.#sights = new Sights({ nodes, marks, segmentSizeBytes, electionTimeoutMsMax, preferredLeaders });
    this.checker = new Checker({
      nodes,
      isSync: group.flush === 'sync',
      segmentSizeBytes,
      bootstrap: founding,
      hangMsMax: group.diskStallMs / (1 - clockDrift) + HANG_SLACK_MS,
      sights: this.#sights,
    });
    this.checker.truth.consumption.marks = marks;
    const networkRandom = new SeededRandom(draw.between(0, 0xffff_ffff));
    this.network = new Network(nodes.length, this.plan.network, networkRandom, this, this.trace);
    this.operator = new Operator(this, new SeededRandom(draw.between(0, 0xffff_ffff)));
    this.#strikes = new Strikes(this, this.#faults);
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get hasLeases(): boolean {
    return this.plan.group.leaseReads;
  }

  get load(): LoadPlan {
    return this.plan.load;
  }

  async run(): Promise<RunReport> {
    this.trace.say(() => `seed ${this.#seed} ${JSON.stringify(this.plan)}`);
    try {
      for (const node of this.nodes) node.start();
      const crowd = new Crowd(this, this.#clientCounts);
      this.#strikes.start();
      await this.runUntil(this.plan.faultyMs);
      this.#calmDown();
      await comeToRest(this, crowd);
    } catch (error) {
      this.fail(error);
    }
    for (const node of this.nodes) node.silence();
    await allMicrotasks();
    return this.#report();
  }

  // What nodes, network and clients ask of the world.

  newLife(node: SimNode): Life {
    const { clockDrift } = this.plan;
    return new Life(node.number, this, this.#agenda, {
      startMs: this.#faults.between(0, 1_000_000),
      rate: 1 + clockDrift * (2 * this.#faults.next() - 1),
      wallOffsetMs: clockDrift * this.#faults.between(-5_000, 5_000),
    });
  }

  flushMs(node: SimNode): number {
    const { flushMsMax, flushStall, group } = this.plan;
    if (this.isCalm) return this.#faults.next();
    const isStalled = this.#faults.next() < flushStall;
    if (isStalled) this.count('stalled flush');
    const ms = Math.max(
      this.#faults.next() * flushMsMax * (isStalled ? 100 : 1),
      node.hungUntilMs - this.#nowMs + this.#faults.next(),
    );
    if (ms > group.electionTimeoutMsMax) this.marks.reach('a flush outlasts an election timeout');
    return ms;
  }

  send(from: SimNode, message: RaftMessage, records: RecordBytes | null): void {
    this.checker.onSend(from, message);
    const to = numberOf(message.to);
    this.network.send(from.number, to, message, records);
    this.#strikes.afterSend(from, message);
  }

  receive(to: number, message: RaftMessage, records: RecordBytes | null): void {
    this.#atNode(to, (node) => {
      this.trace.say(() => `  at ${node.id} from ${message.from}: ${message.type} t${message.term}`);
      this.#sights.onReceive(node, message);
      const termBefore = node.process!.replica.term;
      node.process!.replica.onMessage(message, records);
      this.checker.afterReceive(node, message, termBefore, this.#nowMs);
      if (isOldNews(node, message)) this.#strikes.afterOldAcknowledgement(node);
    });
  }

  membersChanged(node: SimNode, membership: Membership): void {
    this.trace.say(() => `${node.id} goes by ${membersInWords(membership)}`);
    const before = node.members;
    node.members = new Set(Object.keys(membership.addresses));
    for (const id of node.members) {
      const peer = this.nodes[numberOf(id)]!;
      if (peer !== node && !before.has(id) && peer.process !== null) this.tell(node.number, peer.number, true);
    }
  }

  tell(node: number, peer: number, isUp: boolean): void {
    const { life } = this.nodes[node]!;
    // Nobody has a connection to those who do not belong to the group.
    if (!this.nodes[node]!.members.has(nodeId(peer))) return;
    this.later(0.1, () => {
      // A process that began since has connections of its own.
      if (this.nodes[node]!.life !== life) return;
      this.#atNode(node, ({ process, id }) => {
        this.trace.say(() => `  ${id} is told that n${peer} is ${isUp ? 'up' : 'down'}`);
        if (isUp) process!.replica.onUp(`n${peer}`);
        else process!.replica.onDown(`n${peer}`);
      });
    });
  }

  later(delayMs: number, run: () => void): void {
    this.#agenda.add(null, 'timer', this.#nowMs + delayMs, run);
  }

  started(node: SimNode): void {
    const { recovery, lastIndex } = node.process!.log;
    this.trace.say(() => `${node.id} runs, ${lastIndex} records; ${JSON.stringify(recovery)}`);
    for (const peer of this.nodes) if (peer !== node) this.tell(peer.number, node.number, true);
    this.checker.afterEvent(node, this.#nowMs);
  }

  closing(node: SimNode): void {
    this.#learnFrom(node);
  }

  ended(node: SimNode, how: 'failed' | 'died' | 'refused', error: Error): void {
    this.trace.say(() => `${node.id} ${how}: ${messageOf(error)}`);
    const damage = damageOf(error);
    if (damage !== null && node.isDamaged) this.#found(node, damage, how === 'refused');
    else if (how !== 'died' && !(this.#diskFailed.has(node) && !(error instanceof InvariantError))) {
      this.fail(error instanceof Violation ? error : new Violation(`${node.id} ${how}: ${error.stack ?? error}`));
    }
    this.#learnFrom(node);
    node.silence();
    if (how === 'failed') this.#strikes.afterFailure(node);
    this.#dying.set(node, how === 'died' ? this.#strikes.drawEnd() : 'kill');
  }

  /** Its next start repairs it. */
  #found(node: SimNode, damage: Damage, isAtStart: boolean): void {
    this.count(`damage found: ${damage.kind}`);
    this.marks.reach(isAtStart ? 'damage is found at the start' : 'damage is found while running');
    if (node.process?.replica.isLeader) this.marks.reach('a leader finds its log damaged');
    node.found = damage;
  }

  damaged(node: SimNode, damage: Damage): void {
    hold(node.isDamaged, () => `${node.id} finds damage where none was done: ${describeDamage(damage)}`);
    this.#found(node, damage, false);
    this.#strikes.stopNode(node);
  }

  repaired(node: SimNode, damage: Damage): void {
    this.trace.say(() => `${node.id} is repaired`);
    this.count(`repaired: ${damage.kind}`);
    if (damage.kind === 'log') node.becomesWhole();
  }

  repairPeers(node: SimNode, life: Life): RepairPeers {
    return repairPeersOf(this, node, life);
  }

  /** Runs `work` on another node for one that repairs its data; null when that has no process. */
  answerRepair<T>(to: number, work: (process: Process) => T): { readonly given: T } | { readonly refused: string } {
    const node = this.nodes[to]!;
    if (node.process === null) return { refused: `${node.id} is down, or repairs itself` };
    try {
      return { given: work(node.process) };
    } catch (error) {
      if (!(error instanceof TLedgerError)) throw error;
      return { refused: messageOf(error) };
    }
  }

  warned(node: SimNode, message: string): void {
    tally(this.tallies.checks, 'warnings');
    if (node.process?.replica.isLeader) {
      if (message.includes('a flush has not come back')) this.marks.reach('a leader gives way because its disk hangs');
      if (message.includes('the event loop stood still')) {
        this.marks.reach('a leader gives way because its event loop stood still');
      }
    }
    if (message.includes('cannot be sent') && node.damage.has('snapshots')) {
      this.marks.reach('a damaged snapshot is not sent');
    }
    if (message.includes('in the place of damaged ones')) {
      this.marks.reach('damaged records are taken from another node');
    }
    if (message.startsWith('took the committed records')) {
      this.marks.reach('committed records take the place of damaged ones');
    }
    if (message.startsWith('took the snapshot at') || message.startsWith('cut the log at')) {
      this.marks.reach('a damaged log begins anew behind a snapshot');
    }
    if (message.startsWith('the state is damaged')) {
      this.marks.reach(node.damage.has('queues') ? 'damaged queues are made anew' : 'damaged state is made anew');
    }
    this.trace.say(() => `${node.id} warns: ${message}`);
  }

  diskFailed(node: SimNode, operation: DiskOperation, effect: DiskFailure): void {
    this.count(`disk ${effect}`);
    this.#hasDiskFailed = true;
    this.#diskFailed.add(node);
    this.#sights.onDiskFailure(node, operation, effect);
    this.trace.say(() => `${node.id}: ${effect} at ${operation.kind} ${operation.path}`);
  }

  diesAt(node: SimNode, operation: DiskOperation): void {
    this.#sights.onDeathAt(node, operation);
  }

  call<T>(to: number, work: Work<T>, timeoutMs: number, done: (outcome: Outcome<T>) => void): void {
    let isOver = false;
    const end = (outcome: Outcome<T>): void => {
      if (isOver) return;
      isOver = true;
      try {
        done(outcome);
      } catch (error) {
        this.fail(error);
      }
    };
    const nobody = { result: null, leader: null, message: '' };
    this.later(timeoutMs, () => end({ ...nobody, code: 'TIMEOUT' }));
    if (this.network.losesForClient()) return;
    this.later(this.network.clientDelayMs(), () => {
      const node = this.nodes[to]!;
      if (node.process === null) {
        this.later(this.network.clientDelayMs(), () => end({ ...nobody, code: 'UNREACHABLE' }));
        return;
      }
      this.#atNode(to, ({ process }) => {
        const { life, replica } = process!;
        const reply = (error: unknown, result: T | null): void => {
          if (!life.isAlive || this.network.losesForClient()) return;
          const leader = replica.leaderId === null ? null : numberOf(replica.leaderId);
          const code = result === null ? codeOf(error) : null;
          const message = result === null ? messageOf(error) : '';
          this.later(this.network.clientDelayMs(), () => end({ result, code, message, leader }));
        };
        try {
          work(process!, reply);
        } catch (error) {
          reply(error, null);
        }
      });
    });
  }

  /** Notes the first broken promise; the run ends with it. */
  fail(error: unknown): void {
    if (this.#failure !== null) return;
    this.#failure = error instanceof Error ? error : new Error(String(error));
    this.trace.say(() => `BROKEN: ${messageOf(error)}`);
  }

  // What the strikes do.

  /** Counts a fault. */
  count(what: string): void {
    tally(this.tallies.faults, what);
  }

  /** The node that believes to lead in the latest term. */
  leader(): SimNode | null {
    let best: SimNode | null = null;
    for (const node of this.nodes) {
      if (node.process === null || !node.process.replica.isLeader) continue;
      if (best === null || node.process.replica.term > best.process!.replica.term) best = node;
    }
    return best;
  }

  /** Nodes that run, or will again. */
  get survivors(): readonly SimNode[] {
    return this.nodes.filter(({ isGone }) => !isGone);
  }

  /** Those of them that belong to the group. */
  get members(): readonly SimNode[] {
    const { addresses } = this.checker.truth.membership;
    return this.survivors.filter(({ id }) => addresses[id] !== undefined);
  }

  /** Ends a process from outside, now. */
  kill(node: SimNode, mode: CrashMode | 'kill'): void {
    if (node.life === null) return;
    this.trace.say(() => `${node.id} ends: ${mode}`);
    this.#learnFrom(node);
    node.silence();
    this.#dying.set(node, mode);
    this.#bury();
  }

  /** Runs something as an input of the node's process; as ever, it happens after a stall, and not to the dead. */
  act(node: SimNode, run: (node: SimNode) => void): void {
    this.#atNode(node.number, run);
  }

  #atNode(number: number, run: (node: SimNode) => void): void {
    const node = this.nodes[number]!;
    if (node.process === null) return;
    const { life } = node.process;
    if (life.stalledUntilMs > this.#nowMs) {
      life.plan('io', 0, () => run(node));
      return;
    }
    this.#acted = node;
    run(node);
  }

  /** Lets everything happen that is planned until then. @throws the first broken promise */
  async runUntil(untilMs: number): Promise<void> {
    const agenda = this.#agenda;
    while (this.#failure === null && agenda.nextMs <= untilMs) {
      const event = agenda.take();
      if (event.run === null) continue;
      this.#nowMs = event.atMs;
      this.trace.nowMs = event.atMs;
      this.#perform(event);
      const isLong = (event.owner !== null && event.kind !== 'immediate') || this.#hasDiskFailed;
      this.#hasDiskFailed = false;
      await (isLong ? allMicrotasks() : microtasks(MICROTASKS_PER_EVENT));
      this.#afterEvent(event);
      // A message storm, or timers that are due for ever, would not let time pass at all.
      const eventsMax = 20_000 + EVENTS_PER_MS_AND_NODE_MAX * this.nodes.length * this.#nowMs;
      assert(++this.#events < eventsMax, 'the group does not run in circles');
    }
    if (this.#failure !== null) throw this.#failure;
    this.#nowMs = Math.max(this.#nowMs, untilMs);
    this.trace.nowMs = this.#nowMs;
  }

  #perform(event: Event<Life>): void {
    const { owner, run } = event;
    if (owner !== null) {
      if (!owner.isAlive) return;
      if (owner.stalledUntilMs > this.#nowMs) {
        owner.hold(event);
        return;
      }
      this.#acted = this.nodes[owner.node]!;
    }
    event.run = null;
    try {
      run!();
    } catch (error) {
      if ((error as Error).name !== 'Death') this.fail(error);
    }
  }

  #afterEvent(event: Event<Life>): void {
    const node = this.#acted;
    this.#acted = null;
    this.trace.mix(event.atMs * 1000);
    if (this.#dying.size > 0) this.#bury();
    if (node === null || node.process === null) return;
    try {
      this.checker.afterEvent(node, this.#nowMs);
      const { group, clockDrift } = this.plan;
      this.checker.checkQuorum(node, this.#nowMs, (3 * group.electionTimeoutMsMax) / (1 - clockDrift));
    } catch (error) {
      this.fail(error);
    }
    if (this.checker.isNewLeader(node)) {
      this.#probeOthers(node);
      this.#strikes.afterElection(node);
    }
    const committed = this.checker.newlyCommitted(node);
    if (committed !== null) this.#strikes.afterCommit(node, committed.isFirst);
    if (this.checker.haveMajoritiesChanged(node)) this.#strikes.afterMajorities(node);
    if (node.process === null) return;
    const { log, broker, replica } = node.process;
    this.trace.mix(node.number);
    this.trace.mix(log.lastChain);
    this.trace.mix(broker.appliedIndex);
    this.trace.mix(replica.term);
  }

  /**
   * Reads all that the members' logs hold; whoever finds something damaged repairs it.
   * @returns whether nothing is damaged any more.
   */
  scrub(): boolean {
    let isWhole = true;
    for (const node of this.members) {
      if (!node.damage.has('log')) continue;
      const { process } = node;
      if (process === null || node.isStopping) {
        isWhole = false;
        continue;
      }
      const damage = node.observe(({ log }) => damageIn(log));
      if (damage !== null) this.act(node, () => process.replica.damaged(damage));
      isWhole &&= damage === null;
    }
    return isWhole;
  }

  /** From here on nothing goes wrong any more. */
  #calmDown(): void {
    this.trace.say(() => 'no more faults');
    this.isCalm = true;
    this.network.isCalm = true;
    this.#strikes.stop();
    this.network.healAll();
    for (const node of this.survivors) {
      node.fuse = null;
      node.hungUntilMs = 0;
      if (node.life === null) node.start();
    }
  }

  /** Whoever still believes to lead is asked at the moment at which that would be worst. */
  #probeOthers(leader: SimNode): void {
    for (const other of this.nodes) {
      if (other === leader || !other.process?.replica.isLeader || !this.checker.isSuperseded(other)) continue;
      this.act(other, () => probeSuperseded(this, other));
    }
  }

  #learnFrom(node: SimNode): void {
    try {
      this.checker.beforeEnd(node);
    } catch (error) {
      this.fail(error);
    }
  }

  #bury(): void {
    for (const [node, mode] of this.#dying) {
      const wasStopping = node.isStopping;
      this.#sights.onEnd(node);
      this.count(mode === 'kill' ? (wasStopping ? 'stop' : 'kill') : `power loss: ${mode}`);
      node.end(mode, this.#faults);
      this.#diskFailed.delete(node);
      this.network.forget(node.number);
      for (const peer of this.nodes) {
        if (peer !== node && this.#faults.next() < 0.7) this.tell(peer.number, node.number, false);
      }
      const { downMsMax } = this.plan.strikes;
      const isQuick = this.isCalm || this.#faults.next() < 0.6;
      this.later(this.#faults.next() * (isQuick ? 40 : downMsMax), () => {
        if (node.life !== null || node.isGone) return;
        this.#strikes.beforeStart(node);
        node.start();
      });
    }
    this.#dying.clear();
  }

  addTopic(topic: { readonly name: string; readonly queues: number }): void {
    this.topics.push({ ...topic, createdAtMs: 0 });
  }

  /** The topic has so many queues, as somebody was told. */
  growTopic(name: string, queues: number): void {
    const at = this.topics.findIndex((topic) => topic.name === name);
    this.topics[at] = { ...this.topics[at]!, queues };
  }

  #report(): RunReport {
    const { checker, network, tallies } = this;
    const { sent, ...harm } = network.counts;
    tally(tallies.operations, 'messages sent', sent);
    for (const [what, count] of Object.entries(harm)) tally(tallies.faults, `messages ${what}`, count);
    for (const [what, count] of Object.entries(this.#clientCounts)) tally(tallies.operations, what, count as number);
    for (const [what, count] of Object.entries(checker.counts)) tally(tallies.checks, what, count);
    tally(tallies.checks, 'records committed', checker.truth.last);
    tally(tallies.checks, 'messages committed', checker.truth.messageCount);
    Object.assign(tallies.marks, this.marks.counts);
    return {
      seed: this.#seed,
      profile: this.plan.profile,
      simulatedMs: this.#nowMs,
      events: this.#events,
      hash: this.trace.hash,
      tallies,
      failure: this.#failure,
      lines: this.trace.lines,
    };
  }
}

/** Whether a leader is told that a follower holds records of earlier terms, and nothing of its own yet. */
function isOldNews({ process }: SimNode, message: RaftMessage): boolean {
  if (message.type !== 'append-response' || process === null || !process.replica.isLeader) return false;
  const { match, term } = message;
  const { replica, log } = process;
  if (match === 0 || term !== replica.term || match > log.lastIndex || match < log.firstIndex) return false;
  return log.termAt(match) < term && match > replica.status().committedIndex;
}

/** What a look at every record finds. */
function damageIn(log: CommitLog): Damage | null {
  try {
    for (let index = log.firstIndex; index <= log.lastIndex; index = logIndex(index + 1)) {
      log.read(index, index);
      log.chainAt(index);
    }
    return null;
  } catch (error) {
    const damage = damageOf(error);
    if (damage === null) throw error;
    return damage;
  }
}

function allMicrotasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function microtasks(count: number): Promise<void> {
  for (let done = 0; done < count; done++) await null;
}
