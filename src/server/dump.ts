// `tledger log dump --data-dir`: the records of a stopped node one by one, behind damage too.
import { type DescribedRecord, type DumpRange, describeRecord, isAskedFor } from '../format/describe_record.ts';
import { indexAt, RECORD_HEADER_BYTES } from '../format/record.ts';
import { logIndex } from '../raft/types.ts';
import { queueFilePath, UNIT_BYTES, UNITS_PER_FILE, unitPhysicalOffset } from '../storage/consume_queue.ts';
import { LogIndexFiles } from '../storage/log_index.ts';
import { type LogGap, type OfflineGroup, WalkDone, walkLog } from '../storage/offline.ts';
import { type OfflineOptions, withOffline } from './offline.ts';

/** A record, or a place where none is. */
export type DumpLine = { readonly record: DescribedRecord } | { readonly gap: LogGap };

/** Hands out lines in the order of the log. @throws as `withOffline`; what `onLine` throws. */
export function dumpDirectory(
  options: OfflineOptions & { readonly range: DumpRange; readonly onLine: (line: DumpLine) => void },
): Promise<void> {
  return withOffline(options, async ({ group }) => {
    const { range, onLine } = options;
    const from = startOf(group, range);
    let count = 0;
    await walkLog(group, {
      ...(from === null ? {} : { from }),
      onGap: (gap) => {
        const isBehind = gap.lastIndex !== null && gap.lastIndex < (range.fromIndex ?? 0);
        // Where the walk begins in the middle, what is before is not looked at.
        if (gap.firstIndex > 1 || from === null) if (!isBehind) onLine({ gap });
      },
      onRecord: (buffer, at, _, chain) => {
        const index = indexAt(buffer, at);
        if (index < (range.fromIndex ?? 0)) return;
        if (index > (range.toIndex ?? Number.POSITIVE_INFINITY)) throw new WalkDone();
        const record = describeRecord(buffer, at, {
          chain: chain === true ? 'ok' : 'unknown',
          previewBytes: range.previewBytes,
        });
        if (!isAskedFor(record, range)) return;
        onLine({ record });
        if (++count >= range.countMax) throw new WalkDone();
      },
    });
  });
}

/** Where to begin, as far as an index can tell; null: at the beginning of the log. Wrong hints cost time, not records. */
function startOf(group: OfflineGroup, range: DumpRange): number | null {
  if (range.position !== null) return range.position;
  if (range.fromIndex !== null) return positionOfIndex(group, range.fromIndex);
  const { topic, queueId, offset } = range;
  return topic === null || queueId === null || offset === null
    ? null
    : positionOfUnit(group, { topic, queueId, offset });
}

/** One record before, so that the chain of the first one shown can be checked. */
function positionOfIndex({ disk, directory, base }: OfflineGroup, fromIndex: number): number | null {
  const before = fromIndex - 1;
  if (base === null || before <= base.index) return null;
  if (disk.list(`${directory}/index`).length === 0) return null;
  const index = LogIndexFiles.open(disk, `${directory}/index`, logIndex(0));
  try {
    return index.get(logIndex(before))?.position ?? null;
  } finally {
    index.close();
  }
}

function positionOfUnit(
  { disk, directory }: OfflineGroup,
  { topic, queueId, offset }: { readonly topic: string; readonly queueId: number; readonly offset: number },
): number | null {
  const path = `${directory}/consumequeue/${queueFilePath(topic, queueId, Math.floor(offset / UNITS_PER_FILE))}`;
  if (!disk.exists(path)) return null;
  const file = disk.open(path);
  try {
    const unit = Buffer.alloc(UNIT_BYTES);
    const read = file.read(unit, (offset % UNITS_PER_FILE) * UNIT_BYTES);
    const position = unitPhysicalOffset(unit, 0) - RECORD_HEADER_BYTES;
    return read === UNIT_BYTES && position > 0 && Number.isSafeInteger(position) ? position : null;
  } finally {
    file.close();
  }
}
