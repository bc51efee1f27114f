// Whose data a directory holds: written once, when the directory is first used, and compared ever after, so that a
// mistyped path or a mixed-up volume is refused before it can do harm.
import { crc32 } from '../base/crc.ts';
import { TLedgerError } from '../base/errors.ts';
import type { NodeId } from '../raft/types.ts';
import type { Disk } from './disk.ts';

const FORMAT_VERSION = 1;
const IDENTITY_BYTES_MAX = 64 * 1024;

/** What must stay the same for the life of a group directory. */
export interface Identity {
  readonly cluster: string;
  readonly group: string;
  readonly nodeId: NodeId;
  /**
   * Names of all voters, sorted, with commas. A group of other voters would count other majorities: what one of them
   * acknowledged, the other could lose.
   */
  readonly members: string;
  /** Where the log rolls is part of its bytes, so it can't change. */
  readonly segmentSizeBytes: number;
}

/**
 * Claims `directory` for `identity`, or checks that it belongs to it already. The file `identity` is one line: the
 * CRC-32 of the rest in 8 hex digits, a space, and a JSON object.
 * @throws TLedgerError DATA_DIR_FOREIGN naming what the directory belongs to and what it was asked for, also when a
 * newer version wrote it; DATA_CORRUPTED when the file is damaged, or missing beside a log.
 */
export function claimDirectory(options: {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: Identity;
}): void {
  const { disk, directory, identity } = options;
  const path = `${directory}/identity`;
  disk.makeDirectory(directory);
  if (!disk.exists(path)) {
    if (disk.list(`${directory}/commitlog`).length > 0) {
      throw new TLedgerError('DATA_CORRUPTED', `${path} is missing beside a log`);
    }
    writeWhole(disk, path, encode(identity));
    return;
  }
  const found = decode(path, readWhole(disk, path));
  const { formatVersion } = found;
  if (typeof formatVersion !== 'number' || formatVersion > FORMAT_VERSION) {
    throw new TLedgerError(
      'DATA_DIR_FOREIGN',
      `${directory} was written in format version ${formatVersion}; this software reads up to version ${FORMAT_VERSION}`,
    );
  }
  for (const name of ['cluster', 'group', 'nodeId', 'members', 'segmentSizeBytes'] as const) {
    if (found[name] === identity[name]) continue;
    throw new TLedgerError(
      'DATA_DIR_FOREIGN',
      `${directory} belongs to ${name} ${JSON.stringify(found[name])}, not ${JSON.stringify(identity[name])}`,
    );
  }
}

function encode({ cluster, group, nodeId, members, segmentSizeBytes }: Identity): Buffer {
  const json = JSON.stringify({ formatVersion: FORMAT_VERSION, cluster, group, nodeId, members, segmentSizeBytes });
  return Buffer.from(`${checksum(json)} ${json}\n`);
}

function decode(path: string, bytes: Buffer): Record<string, unknown> {
  const line = bytes.toString();
  const json = line.slice(9, -1);
  if (line.slice(0, 9) !== `${checksum(json)} ` || line.at(-1) !== '\n') {
    throw new TLedgerError('DATA_CORRUPTED', `${path} does not match its checksum`);
  }
  return JSON.parse(json) as Record<string, unknown>;
}

function checksum(json: string): string {
  return crc32(Buffer.from(json)).toString(16).padStart(8, '0');
}

function readWhole(disk: Disk, path: string): Buffer {
  const file = disk.open(path);
  try {
    const bytes = Buffer.alloc(Math.min(file.sizeBytes(), IDENTITY_BYTES_MAX));
    file.read(bytes, 0);
    return bytes;
  } finally {
    file.close();
  }
}

/** Writes beside and renames, so that the file is there as a whole or not at all. */
function writeWhole(disk: Disk, path: string, bytes: Buffer): void {
  const draft = `${path}.new`;
  disk.remove(draft);
  const file = disk.open(draft, { create: true });
  try {
    file.write(bytes, 0);
    file.flushNow();
  } finally {
    file.close();
  }
  disk.rename(draft, path);
}
