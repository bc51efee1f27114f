// By what a message can be found: its tag, its keys and its unique id among its encoded properties, and the hashes that
// RocketMQ makes of them (ROCKETMQ_GRPC.md 10.3, 10.4). Nothing is allocated for text that is ASCII.
import { type MessageParts, tagHash } from './message.ts';
import { PROPERTY_NAME_END, PROPERTY_VALUE_END } from './message_layout.ts';
import { readUint32 } from './uint32.ts';

// The names as 32-bit numbers: TAGS, KEYS, and the halves of UNIQ_KEY.
const TAGS = 0x5441_4753;
const KEYS = 0x4b45_5953;
const UNIQ = 0x554e_4951;
const _KEY = 0x5f4b_4559;
const SHORT_NAME_BYTES = 4;
const LONG_NAME_BYTES = 8;

const ASCII_END = 0x80;
const SPACE = 0x20;
/** Between topic and key in what is hashed. */
const KEY_PREFIX_END = '#';
/** Values up to here are gone through byte by byte, which costs less than a call out of JavaScript. */
const NEAR_BYTES = 64;

/** Where the values lie in the buffer; start = end = 0 where there is none. */
export interface FindableParts {
  tagStart: number;
  tagEnd: number;
  keysStart: number;
  keysEnd: number;
  uniqueStart: number;
  uniqueEnd: number;
}

/** Fresh `FindableParts` to hand to `locateFindable`. */
export function newFindableParts(): FindableParts {
  return { tagStart: 0, tagEnd: 0, keysStart: 0, keysEnd: 0, uniqueStart: 0, uniqueEnd: 0 };
}

/** Finds tag, keys and unique id among the properties in `[start, end)` into `found`, which hot loops reuse. */
export function locateFindable(buffer: Buffer, start: number, end: number, found: FindableParts): void {
  found.tagStart = found.tagEnd = found.keysStart = found.keysEnd = found.uniqueStart = found.uniqueEnd = 0;
  for (let at = start; at + SHORT_NAME_BYTES < end; ) {
    const valueEnd = endOfProperty(buffer, at, end);
    const name = readUint32(buffer, at);
    if (name === TAGS && isNamed(buffer, at, SHORT_NAME_BYTES)) {
      found.tagStart = at + SHORT_NAME_BYTES + 1;
      found.tagEnd = valueEnd;
    } else if (name === KEYS && isNamed(buffer, at, SHORT_NAME_BYTES)) {
      found.keysStart = at + SHORT_NAME_BYTES + 1;
      found.keysEnd = valueEnd;
    } else if (name === UNIQ && valueEnd - at > LONG_NAME_BYTES && isNamed(buffer, at, LONG_NAME_BYTES)) {
      if (readUint32(buffer, at + SHORT_NAME_BYTES) === _KEY) {
        found.uniqueStart = at + LONG_NAME_BYTES + 1;
        found.uniqueEnd = valueEnd;
      }
    }
    at = valueEnd + 1;
  }
}

/** Whether a message, whose parts were located, has keys or a unique id. */
export const isFindable = (found: FindableParts): boolean => found.keysStart > 0 || found.uniqueStart > 0;

/** `tagHash` of the tag; 0 without one. */
export function tagHashIn(buffer: Buffer, found: FindableParts): number {
  return found.tagStart === 0 ? 0 : hashOn(0, buffer, found.tagStart, found.tagEnd);
}

/** Java's hash of `topic#`: what the hash of each key begins with. */
export function keyHashSeed(topic: string): number {
  return tagHash(`${topic}${KEY_PREFIX_END}`);
}

/** The same, of the topic that lies in the message. */
export function keyHashSeedOf(buffer: Buffer, parts: MessageParts): number {
  const hash = hashOn(0, buffer, parts.topicStart, parts.topicEnd);
  return (Math.imul(31, hash) + KEY_PREFIX_END.charCodeAt(0)) | 0;
}

/** Hash of a key as it stands in the index: Java's hash of `topic#key` without its sign; 0 where there is none. */
export function keyHash(topic: string, key: string): number {
  return withoutSign(tagHash(`${topic}${KEY_PREFIX_END}${key}`));
}

/**
 * Keys of one message that are indexed, and found; those behind them are stored only. Bounds what an index can take of
 * the disk.
 */
export const KEYS_PER_MESSAGE_MAX = 64;

/** Whether `test` holds of one of the keys that are indexed, each given by where it lies. */
export function someKey(buffer: Buffer, found: FindableParts, test: (start: number, end: number) => boolean): boolean {
  let left = KEYS_PER_MESSAGE_MAX;
  for (let at = found.keysStart; at < found.keysEnd && left > 0; ) {
    const end = endOfKey(buffer, at, found.keysEnd);
    if (end > at) {
      if (test(at, end)) return true;
      left--;
    }
    at = end + 1;
  }
  return false;
}

/** Hash of the key that lies in `[start, end)`, as it stands in the index. @param seed `keyHashSeed` of its topic. */
export function keyHashIn(seed: number, buffer: Buffer, start: number, end: number): number {
  return withoutSign(hashOn(seed, buffer, start, end));
}

/** Where the key ends that begins at `start`: at a space, or with the keys. */
export function endOfKey(buffer: Buffer, start: number, keysEnd: number): number {
  let end = start;
  while (end < keysEnd && buffer[end] !== SPACE) end++;
  return end;
}

function withoutSign(hash: number): number {
  const positive = Math.abs(hash);
  return positive > 0x7fff_ffff ? 0 : positive;
}

/** Java's string hash of what `seed` is the hash of, followed by the text in `[start, end)`. */
function hashOn(seed: number, buffer: Buffer, start: number, end: number): number {
  let hash = seed;
  for (let at = start; at < end; at++) {
    const byte = buffer[at]!;
    if (byte >= ASCII_END) return hashOfText(seed, buffer.toString('utf8', start, end));
    hash = (Math.imul(31, hash) + byte) | 0;
  }
  return hash;
}

function hashOfText(seed: number, text: string): number {
  let hash = seed;
  for (let at = 0; at < text.length; at++) hash = (Math.imul(31, hash) + text.charCodeAt(at)) | 0;
  return hash;
}

function isNamed(buffer: Buffer, at: number, nameBytes: number): boolean {
  return buffer[at + nameBytes] === PROPERTY_NAME_END;
}

/** Where the property at `at` ends: at its separator, or with the properties. */
function endOfProperty(buffer: Buffer, at: number, end: number): number {
  const near = Math.min(end, at + NEAR_BYTES);
  for (let cursor = at; cursor < near; cursor++) if (buffer[cursor] === PROPERTY_VALUE_END) return cursor;
  if (near === end) return end;
  const found = buffer.indexOf(PROPERTY_VALUE_END, near);
  return found < 0 || found > end ? end : found;
}
