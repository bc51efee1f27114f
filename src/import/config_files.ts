// The broker's config/*.json: topics with their queues, and how far consumer groups have come. RocketMQ writes JSON whose
// numeric names have no quotes ({0:17,1:20}), and keeps the version before as `.bak`.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, TLedgerError } from '../base/errors.ts';

/** What topics.json says of a topic. */
export interface TopicConfig {
  /** The larger one of the numbers of queues to write to and to read from. */
  readonly queues: number;
  /** Whether the broker made it for itself: topics in the names of the cluster and of the broker. */
  readonly isBrokers: boolean;
}

/** Where a group goes on reading one queue. */
export interface GroupOffset {
  readonly group: string;
  readonly topic: string;
  readonly queue: number;
  /** Offset of the message it reads next. */
  readonly offset: number;
}

/** Bit of `perm` that only the broker's own topics have. */
const PERMISSION_INHERIT = 1;
/** Between topic and group. */
const SEPARATOR = '@';

/** The topics of topics.json; null when there is no such file. @throws TLedgerError DATA_CORRUPTED */
export function readTopics(configDirectory: string): Map<string, TopicConfig> | null {
  const table = tableOf(configDirectory, 'topics.json', 'topicConfigTable');
  if (table === null) return null;
  const topics = new Map<string, TopicConfig>();
  for (const [topic, config] of Object.entries(table)) {
    const { readQueueNums, writeQueueNums, perm } = (config ?? {}) as Record<string, unknown>;
    const queues = Math.max(countOf(readQueueNums), countOf(writeQueueNums));
    topics.set(topic, { queues, isBrokers: (countOf(perm) & PERMISSION_INHERIT) !== 0 });
  }
  return topics;
}

/** The offsets of consumerOffset.json; null when there is no such file. @throws TLedgerError DATA_CORRUPTED */
export function readGroupOffsets(configDirectory: string): GroupOffset[] | null {
  const table = tableOf(configDirectory, 'consumerOffset.json', 'offsetTable');
  if (table === null) return null;
  return Object.entries(table).flatMap(([name, queues]) => {
    const at = name.indexOf(SEPARATOR);
    if (at < 0) return [];
    const [topic, group] = [name.slice(0, at), name.slice(at + 1)];
    return Object.entries((queues ?? {}) as Record<string, unknown>).map(([queue, offset]) => {
      return { group, topic, queue: Number(queue), offset: countOf(offset) };
    });
  });
}

function countOf(value: unknown): number {
  return Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : 0;
}

/** The member `table` of a file, or of the version before it when that one is torn. */
function tableOf(directory: string, name: string, table: string): Record<string, unknown> | null {
  const paths = [join(directory, name), join(directory, `${name}.bak`)].filter((path) => existsSync(path));
  let failure: unknown;
  for (const path of paths) {
    try {
      const parsed = JSON.parse(quoteNames(readFileSync(path, 'utf8'))) as Record<string, unknown> | null;
      const found = parsed?.[table];
      if (typeof found === 'object' && found !== null) return found as Record<string, unknown>;
      failure ??= new Error(`it has no ${table}`);
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure === undefined) return null;
  throw new TLedgerError('DATA_CORRUPTED', `${paths[0]} cannot be read: ${messageOf(failure)}`, failure);
}

/** Puts quotes around names that are numbers; texts stay as they are. */
export function quoteNames(json: string): string {
  return json.replace(/"(?:[^"\\]|\\.)*"|([{,]\s*)(-?\d+)(\s*:)/g, (all, before, name, behind) =>
    name === undefined ? all : `${before}"${name}"${behind}`,
  );
}
