// Repairs what one replica keeps of its group, while the replica does not run: looks what is damaged, asks the peers for it,
// verifies it, puts it in its place, and looks again. It goes on until the log holds all that was vouched for; with no peer
// that can help it says so and asks again, later and later.
//
//   damage in the log     the same records from a peer           in their place (repair.ts: overwrite)
//     peers have cut it   a snapshot of its own behind the damage, with no message held back below: the log is cut there
//     peers hold others   what they know to be committed, if that covers all that was vouched for (repair_mark.ts)
//     neither             a peer's snapshot, and what it knows to be committed behind, under the same condition
//   a damaged snapshot    the same one from a peer, or as before a newer one with what is committed behind
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import { isParkedRow } from '../broker/parked/parked.ts';
import { type LogIndex, logIndex, type NodeId } from '../raft/types.ts';
import { type Damage, describeDamage } from '../storage/damage.ts';
import { type DamagedRange, type DamageMap, type LogPlace, mapDamage } from '../storage/damage_map.ts';
import { HardStateFile } from '../storage/hard_state.ts';
import type { LogTip } from '../storage/log_tip.ts';
import {
  beginBehind,
  confirmWhole,
  cutBehind,
  overwrite,
  replaceTail,
  snapshotBehind,
  tipAt,
  wholeSnapshot,
} from '../storage/repair.ts';
import { removeDraft } from '../storage/repair_draft.ts';
import { isBehind, isUnderRepair, removeRepairMark, saveRepairMark } from '../storage/repair_mark.ts';
import { SnapshotStore } from '../storage/snapshot_store.ts';
import { committedOf, NotHeld, REPAIR_PIECE_BYTES, type RepairPeers, RepairSource } from './repair_sources.ts';

/** Asking again waits this long at first, doubling up to the maximum, with jitter. */
const ASK_DELAY_MS_MIN = 200;
const ASK_DELAY_MS_MAX = 10_000;

/** What a repair needs. */
export interface RepairingOptions {
  readonly place: LogPlace;
  /** What was found; of the log it is looked for anew. */
  readonly damage: Damage;
  readonly peers: RepairPeers;
  /** Whether the group can be opened without what is damaged: then it is, if nobody can help. */
  readonly isDispensable?: boolean;
  readonly clock: Clock;
  readonly random: Random;
  /** Bytes asked for at a time; only tests set it. */
  readonly pieceBytes?: number;
  /** Longest pause between two attempts; only tests set it. */
  readonly askDelayMsMax?: number;
  /** Something was repaired. For the log. */
  readonly onEvent: (message: string) => void;
  /** Nobody can help so far; told when the reason changes. For the log. */
  readonly onWarning: (message: string) => void;
}

/** One repair, from the damage to the whole log. Nothing else uses the group's files meanwhile. */
export class Repairing {
  readonly #options: RepairingOptions;
  #timer: { readonly timer: Timer; readonly wake: () => void } | null = null;
  #isStopped = false;
  /** An earlier process did not end its repair. */
  readonly #isContinued: boolean;
  #says: string;

  constructor(options: RepairingOptions) {
    this.#options = options;
    this.#isContinued = isUnderRepair(options.place.disk, options.place.directory);
    this.#says = describeDamage(options.damage);
  }

  /** What is damaged, and why it is not repaired yet. */
  get says(): string {
    return this.#says;
  }

  /**
   * Resolves when the log, or the snapshot, is whole.
   * @throws TLedgerError DATA_CORRUPTED when there is nobody to ask: it says what is damaged and what can be done;
   * SHUTTING_DOWN after `stop`; STORAGE_FAILED, DATA_DIR_FOREIGN. What is left is for the next repair to go on with.
   */
  async run(): Promise<void> {
    const { damage, onWarning, random, askDelayMsMax = ASK_DELAY_MS_MAX, peers, isDispensable } = this.#options;
    let delayMs = Math.min(ASK_DELAY_MS_MIN, askDelayMsMax);
    let said = '';
    for (;;) {
      const attempt = await this.#attempt();
      this.#assertRunning();
      if (attempt === 'whole') return;
      if (attempt === 'progress') {
        delayMs = ASK_DELAY_MS_MIN;
        continue;
      }
      this.#says = `${describeDamage(damage)}; ${attempt.lack}`;
      if (attempt.isLogWhole && damage.kind === 'snapshot' && isDispensable === true)
        return this.#doWithout(damage.index);
      if (peers.list().length === 0) throw new TLedgerError('DATA_CORRUPTED', `${this.#says}; ${ADVICE}`);
      if (attempt.lack !== said) onWarning(`${this.#says}; it is asked for again until somebody has it. ${ADVICE}`);
      said = attempt.lack;
      await this.#wait(random.between(Math.floor(delayMs / 2), delayMs));
      delayMs = Math.min(2 * delayMs, askDelayMsMax);
    }
  }

  /** Ends `run` soon. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.timer.cancel();
    this.#timer?.wake();
  }

  async #attempt(): Promise<Attempt> {
    const { place, damage } = this.#options;
    const map = await mapDamage(place, hardTermOf(place), () => this.#pause());
    this.#assertRunning();
    if (!map.isWhole) return await this.#repairLog(map);
    removeDraft(place);
    if (damage.kind === 'snapshot') {
      const attempt = await this.#repairSnapshot(map, damage.index);
      if (attempt !== 'whole') return attempt;
    }
    if (this.#isContinued && map.base !== null) confirmWhole(place, map.base, map.tip);
    removeRepairMark(place.disk, place.directory);
    return 'whole';
  }

  async #repairLog(map: DamageMap): Promise<Attempt> {
    const { place, onEvent } = this.#options;
    saveRepairMark(place.disk, place.directory, map.vouched);
    const lacks = new Lacks();
    let isMissing = map.base === null || map.ranges.length === 0;
    for (const range of map.ranges) {
      const isDone = map.base !== null && range.upTo !== null && (await this.#copyRange(map.base, range, lacks));
      isMissing ||= !isDone;
    }
    if (!isMissing) return 'progress';
    // The record of a message that is held back below a snapshot would go with the cut, though it is needed still.
    const own = lacks.haveCut || this.#sources().length === 0 ? snapshotBehind(place, map, isParkedRow) : null;
    if (own !== null) {
      cutBehind(place, own);
      onEvent(`cut the log at the snapshot of ${own.index}: nobody has the damaged records before it any more`);
      return 'progress';
    }
    for (const source of this.#sources()) {
      if (await lacks.tried(source.peer, () => this.#takeCommitted(map, source))) return 'progress';
    }
    return { lack: lacks.text, isLogWhole: false };
  }

  /** @returns whether the very records are in their place again. */
  async #copyRange(base: LogTip, { after, upTo }: DamagedRange, lacks: Lacks): Promise<boolean> {
    const { place, onEvent } = this.#options;
    if (upTo === null) return false;
    for (const source of this.#sources()) {
      const isDone = await lacks.tried(source.peer, async () => {
        const range = { after, upTo };
        const draft = await source.sameRecords(base, range);
        try {
          this.#assertRunning();
          overwrite(place, base, range, draft);
        } finally {
          draft.discard();
        }
        return true;
      });
      if (!isDone) continue;
      onEvent(`took records ${after.index + 1} to ${upTo.index} from ${source.peer} in the place of damaged ones`);
      return true;
    }
    return false;
  }

  /** What `source` knows to be committed takes the place of what is damaged, if it covers all that was vouched for. */
  async #takeCommitted(map: DamageMap, source: RepairSource): Promise<boolean> {
    const { place, onEvent } = this.#options;
    const { base, goodTip, runs, vouched } = map;
    const committed = committedOf(await source.look(logIndex(goodTip.index + 1)));
    if (isBehind(committed, vouched)) {
      const has = `${source.peer} knows nothing to be committed behind record ${committed.index} of term ${committed.term}`;
      throw new TLedgerError('OFFSET_OUT_OF_RANGE', `${has}, this node may have vouched for ${inWords(vouched)}`);
    }
    const common = base === null ? null : await source.commonIndex(base, goodTip, runs);
    if (base === null || common === null) return await this.#takeSnapshot(map, source, null);
    const tip = common === goodTip.index ? goodTip : tipAt(place, base, common);
    const draft = await source.committedRecords(tip, tip.index === base.index, committed.index);
    try {
      this.#assertRunning();
      checkCovered(draft.tip, map);
      replaceTail(place, tip, draft);
    } finally {
      draft.discard();
    }
    onEvent(`took the committed records ${tip.index + 1} to ${committed.index} from ${source.peer}`);
    return true;
  }

  /** The log begins anew behind a snapshot of the peer, and goes on with what is committed behind it. */
  async #takeSnapshot(map: DamageMap, source: RepairSource, index: LogIndex | null): Promise<boolean> {
    const { place, onEvent } = this.#options;
    const snapshots = SnapshotStore.open(place);
    try {
      const snapshot = await source.snapshot(snapshots, index);
      if (snapshot === null) throw new TLedgerError('OFFSET_OUT_OF_RANGE', `${source.peer} has no snapshot`);
      const { committedIndex } = await source.look(logIndex(snapshot.index + 1));
      const draft = await source.committedRecords(snapshot, true, committedIndex);
      try {
        this.#assertRunning();
        checkCovered(draft.tip, map);
        beginBehind(place, snapshot, draft);
      } finally {
        draft.discard();
      }
      onEvent(`took the snapshot at ${snapshot.index} and the records up to ${committedIndex} from ${source.peer}`);
      return true;
    } finally {
      snapshots.close();
    }
  }

  async #repairSnapshot(map: DamageMap, index: LogIndex): Promise<Attempt> {
    const { place, onEvent } = this.#options;
    const { base } = map;
    const isRight = (tip: LogTip | null): boolean =>
      tip !== null && (base?.index !== index || (tip.term === base.term && tip.chainCrc === base.chainCrc));
    const snapshots = SnapshotStore.open(place);
    const lacks = new Lacks();
    try {
      const held = snapshots.list().includes(index) ? wholeSnapshot(snapshots, index) : null;
      if (isRight(held)) return 'whole';
      if (held !== null) snapshots.remove(index);
      for (const source of this.#sources()) {
        const isDone = await lacks.tried(source.peer, async () => {
          if (isRight(await source.snapshot(snapshots, index))) return true;
          throw new TLedgerError('OFFSET_OUT_OF_RANGE', `${source.peer} has not got the snapshot at ${index}`);
        });
        if (!isDone) continue;
        onEvent(`took the snapshot at ${index} from ${source.peer} in the place of a damaged one`);
        return 'whole';
      }
    } finally {
      snapshots.close();
    }
    if (this.#options.isDispensable === true) return { lack: lacks.text, isLogWhole: true };
    saveRepairMark(place.disk, place.directory, map.vouched);
    for (const source of this.#sources()) {
      if (await lacks.tried(source.peer, () => this.#takeSnapshot(map, source, null))) return 'whole';
    }
    return { lack: lacks.text, isLogWhole: true };
  }

  /** A snapshot that nothing is restored from: followers that lag far behind are helped by the next one, or by others. */
  #doWithout(index: LogIndex): void {
    const { place, onWarning } = this.#options;
    const snapshots = SnapshotStore.open(place);
    snapshots.remove(index);
    snapshots.close();
    removeRepairMark(place.disk, place.directory);
    onWarning(`${this.#says}; it is given up`);
  }

  #sources(): RepairSource[] {
    const { peers, place, clock, pieceBytes = REPAIR_PIECE_BYTES } = this.#options;
    return peers.list().map((peer) => new RepairSource({ peer, peers, place, clock, pieceBytes }));
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#options.clock.defer(resolve));
  }

  #wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#timer = { timer: this.#options.clock.after(delayMs, resolve), wake: resolve };
      if (this.#isStopped) resolve();
    });
  }

  #assertRunning(): void {
    if (this.#isStopped)
      throw new TLedgerError('SHUTTING_DOWN', 'the node stops; the repair goes on at the next start');
  }
}

type Attempt = 'whole' | 'progress' | { readonly lack: string; readonly isLogWhole: boolean };

const ADVICE =
  'Start the other members; if no healthy one has these records any more, restore a backup, or remove this member and add it anew with an empty data directory';

/** Why each peer could not help. */
class Lacks {
  readonly #byPeer = new Map<NodeId, string>();
  /** Somebody answered that it does not hold the records any more. */
  haveCut = false;

  /** @returns what `task` returns; false when the peer could not help. Failures of this node's own disk are thrown. */
  async tried(peer: NodeId, task: () => Promise<boolean>): Promise<boolean> {
    try {
      return await task();
    } catch (error) {
      if (!(error instanceof TLedgerError) || OWN_FAILURES.includes(error.code)) throw error;
      if (error instanceof NotHeld && error.isCut) this.haveCut = true;
      this.#byPeer.set(peer, messageOf(error));
      return false;
    }
  }

  get text(): string {
    const reasons = [...this.#byPeer].map(([peer, why]) => `${peer}: ${why}`);
    return reasons.length === 0 ? 'there is no other member to ask' : `nobody can help: ${reasons.join('; ')}`;
  }
}

const OWN_FAILURES: readonly string[] = ['STORAGE_FAILED', 'SHUTTING_DOWN', 'DATA_DIR_FOREIGN'];

function checkCovered(tip: LogTip, { vouched }: DamageMap): void {
  if (!isBehind(tip, vouched)) return;
  throw new TLedgerError('OFFSET_OUT_OF_RANGE', `record ${tip.index} does not cover ${inWords(vouched)}`);
}

function inWords({ index, term }: DamageMap['vouched']): string {
  return index === Number.MAX_SAFE_INTEGER ? `anything up to term ${term}` : `record ${index} of term ${term}`;
}

function hardTermOf(place: LogPlace) {
  const hardState = HardStateFile.open(place);
  hardState.close();
  return hardState.state.term;
}
