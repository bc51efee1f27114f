// Stores of RocketMQ and DLedger, made by the independent writer from the format's page: no byte of them comes from src.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  javaHash,
  MAGIC_BLANK,
  type ReferenceMessage,
  referenceMessage,
  writeEntry,
  writeMessage,
  writeUnit,
} from '../format/rocketmq_reference.ts';

/** A message of a store; offsets and times are given to those that have none. */
export type StoreMessage = Partial<ReferenceMessage> & { readonly topic: string };

export interface StoreOptions {
  readonly framing?: 'rocketmq' | 'dledger';
  readonly fileBytes?: number;
  /** Physical offset of the first byte; a multiple of `fileBytes`. */
  readonly start?: number;
  /** Default true. */
  readonly consumeQueues?: boolean;
  readonly topics?: Readonly<Record<string, number>>;
  /** `topic@group` -> queue -> offset. */
  readonly groups?: Readonly<Record<string, Readonly<Record<number, number>>>>;
  readonly abort?: boolean;
  /** Store time in the checkpoint. */
  readonly flushedMs?: number;
}

export interface StoreFixture {
  readonly directory: string;
  readonly logDirectory: string;
  readonly fileBytes: number;
  /** As they were written, in the order of the log. */
  readonly messages: readonly ReferenceMessage[];
  /** Where each record (DLedger: its entry) begins, and its size. */
  readonly places: readonly { readonly position: number; readonly sizeBytes: number }[];
  readonly endPosition: number;
  /** Changes bytes at a physical offset. */
  harm(position: number, change: (bytes: Buffer) => void): void;
  /** The path of the file that holds a physical offset. */
  fileAt(position: number): string;
  remove(): void;
}

export const FIRST_STORED_MS = 1_700_000_000_000;

/** Writes a store into a new directory. */
export function makeStore(messages: readonly StoreMessage[], options: StoreOptions = {}): StoreFixture {
  const { framing = 'rocketmq', fileBytes = 65_536, start = 0 } = options;
  const directory = mkdtempSync(join(tmpdir(), 'tledger-store-'));
  const logDirectory = join(directory, framing === 'rocketmq' ? 'commitlog' : 'dledger-n0/data');
  mkdirSync(logDirectory, { recursive: true });
  const files: Buffer[] = [Buffer.alloc(fileBytes)];
  const next = new Map<string, bigint>();
  const written: ReferenceMessage[] = [];
  const places: { position: number; sizeBytes: number }[] = [];
  let position = start;
  messages.forEach((message, number) => {
    const queue = `${message.queueId ?? 0} ${message.topic}`;
    const queueOffset = message.queueOffset ?? next.get(queue) ?? 0n;
    next.set(queue, queueOffset + 1n);
    const storeTimestamp = BigInt(FIRST_STORED_MS + number);
    const whole = referenceMessage({ storeTimestamp, ...message, queueOffset });
    const headBytes = framing === 'dledger' ? 48 : 0;
    const size = headBytes + writeMessage(whole).length;
    const room = fileBytes - ((position - start) % fileBytes);
    if (size + 8 > room) {
      const blank = files.at(-1)!.subarray(fileBytes - room);
      if (framing === 'dledger') {
        blank.writeInt32BE(-1, 0);
        blank.writeUInt32BE(room, 4);
      } else {
        blank.writeUInt32BE(room, 0);
        blank.writeUInt32BE(MAGIC_BLANK, 4);
      }
      position += room;
      files.push(Buffer.alloc(fileBytes));
    }
    const placed = { ...whole, physicalOffset: BigInt(position + headBytes) };
    const body = writeMessage(placed);
    const entry = {
      magic: 1,
      index: BigInt(number),
      term: BigInt(1 + Math.floor(number / 10)),
      position: BigInt(position),
    };
    const bytes = framing === 'dledger' ? writeEntry({ ...entry, body }) : body;
    bytes.copy(files.at(-1)!, (position - start) % fileBytes);
    places.push({ position, sizeBytes: size });
    written.push(placed);
    position += size;
  });
  for (const [number, bytes] of files.entries()) {
    writeFileSync(join(logDirectory, nameOf(start + number * fileBytes)), bytes);
  }
  const fileAt = (at: number) => join(logDirectory, nameOf(at - ((at - start) % fileBytes)));
  writeConfig(directory, options);
  if (options.consumeQueues !== false) writeConsumeQueues(directory, written);
  return {
    directory,
    logDirectory,
    fileBytes,
    messages: written,
    places,
    endPosition: position,
    fileAt,
    harm(at, change) {
      const bytes = readFileSync(fileAt(at));
      change(bytes.subarray((at - start) % fileBytes));
      writeFileSync(fileAt(at), bytes);
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export function nameOf(position: number): string {
  return String(position).padStart(20, '0');
}

/** As RocketMQ writes JSON: names that are numbers have no quotes. */
function writeConfig(directory: string, { topics, groups, abort, flushedMs }: StoreOptions): void {
  mkdirSync(join(directory, 'config'));
  writeFileSync(join(directory, 'lock'), 'lock');
  if (topics !== undefined) {
    const entries = Object.entries(topics).map(([topicName, queues]) => [
      topicName,
      {
        order: false,
        perm: 6,
        readQueueNums: queues,
        topicFilterType: 'SINGLE_TAG',
        topicName,
        topicSysFlag: 0,
        writeQueueNums: queues,
      },
    ]);
    const document = { dataVersion: { counter: 2, timestamp: 1 }, topicConfigTable: Object.fromEntries(entries) };
    writeFileSync(join(directory, 'config/topics.json'), JSON.stringify(document, null, '\t'));
  }
  if (groups !== undefined) {
    const tables = Object.entries(groups).map(([name, queues]) => {
      const offsets = Object.entries(queues).map(([queue, offset]) => `${queue}:${offset}`);
      return `\n\t\t${JSON.stringify(name)}:{${offsets.join(',')}\n\t\t}`;
    });
    writeFileSync(join(directory, 'config/consumerOffset.json'), `{\n\t"offsetTable":{${tables.join(',')}\n\t}\n}`);
  }
  if (abort === true) writeFileSync(join(directory, 'abort'), '');
  if (flushedMs !== undefined) {
    const bytes = Buffer.alloc(4_096);
    bytes.writeBigUInt64BE(BigInt(flushedMs));
    writeFileSync(join(directory, 'checkpoint'), bytes);
  }
}

const UNITS_PER_FILE = 100;

/** Half messages and rolled back ones have no unit, as in RocketMQ. */
function writeConsumeQueues(directory: string, messages: readonly ReferenceMessage[]): void {
  const queues = new Map<string, ReferenceMessage[]>();
  for (const message of messages) {
    if ([0x4, 0xc].includes(message.sysFlag & 0xc)) continue;
    const path = join(directory, 'consumequeue', message.topic, String(message.queueId));
    const queue = queues.get(path) ?? [];
    queue.push(message);
    queues.set(path, queue);
  }
  for (const [path, held] of queues) {
    mkdirSync(path, { recursive: true });
    const files = new Map<number, Buffer>();
    for (const message of held) {
      const offset = Number(message.queueOffset);
      const number = Math.floor(offset / UNITS_PER_FILE);
      let bytes = files.get(number);
      if (bytes === undefined) {
        bytes = Buffer.alloc(UNITS_PER_FILE * 20);
        const fill = writeUnit({ offset: 0n, sizeBytes: 0x7fff_ffff, tagsCode: 0n });
        if (files.size === 0) for (let unit = 0; unit < offset % UNITS_PER_FILE; unit++) fill.copy(bytes, unit * 20);
        files.set(number, bytes);
      }
      const tag = message.properties.find(([name]) => name === 'TAGS')?.[1];
      const tagsCode = BigInt(tag === undefined ? 0 : javaHash(tag));
      const unit = { offset: message.physicalOffset, sizeBytes: writeMessage(message).length, tagsCode };
      writeUnit(unit).copy(bytes, (offset % UNITS_PER_FILE) * 20);
    }
    for (const [number, bytes] of files) writeFileSync(join(path, nameOf(number * UNITS_PER_FILE * 20)), bytes);
  }
}

/** Messages over several topics and queues, with bodies that tell them apart. */
export function someMessages(
  count: number,
  some: (number: number) => Partial<StoreMessage> = () => ({}),
): StoreMessage[] {
  return Array.from({ length: count }, (_, number) => ({
    topic: number % 3 === 0 ? 'payments' : 'orders',
    queueId: number % 2,
    body: Buffer.from(`message ${number}`),
    properties: [
      ['TAGS', `tag${number % 5}`],
      ['KEYS', `key${number} other`],
      ['UNIQ_KEY', `0A0B0C0D${String(number).padStart(24, '0')}`],
      ['WAIT', 'true'],
      ['CLUSTER', 'DefaultCluster'],
      ['colour', `blau ${number}`],
    ],
    ...some(number),
  }));
}
