// What a directory is: a store of RocketMQ, with or without DLedger, or nothing that can be imported. Looks at names and
// markers only; nothing is ever written, created or locked here.
//
//   <store>/commitlog/<20 digits>            messages, one behind the other
//   <store>/dledger-<id>/data/<20 digits>    the same in DLedger's entries; older messages may lie in commitlog/
//   <store>/consumequeue/<topic>/<queue>/    where the messages of each queue lie (derived)
//   <store>/config/*.json                    topics, and how far consumer groups have come
//   <store>/abort, checkpoint, lock          how the broker was stopped, what it had flushed, whether it runs
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { TLedgerError } from '../base/errors.ts';
import { isUint64Safe, readUint64 } from '../format/uint64.ts';
import { assertNotRunning } from './running.ts';

/** One file of a log. */
export interface SourceFile {
  readonly path: string;
  /** Physical offset of its first byte. */
  readonly start: number;
  readonly sizeBytes: number;
}

/** Files that continue each other, framed alike. */
export interface SourceArea {
  readonly framing: 'rocketmq' | 'dledger';
  readonly directory: string;
  readonly files: readonly SourceFile[];
}

/** What was found. */
export interface StoreLayout {
  readonly directory: string;
  readonly kind: 'rocketmq' | 'dledger';
  /** In the order of physical offsets. */
  readonly areas: readonly SourceArea[];
  readonly configDirectory: string;
  readonly consumeQueueDirectory: string;
  /** Whether the broker took its marker `abort` away when it stopped. */
  readonly wasStoppedCleanly: boolean;
  /** Store time of the last message that the broker knew to be flushed; null without a checkpoint. */
  readonly flushedMs: number | null;
  /** Index of the last entry that DLedger says it had; null if it says nothing. */
  readonly endIndex: number | null;
}

const FILE_NAME = /^\d{20}$/;
/** Files that only a data directory of TLedger has. */
const OWN_FILES = ['identity', 'hardstate'];

/**
 * Looks at `directory`.
 * @throws TLedgerError INVALID_ARGUMENT when there is no such directory or several stores are in it, DATA_DIR_FOREIGN when
 * it is no store, DATA_DIR_LOCKED when its broker runs, DATA_CORRUPTED when files overlap.
 */
export function openLayout(directory: string): StoreLayout {
  const given = resolve(directory);
  if (!isDirectory(given)) throw new TLedgerError('INVALID_ARGUMENT', `${given} is no directory`);
  assertNotOurs(given);
  const isMember = basename(given).startsWith('dledger-') && isDirectory(join(given, 'data'));
  const root = isMember ? dirname(given) : given;
  const member = isMember ? given : memberOf(given);
  const old = filesOf(join(root, 'commitlog'));
  const entries = member === null ? [] : filesOf(join(member, 'data'));
  const areas: SourceArea[] = [
    { framing: 'rocketmq' as const, directory: join(root, 'commitlog'), files: old },
    { framing: 'dledger' as const, directory: join(member ?? root, 'data'), files: entries },
  ].filter(({ files }) => files.length > 0);
  if (areas.length === 0) throw foreign(given);
  assertNotRunning(join(root, 'lock'));
  if (member !== null) assertNotRunning(join(member, 'lock'));
  for (const { files } of areas) assertInOrder(files);
  return {
    directory: given,
    kind: entries.length > 0 ? 'dledger' : 'rocketmq',
    areas,
    configDirectory: join(root, 'config'),
    consumeQueueDirectory: join(root, 'consumequeue'),
    wasStoppedCleanly: !existsSync(join(root, 'abort')),
    flushedMs: flushedMsOf(join(root, 'checkpoint')),
    endIndex: member === null ? null : endIndexOf(join(member, 'checkpoint')),
  };
}

/** Bytes of all files together. */
export function sizeOf({ areas }: StoreLayout): number {
  return areas.flatMap(({ files }) => files).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** The 20-digit files of a directory in order; none when it is not there. */
export function filesOf(directory: string): SourceFile[] {
  if (!isDirectory(directory)) return [];
  return readdirSync(directory)
    .filter((name) => FILE_NAME.test(name))
    .sort()
    .map((name) => {
      const path = join(directory, name);
      return { path, start: Number(name), sizeBytes: statSync(path).size };
    });
}

/** Whether there is a directory of that name. */
export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** The one DLedger member that keeps its log here. */
function memberOf(root: string): string | null {
  const found = readdirSync(root).filter(
    (name) => name.startsWith('dledger-') && isDirectory(join(root, name, 'data')),
  );
  if (found.length > 1) {
    const names = found.sort().join(', ');
    const hint = 'name the one that was the leader last, e.g.';
    throw new TLedgerError(
      'INVALID_ARGUMENT',
      `${root} holds several stores (${names}): ${hint} ${join(root, found[0]!)}`,
    );
  }
  return found[0] === undefined ? null : join(root, found[0]);
}

function assertNotOurs(directory: string): void {
  const groups = [directory, ...readdirSync(directory).map((name) => join(directory, name))];
  const own = groups.find((group) => OWN_FILES.every((name) => existsSync(join(group, name))));
  if (own === undefined) return;
  throw new TLedgerError('DATA_DIR_FOREIGN', `${own} is a data directory of TLedger, not a store of RocketMQ`);
}

function foreign(directory: string): TLedgerError {
  const isLog = filesOf(directory).length > 0;
  if (isLog) {
    const parent = dirname(directory);
    return new TLedgerError('DATA_DIR_FOREIGN', `${directory} is a part of a store: name the store itself, ${parent}`);
  }
  const wanted = 'a store of RocketMQ has commitlog/00000000000000000000 …, one of DLedger dledger-<id>/data/…';
  return new TLedgerError('DATA_DIR_FOREIGN', `${directory} is no store that can be imported: ${wanted}`);
}

function assertInOrder(files: readonly SourceFile[]): void {
  files.forEach((file, at) => {
    const next = files[at + 1];
    if (next === undefined || file.start + file.sizeBytes <= next.start) return;
    const text = `${file.path} has ${file.sizeBytes} bytes and reaches into the next file, ${basename(next.path)}`;
    throw new TLedgerError('DATA_CORRUPTED', text);
  });
}

/** ROCKETMQ_GRPC.md 10.5: the first long is the store time of the last flushed message. */
function flushedMsOf(path: string): number | null {
  if (!existsSync(path)) return null;
  const bytes = readFileSync(path);
  return bytes.length >= 8 && isUint64Safe(bytes, 0) && readUint64(bytes, 0) > 0 ? readUint64(bytes, 0) : null;
}

/** DLedger's checkpoint is a file of Java properties. */
function endIndexOf(path: string): number | null {
  if (!existsSync(path)) return null;
  const found = /^\s*endIndex\s*[=:]\s*(\d+)\s*$/m.exec(readFileSync(path, 'latin1'))?.[1];
  return found === undefined ? null : Number(found);
}
