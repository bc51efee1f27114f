// One simulated node: a disk and a state medium that outlive its processes, and the real replica, log, broker and hard
// state that run on them. It can be told to die or to fail at the worst moments.
import { assert } from '../../src/base/assert.ts';
import { TLedgerError } from '../../src/base/errors.ts';
import { type Random, SeededRandom } from '../../src/base/random.ts';
import type { Broker } from '../../src/broker/broker.ts';
import { APPLIED_KEY } from '../../src/broker/state_tables.ts';
import type { LogIndex, Membership, NodeId, RaftMessage } from '../../src/raft/types.ts';
import { type OpenGroup, openGroup } from '../../src/replica/open_group.ts';
import type { RepairPeers } from '../../src/replica/repair_sources.ts';
import { Repairing } from '../../src/replica/repairing.ts';
import { Replica } from '../../src/replica/replica.ts';
import type { RecordBytes } from '../../src/replica/types.ts';
import type { CommitLog } from '../../src/storage/commit_log.ts';
import { type Damage, damageOf } from '../../src/storage/damage.ts';
import { type CrashMode, type DiskFailure, type DiskOperation, MemoryDisk } from '../../src/storage/memory_disk.ts';
import { MemoryStateMedium, MemoryStateStore } from '../../src/storage/memory_state_store.ts';
import { SIM_KEY_LAYOUT } from './keys.ts';
import type { Life } from './life.ts';
import { nodeId } from './names.ts';
import type { GroupPlan } from './plan.ts';

/** Where a node's group lies on its disk. */
const DIRECTORY = '/data/g0';

/** What can be damaged of what a node has stored. */
export type DamagedPart = 'log' | 'hard state' | 'checkpoint' | 'base' | 'log index' | 'queues' | 'state' | 'snapshots';

/** Thrown inside a process that ends here and now. */
export class Death extends Error {
  override readonly name = 'Death';
}

/** What is about to happen to a node at one of its next disk operations. */
export interface Fuse {
  /** Operations that are let through before it. */
  left: number;
  /** Only operations that it fits are counted. */
  readonly fits: (operation: DiskOperation) => boolean;
  readonly effect: DiskFailure | 'die';
}

/** What a node needs of the world around it. */
export interface NodePort {
  newLife(node: SimNode): Life;
  /** How long the next flush takes. */
  flushMs(node: SimNode): number;
  send(from: SimNode, message: RaftMessage, records: RecordBytes | null): void;
  /** The process wants to end, or has just been ended by a fuse. */
  ended(node: SimNode, how: 'failed' | 'died' | 'refused', error: Error): void;
  /** Whom the node's transport is to connect to. */
  membersChanged(node: SimNode, membership: Membership): void;
  /** Whom a node that repairs its data can ask. */
  repairPeers(node: SimNode, life: Life): RepairPeers;
  /** Damage was found while the replica runs: it is to be stopped, and to be repaired by its next start. */
  damaged(node: SimNode, damage: Damage): void;
  /** What was found damaged is whole again. */
  repaired(node: SimNode, damage: Damage): void;
  /** The replica runs and can be asked. */
  started(node: SimNode): void;
  /** The replica has stopped, and its files are about to be closed: afterwards they can not be looked at. */
  closing(node: SimNode): void;
  warned(node: SimNode, message: string): void;
  diskFailed(node: SimNode, operation: DiskOperation, effect: DiskFailure): void;
  /** A step of the disk by which the process dies. */
  diesAt(node: SimNode, operation: DiskOperation): void;
}

/** What runs during one life. */
export interface Process {
  readonly life: Life;
  readonly replica: Replica;
  readonly log: CommitLog;
  readonly broker: Broker;
  readonly group: OpenGroup;
  readonly appliedAtStart: LogIndex;
  /** The state that was stored is behind the log, and was restored from a snapshot. */
  readonly isRestored: boolean;
}

/** See the head of the file. */
export class SimNode {
  readonly number: number;
  readonly id: NodeId;
  readonly directory = DIRECTORY;
  disk = new MemoryDisk();
  medium = new MemoryStateMedium();
  /** Parts of what it has stored that were damaged, ever. */
  readonly damage = new Set<DamagedPart>();
  /** Records up to this index may be damaged where they lie. */
  damagedUpTo = 0;
  /** Whom it is connected to, as far as they are there. */
  members: ReadonlySet<NodeId> = new Set();
  /** It has left the group, and its operator does not start it any more. */
  isRetired = false;
  /** Its disk is gone, and it never runs again. */
  isLost = false;
  /** What was found damaged while it ran: repaired before it takes part again. */
  found: Damage | null = null;
  /** Its life is one of repair: it takes part in nothing. */
  isRepairing = false;
  /** The state tables are damaged, and nobody has noticed yet. */
  isStateDamaged = false;
  /** Flushes of the log that have ended. */
  flushCount = 0;
  /** No flush ends before. */
  hungUntilMs = 0;
  readonly #bootstrap: Membership;
  readonly #plan: GroupPlan;
  readonly #random: Random;
  readonly #port: NodePort;
  /** The life that is under way, also while the process is still opening its files. */
  life: Life | null = null;
  process: Process | null = null;
  fuse: Fuse | null = null;
  /** While set, the disk is only looked at by the checker. */
  isObserved = false;
  /** Ends by itself soon: it must not be started again before. */
  isStopping = false;
  /** Has stopped, and closes its files. */
  isClosing = false;
  lives = 0;

  /** @param bootstrap whom its configuration names: the founders, or nobody for a node that waits to be added. */
  constructor(number: number, bootstrap: Membership, plan: GroupPlan, random: Random, port: NodePort) {
    this.number = number;
    this.id = nodeId(number);
    this.#bootstrap = bootstrap;
    this.#plan = plan;
    this.#random = random;
    this.#port = port;
  }

  /** The index up to which its durable state is applied; 0 while it has none. */
  get storedIndex(): number {
    const { index = 0 } = JSON.parse(this.medium.durable.get(APPLIED_KEY) ?? '{}') as { readonly index?: number };
    return index;
  }

  /** Whether it never runs again. */
  get isGone(): boolean {
    return this.isLost || this.isRetired;
  }

  /** Whether it may answer that its data are damaged. */
  get isDamaged(): boolean {
    return this.damage.size > 0;
  }

  /** All of its log was looked at, and is as it was. */
  becomesWhole(): void {
    this.damage.delete('log');
    this.damagedUpTo = 0;
  }

  /** Begins a life; it is told to the port when the replica runs. */
  start(): void {
    assert(!this.isGone, 'a node that has lost its data, or has left, never runs again');
    const life = this.#port.newLife(this);
    this.life = life;
    this.lives++;
    this.disk.deferFlush = (finish) => {
      life.plan('io', this.#port.flushMs(this), finish);
    };
    this.disk.onOperation = (operation) => this.#onOperation(operation);
    this.#open(life).then(
      (process) => {
        if (!life.isAlive) return;
        this.process = process;
        process.replica.start();
        this.#port.started(this);
      },
      (error: Error) => {
        if (life.isAlive) this.#port.ended(this, 'refused', error);
      },
    );
  }

  /** The process has ended; with a mode, so has the power. */
  end(mode: CrashMode | 'kill', random: Random): void {
    this.silence();
    this.life = null;
    this.process = null;
    this.fuse = null;
    this.isStopping = false;
    this.isClosing = false;
    this.isRepairing = false;
    if (mode === 'kill') return;
    this.disk.crash({ mode, random });
    this.medium.crash(mode === 'lost' ? 0 : random.between(0, this.medium.unsynced.length));
  }

  /** Stops as a node does that is told to: leadership is handed over, state saved, files closed. */
  async stop(graceMs: number): Promise<void> {
    const { process } = this;
    if (process === null) return;
    this.isStopping = true;
    await process.replica.stop(graceMs);
    if (!process.life.isAlive) return;
    this.#port.closing(this);
    this.isClosing = true;
    await process.group.close();
  }

  /** Looks at what the process has, without that counting as its own doing. */
  observe<T>(look: (process: Process) => T): T {
    const before = this.isObserved;
    this.isObserved = true;
    try {
      return look(this.process!);
    } finally {
      this.isObserved = before;
    }
  }

  /** Ends the process in the middle of what it does. */
  die(why: string): never {
    const death = new Death(why);
    this.#port.ended(this, 'died', death);
    this.silence();
    throw death;
  }

  /** From here on the process does nothing any more, whatever its promises had planned. */
  silence(): void {
    if (this.life !== null) this.life.isAlive = false;
    this.disk.kill();
    this.medium.crash(Number.POSITIVE_INFINITY);
  }

  #onOperation(operation: DiskOperation): void {
    if (operation.kind === 'flush-done' && operation.path.includes('commitlog')) this.flushCount++;
    const { fuse } = this;
    if (this.isObserved || fuse === null || !fuse.fits(operation) || fuse.left-- > 0) return;
    this.fuse = null;
    if (fuse.effect === 'die') {
      this.#port.diesAt(this, operation);
      this.die(`${operation.kind} ${operation.path}`);
    }
    this.#port.diskFailed(this, operation, fuse.effect);
    this.disk.failAt(0, fuse.effect);
  }

  async #open(life: Life): Promise<Process> {
    const { disk, medium } = this;
    const plan = this.#plan;
    const { segmentSizeBytes, cacheBytesMax, neededBytesMax, indexUnitsPerFile, producerRunsMax } = plan;
    const onWarning = (message: string): void => this.#port.warned(this, message);
    let storedAtOpen = 0;
    const open = (damage?: Damage): Promise<OpenGroup> => {
      storedAtOpen = this.storedIndex;
      return openGroup({
        disk,
        directory: DIRECTORY,
        store: new DamageableStore(this, medium),
        segmentSizeBytes,
        ...{ cacheBytesMax, neededBytesMax },
        clock: life,
        indexUnitsPerFile,
        keyIndex: SIM_KEY_LAYOUT,
        limits: { producerRunsMax, openQueueFilesMax: 8 },
        damage,
        onWarning,
      });
    };
    const group = await this.#openWhole(life, open);
    const { log, broker } = group;
    const replica = new Replica({
      ...plan,
      ...group,
      raft: { ...plan, id: this.id },
      membership: this.#bootstrap,
      limits: { ...plan, countMax: plan.waitingCountMax, bytesMax: 256 * 1024 },
      clock: life,
      random: new SeededRandom(this.#random.between(0, 0xffff_ffff)),
      transport: {
        send: (message, records) => {
          if (life.isAlive) this.#port.send(this, message, records);
        },
        setMembers: (membership) => {
          if (life.isAlive) this.#port.membersChanged(this, membership);
        },
      },
      onWarning,
      onDamage: (damage) => {
        if (life.isAlive) this.#port.damaged(this, damage);
      },
      onFailure: (error) => {
        if (life.isAlive) this.#port.ended(this, 'failed', error);
      },
    });
    const isRestored = storedAtOpen < log.base.index;
    return { life, replica, log, broker, group, appliedAtStart: broker.appliedIndex, isRestored };
  }

  /** As a node does: what is damaged is repaired first, be it known or found now. */
  async #openWhole(life: Life, open: (damage?: Damage) => Promise<OpenGroup>): Promise<OpenGroup> {
    let isDispensable = this.found?.kind === 'snapshot';
    for (;;) {
      const derived = this.found?.kind === 'derived' ? this.found : undefined;
      if (derived !== undefined) this.found = null;
      if (this.found !== null) await this.#repair(life, this.found, isDispensable);
      try {
        return await open(derived);
      } catch (error) {
        const damage = damageOf(error);
        if (damage === null || damage.kind === 'derived') throw error;
        this.found = damage;
        isDispensable = false;
      }
    }
  }

  async #repair(life: Life, damage: Damage, isDispensable: boolean): Promise<void> {
    const { segmentSizeBytes, indexUnitsPerFile } = this.#plan;
    this.isRepairing = true;
    const repair = new Repairing({
      place: { disk: this.disk, directory: DIRECTORY, segmentSizeBytes, indexUnitsPerFile },
      damage,
      isDispensable,
      peers: this.#port.repairPeers(this, life),
      clock: {
        monotonicMs: () => life.monotonicMs(),
        wallMs: () => life.wallMs(),
        after: (delayMs, task) => life.after(delayMs, task),
        // What a repair does between two questions takes as long as a flush.
        defer: (task) => void life.plan('io', 0.1, task),
        soon: (task) => life.soon(task),
      },
      random: new SeededRandom(this.#random.between(0, 0xffff_ffff)),
      pieceBytes: 2_000,
      askDelayMsMax: ASK_DELAY_MS_MAX,
      onEvent: (message) => this.#port.warned(this, message),
      onWarning: (message) => this.#port.warned(this, message),
    });
    await repair.run();
    if (!life.isAlive) return;
    this.isRepairing = false;
    this.found = null;
    this.#port.repaired(this, damage);
  }
}

/** How long an attempt to repair is put off at most. */
const ASK_DELAY_MS_MAX = 500;

/** A state store whose damage shows when it is loaded, as that of the real one does; emptied, it is sound again. */
class DamageableStore extends MemoryStateStore {
  readonly #node: SimNode;

  constructor(node: SimNode, medium: MemoryStateMedium) {
    super(medium);
    this.#node = node;
  }

  override async load(): Promise<Map<string, string>> {
    if (this.#node.isStateDamaged) throw new TLedgerError('DATA_CORRUPTED', 'the state has lost or altered entries');
    return super.load();
  }

  override async reset(): Promise<string | null> {
    this.#node.isStateDamaged = false;
    return super.reset();
  }
}
