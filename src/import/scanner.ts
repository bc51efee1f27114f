// Reads a log from its first byte to its last message, and checks every byte of every message on the way. Says what is
// damaged and where, finds the next message behind it, and says how the log ends; what to do about that is the caller's
// business.
//
//   good good good ####### good good 0000000000      ####### damage: [position, endPosition), a good record behind it
//                                    ^ end           ....... at the end: bytes behind the last good record that are none
import { basename } from 'node:path';
import type { RocketMqMessage } from '../format/rocketmq.ts';
import { DLedgerFraming, type Framing, RocketMqFraming } from './framing.ts';
import type { SourceArea, SourceFile } from './layout.ts';
import { FileWindow, PIECE_BYTES } from './window.ts';

/** A message and the bytes it was read from. */
export interface SourceMessage {
  readonly message: RocketMqMessage;
  /** `message` says where in it the parts lie. */
  readonly buffer: Buffer;
}

/** A part of the log that cannot be read. */
export interface SourceDamage {
  readonly file: string;
  /** Physical offsets: the first doubtful byte, and where good records go on. */
  readonly position: number;
  readonly endPosition: number;
  readonly reason: string;
}

/** Where the records of an area end. */
export interface SourceEnd {
  readonly file: string;
  readonly position: number;
  /** Bytes from there to the last one that is not zero; 0 for a clean end. */
  readonly leftoverBytes: number;
  /** What stands at the end and is no record; empty for a clean end. */
  readonly reason: string;
  /** Bytes by which the last file is shorter than the others. */
  readonly missingBytes: number;
  /** Index of DLedger's last entry. */
  readonly lastIndex: number | null;
}

/** What a scan finds, in the order of the log. */
export type ScanEvent =
  | { readonly kind: 'messages'; readonly messages: readonly SourceMessage[]; readonly bytes: number }
  | { readonly kind: 'damage'; readonly damage: SourceDamage }
  | { readonly kind: 'end'; readonly end: SourceEnd };

/** What is said of zeros. */
const EMPTY = 'is empty';

interface Stop {
  readonly at: number;
  readonly reason: string;
}

/** Scans the files of one area. Memory: one piece, and the messages in it. @throws TLedgerError STORAGE_FAILED */
export async function* scan({ framing: kind, files }: SourceArea): AsyncGenerator<ScanEvent, void, void> {
  const framing = kind === 'rocketmq' ? new RocketMqFraming() : new DLedgerFraming();
  /** The first byte that is no record, while nobody knows whether good ones follow. */
  let open: { file: string; position: number; reason: string; lastByte: number } | null = null;
  for (const [number, file] of files.entries()) {
    const declared = (files[number + 1]?.start ?? file.start + file.sizeBytes) - file.start;
    const window = await FileWindow.open(file.path);
    try {
      let at = 0;
      while (at < declared) {
        if (open !== null) {
          const next: number = await resume(window, file, at, declared, framing, open);
          if (next < 0) break;
          const damage = {
            file: open.file,
            position: open.position,
            endPosition: file.start + next,
            reason: open.reason,
          };
          yield { kind: 'damage', damage };
          open = null;
          at = next;
        }
        const read = run(window, file, at, declared, framing);
        for await (const piece of read.pieces) yield { kind: 'messages', ...piece };
        const stop = read.stop();
        at = stop?.at ?? declared;
        if (stop === undefined) continue;
        // What is good by itself and only does not continue what was before is found again, right there.
        framing.lost();
        const position = file.start + stop.at;
        const isSomething = stop.reason !== EMPTY && stop.at < file.sizeBytes;
        open = { file: file.path, position, reason: stop.reason, lastByte: isSomething ? position : -1 };
      }
    } finally {
      await window.close();
    }
  }
  const last = files.at(-1)!;
  const first = files[0]!;
  const end = open ?? { file: last.path, position: last.start + last.sizeBytes, reason: '', lastByte: -1 };
  const leftoverBytes = Math.max(0, end.lastByte + 1 - end.position);
  const missingBytes = Math.max(0, first.sizeBytes - last.sizeBytes);
  const { file, position } = end;
  const reason = leftoverBytes === 0 ? '' : end.reason;
  yield { kind: 'end', end: { file, position, reason, leftoverBytes, missingBytes, lastIndex: framing.lastIndex } };
}

interface Piece {
  readonly messages: readonly SourceMessage[];
  readonly bytes: number;
}

/** Good records from `at` on. `stop` tells afterwards where they end before the file does. */
function run(window: FileWindow, file: SourceFile, at: number, declared: number, framing: Framing) {
  let stopped: Stop | undefined;
  async function* pieces(): AsyncGenerator<Piece, void, void> {
    let cursor = at;
    let messages: SourceMessage[] = [];
    let from = cursor;
    const stop = (reason: string) => {
      stopped = { at: cursor, reason };
    };
    while (cursor < declared && stopped === undefined) {
      const { buffer, base } = window;
      const place = {
        at: cursor - base,
        end: buffer.length,
        position: file.start + cursor,
        room: declared - cursor,
        fileRoom: file.sizeBytes - cursor,
      };
      const isHere = cursor < file.sizeBytes && window.has(cursor) > 0;
      const found = isHere ? framing.look(buffer, place) : { kind: 'more' as const, sizeBytes: 1 };
      switch (found.kind) {
        case 'message':
          messages.push({ message: found.message, buffer });
          framing.took(buffer, place.at);
          cursor += found.sizeBytes;
          break;
        case 'other':
          framing.took(buffer, place.at);
          cursor += found.sizeBytes;
          break;
        case 'blank':
          cursor += found.sizeBytes;
          break;
        case 'nothing':
          stop(EMPTY);
          break;
        case 'bad':
          stop(found.reason);
          break;
        case 'more':
          if (cursor + found.sizeBytes > file.sizeBytes) {
            const name = basename(file.path);
            stop(`lies behind the end of file ${name}, which has ${file.sizeBytes} bytes`);
            break;
          }
          if (cursor > from) yield { messages, bytes: cursor - from };
          messages = [];
          from = cursor;
          await window.load(cursor, found.sizeBytes);
          break;
      }
    }
    if (cursor > from) yield { messages, bytes: cursor - from };
  }
  return { pieces: pieces(), stop: () => stopped };
}

/** Where good records go on in this file, from `at` on; -1 if nowhere. Notes the last byte that is not zero. */
async function resume(
  window: FileWindow,
  file: SourceFile,
  at: number,
  declared: number,
  framing: Framing,
  open: { lastByte: number },
): Promise<number> {
  let cursor = at;
  while (cursor < file.sizeBytes) {
    await window.load(cursor);
    const { buffer, base } = window;
    const last = lastNonZero(buffer);
    if (last >= 0) open.lastByte = Math.max(open.lastByte, file.start + base + last);
    for (let from = 0; last >= 0; ) {
      const candidate = framing.search(buffer, from, buffer.length);
      if (candidate < 0) break;
      const isGood = await isRecord(window, file, base + candidate, declared, framing);
      if (isGood) return base + candidate;
      if (window.base !== base) await window.load(base);
      from = candidate + 1;
    }
    if (base + buffer.length >= file.sizeBytes) break;
    cursor = base + buffer.length - framing.searchMarginBytes;
  }
  return -1;
}

async function isRecord(window: FileWindow, file: SourceFile, at: number, declared: number, framing: Framing) {
  for (let attempt = 0; attempt < 2; attempt++) {
    const { buffer, base } = window;
    if (at < base) return false;
    const place = {
      at: at - base,
      end: buffer.length,
      position: file.start + at,
      room: declared - at,
      fileRoom: file.sizeBytes - at,
    };
    const found = framing.look(buffer, place);
    if (found.kind !== 'more') return found.kind === 'message';
    if (at + found.sizeBytes > file.sizeBytes) return false;
    await window.load(at, found.sizeBytes);
  }
  return false;
}

const ZEROS = Buffer.alloc(65_536);

/** Position of the last byte that is not zero; -1 if there is none. */
function lastNonZero(buffer: Buffer): number {
  for (let end = buffer.length; end > 0; ) {
    const start = Math.max(0, end - ZEROS.length);
    if (ZEROS.compare(buffer, start, end, 0, end - start) !== 0) {
      for (let at = end - 1; at >= start; at--) if (buffer[at] !== 0) return at;
    }
    end = start;
  }
  return -1;
}

/** Bytes of one step of a scan: what a caller has to hold at once. */
export const SCAN_PIECE_BYTES = PIECE_BYTES;
