// The one description of a node's settings. It validates, it makes the flags and the environment names, and it prints
// `tledger config explain` and the table of the README; nothing else names a key's default or bounds.
import { z } from 'zod';
import { type Address, parseAddress } from '../base/address.ts';
import { TLedgerError } from '../base/errors.ts';
import { checkNodeName, NAME, NAME_LENGTH_MAX } from '../base/names.ts';
import { formatQuantity, parseQuantity, type QuantityUnit } from './quantity.ts';

/** What is said of a key beside its type. */
export interface FieldFacts {
  /** What the key means, as a sentence. */
  readonly meaning: string;
  /** What values it takes, for people: `10 ms to 10 s`, `sync | async`. */
  readonly values: string;
  /** How a value is shown. */
  readonly show: (value: unknown) => string;
  /** True for what is either on or off: the flag alone turns it on. */
  readonly isToggle?: boolean;
}

/** A member of the group and one of its addresses. */
export interface MemberAddress {
  readonly nodeId: string;
  readonly address: Address;
}

/** The facts of each field, kept beside its schema. */
export const fieldFacts = z.registry<FieldFacts>();

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

const shape = {
  cluster: name('tledger', 'Name of the cluster; nodes and data directories of another cluster are refused.'),
  group: name('g0', 'Name of the Raft group this node hosts a replica of.'),
  nodeId: name('n0', 'Name of this node; unique in the group and the same for ever.'),
  peers: memberList(
    'Peer address of every founding member, this node included; this node alone when empty. Counts until the first change of members, which the group itself remembers from then on.',
  ),
  clientAddresses: memberList(
    'Address under which clients reach each founding member, so that any node can name the leader; needed when `peers` is given.',
  ),
  join: toggle(
    'Start without being a member and wait to be added (`tledger member add`); `peers` stays empty. Counts only while the data directory is empty.',
  ),
  clientListen: address('127.0.0.1:8081', 'Address to listen on for clients.'),
  peerListen: address('127.0.0.1:40911', 'Address to listen on for the other members.'),
  dataDir: text('./data', 'Directory of everything this node stores; one process at a time.'),

  heartbeatIntervalMs: quantity('ms', [10, 10_000, 100], 'How often a leader shows that it is alive.'),
  electionTimeoutMsMin: quantity(
    'ms',
    [50, 60_000, 500],
    'Shortest silence after which a follower stands for election.',
  ),
  electionTimeoutMsMax: quantity(
    'ms',
    [50, 120_000, 1000],
    'Longest such silence; each is drawn at random in between.',
  ),
  idleHeartbeatIntervalMs: quantity(
    'ms',
    [0, 60_000, 0],
    'The same while nothing is appended and all followers hold everything; half of `electionTimeoutMsMin` when 0.',
  ),
  preferredLeaders: nameList(
    'Nodes that should lead, best first: a leader hands over to a better one that has caught up.',
  ),
  reads: choice(
    ['quorum', 'lease'],
    'quorum',
    "How a leader makes sure that it still leads before it says what is current: by asking a majority, or by a lease that a majority's last answers gave it, which trusts that clocks run equally fast; must be equal on all members.",
  ),

  flush: choice(
    ['sync', 'async'],
    'sync',
    'Whether a replica vouches for a record after fdatasync (sync) or after the write to the page cache (async).',
  ),
  flushIntervalMs: quantity(
    'ms',
    [1, 60_000, 100],
    'With `flush: async`: how long written records are left to the page cache, 32 MiB at the most, before a replica flushes them.',
  ),
  segmentSizeBytes: quantity(
    'bytes',
    [8 * MIB, 16 * GIB, GIB],
    'Size of a segment file; must be equal on all members.',
  ),
  checkpointIntervalMs: quantity(
    'ms',
    [10, 600_000, 1000],
    'How often derived files are flushed, which bounds what a restart projects again; up to ten times as long when more than 100 queues have changed, but after a million records at the latest.',
  ),
  retentionBytes: quantity(
    'bytes',
    [0, 1024 * TIB, 0],
    'Log to keep: older segments are deleted, the oldest first, once a snapshot covers them. Everything is kept when 0.',
    '0, or at least `segmentSizeBytes`, up to 1024 TiB',
  ),
  retentionMs: quantity(
    'ms',
    [0, 100 * 365 * 86_400_000, 72 * 3_600_000],
    'How long messages are kept at least, by the time they were stored: segments all of which is older are deleted. For ever when 0.',
  ),
  diskWarnPercent: quantity(
    'count',
    [0, 100, 75],
    'Use of the file system, in percent, that is warned of; never when 0.',
  ),
  diskCleanPercent: quantity(
    'count',
    [0, 100, 85],
    'Use from which the oldest segments are deleted before their time; never when 0.',
  ),
  diskRefusePercent: quantity(
    'count',
    [0, 100, 90],
    'Use from which a leader refuses appends (`DISK_FULL`) while all else goes on; never when 0.',
  ),
  diskReserveBytes: quantity(
    'bytes',
    [0, 16 * GIB, 64 * MIB],
    'Room set aside in a file that is given up when the disk is full, so that the node can still write what keeps it consistent; none when 0.',
  ),
  keyIndex: choice(
    ['on', 'off'],
    'on',
    'Whether messages can be found by key and by id on this node. Made from the log when it is switched on, removed when off.',
  ),
  scrubIntervalMs: quantity(
    'ms',
    [0, 365 * 86_400_000, 86_400_000],
    'How often everything stored is checked in the background: records, what is derived from them, snapshots. Only on request (`tledger log verify --deep`) when 0.',
  ),
  scrubBytesPerSecond: quantity(
    'bytes',
    [4 * KIB, 16 * GIB, 8 * MIB],
    'How many bytes of it are read in a second; less while the node is busy.',
  ),
  diskStallMs: quantity(
    'ms',
    [0, 600_000, 3000],
    'A flush that takes longer makes a leader hand over and keeps a follower from standing for election; never when 0.',
  ),

  batchBytesMax: quantity(
    'bytes',
    [KIB, 64 * MIB, MIB],
    'Most bytes of waiting appends that the leader writes and sends as one piece; one larger append is a piece of its own.',
  ),
  appendBytesMax: quantity(
    'bytes',
    [KIB, 64 * MIB, MIB],
    'Most bytes of one replication message; one record may exceed it.',
  ),
  inflightBytesMax: quantity('bytes', [KIB, GIB, 16 * MIB], 'Most bytes under way to one follower.'),
  inflightCountMax: quantity('count', [1, 65_536, 256], 'Most replication messages under way to one follower.'),
  pendingBytesMax: quantity(
    'bytes',
    [KIB, 4 * GIB, 128 * MIB],
    'Most bytes of appends waiting to be taken into the log; more are refused.',
  ),
  pendingCountMax: quantity(
    'count',
    [1, 10_000_000, 100_000],
    'Most appends waiting for their answer; more are refused.',
  ),

  // What lives long enough to become old garbage is paid for when it goes: marking took a fifth of a follower's CPU at 64 MiB,
  // and at 8 MiB still made flushes wait for 10 to 60 ms, as it takes all cores.
  tailCacheBytes: quantity(
    'bytes',
    [MIB, 64 * GIB, 2 * MIB],
    'Messages appended last that are kept in memory, for followers and for consumers that are up to date, beside those that are not applied yet; old data never takes their place.',
  ),
  coldReadChunkBytes: quantity(
    'bytes',
    [64 * KIB, 4 * MIB, 512 * KIB],
    'How much is read from the disk at a time for consumers of old data.',
  ),
  coldReadCacheBytes: quantity(
    'bytes',
    [256 * KIB, 16 * GIB, 32 * MIB],
    'Most bytes of such chunks kept in memory, at least four chunks.',
  ),
  coldReadCountMax: quantity('count', [1, 64, 2], 'Most such reads under way at a time; more wait for their turn.'),
  coldReadBytesPerSecond: quantity(
    'bytes',
    [0, TIB, 16 * MIB],
    'Most data older than the last 64 MiB of the log that all consumers together get from this node in a second while messages are being appended; no bound when 0, or while little is appended.',
  ),
  coldReadUnsentBytes: quantity('bytes', [64 * KIB, 4 * MIB, MIB], 'Most old data on its way to one consumer.'),
  coldReadBacklogBytes: quantity(
    'bytes',
    [0, 1024 * TIB, 0],
    'How far behind, in bytes of the log, a consumer must be for the leader to send it to a follower, from which it comes back at three quarters of that; 40 % of the memory when 0.',
  ),

  shutdownTimeoutMs: quantity('ms', [0, 600_000, 10_000], 'How long a stopping node waits for calls under way.'),
  logLevel: choice(['error', 'warn', 'info', 'debug'], 'info', 'Least important events that are logged.'),
  logFormat: choice(['text', 'json'], 'text', 'Form of the log lines on stderr.'),
} as const;

/** The schema of all settings; every key has a default. */
export const settingsSchema = z.strictObject(shape);

/** Settings after validation, before relations between them are checked. */
export type Settings = Readonly<z.output<typeof settingsSchema>>;
/** A key of the settings. */
export type SettingKey = keyof Settings;

/** All keys, in the order in which they are explained. */
export const settingKeys = Object.keys(shape) as readonly SettingKey[];

/** Schema of one key. */
export function fieldOf(key: SettingKey): z.ZodType {
  return shape[key];
}

/** What is said of one key. */
export function factsOf(key: SettingKey): FieldFacts {
  const facts = fieldFacts.get(shape[key]);
  if (facts === undefined) throw new TLedgerError('INTERNAL', `setting ${key} has no description`);
  return facts;
}

/** Environment variable of a key: `dataDir` is `TLEDGER_DATA_DIR`. */
export function envNameOf(key: SettingKey): string {
  return `TLEDGER_${words(key).join('_').toUpperCase()}`;
}

/** Flag of a key: `dataDir` is `--data-dir`. */
export function flagOf(key: SettingKey): string {
  return `--${words(key).join('-')}`;
}

function words(key: string): string[] {
  return key.split(/(?=[A-Z])/).map((word) => word.toLowerCase());
}

function name(standard: string, meaning: string) {
  return z
    .string()
    .max(NAME_LENGTH_MAX, `must have at most ${NAME_LENGTH_MAX} characters`)
    .regex(NAME, 'must consist of letters, digits, "-" and "_", and begin with a letter or digit')
    .default(standard)
    .register(fieldFacts, { meaning, values: `name of up to ${NAME_LENGTH_MAX} characters`, show: String });
}

function text(standard: string, meaning: string) {
  return z
    .string()
    .min(1, 'must not be empty')
    .refine((value) => !value.includes('\0'), 'must not contain NUL')
    .default(standard)
    .register(fieldFacts, { meaning, values: 'path', show: String });
}

function address(standard: string, meaning: string) {
  return z
    .string()
    .transform((value, context) => checked(() => parseAddress(value), context))
    .default(parseAddress(standard))
    .register(fieldFacts, { meaning, values: 'host:port', show: String });
}

/** @param values what may be given, where that is more than a range. */
function quantity(
  unit: QuantityUnit,
  [min, max, standard]: readonly [number, number, number],
  meaning: string,
  values?: string,
) {
  const show = (value: unknown) => formatQuantity(Number(value), unit);
  return z
    .preprocess(
      (value) => parseQuantity(value, unit),
      z
        .number(`must be a number${unit === 'count' ? '' : ` of ${unit}, or carry a unit`}`)
        .int('must be a whole number')
        .min(min, `must be at least ${show(min)}`)
        .max(max, `must be at most ${show(max)}`),
    )
    .default(standard)
    .register(fieldFacts, { meaning, values: values ?? `${show(min)} to ${show(max)}`, show });
}

function choice<const T extends string>(values: readonly T[], standard: NoInfer<T>, meaning: string) {
  return z
    .enum(values, `must be one of ${values.join(', ')}`)
    .default(standard as never)
    .register(fieldFacts, { meaning, values: values.join(' | '), show: String });
}

/** Off by default; a flag of this kind needs no value. */
function toggle(meaning: string) {
  const words = new Map<unknown, boolean>([
    ['true', true],
    ['false', false],
  ]);
  return z
    .preprocess((value) => words.get(value) ?? value, z.boolean('must be true or false'))
    .default(false)
    .register(fieldFacts, { meaning, values: 'true | false', show: String, isToggle: true });
}

/** `n0,n1`, or in a file also a list of the same. */
function nameList(meaning: string) {
  return z
    .union([z.string(), z.array(z.string())], 'must be n0,n1,… or a list of them')
    .transform((value, context) => checked(() => parseNames(value), context))
    .default([])
    .register(fieldFacts, {
      meaning,
      values: 'n0,n1,…',
      show: (value) => (value as readonly string[]).join(','),
    });
}

function parseNames(value: string | readonly string[]): readonly string[] {
  const names = (typeof value === 'string' ? value.split(',') : [...value]).map((one) => one.trim());
  const given = names.filter((one) => one !== '');
  for (const [at, one] of given.entries()) {
    checkNodeName(one);
    if (given.indexOf(one) !== at) throw new TLedgerError('INVALID_CONFIG', `names ${one} twice`);
  }
  return given;
}

/** `n0=host:port,n1=…`, or in a file also a map of the same. */
function memberList(meaning: string) {
  return z
    .union([z.string(), z.record(z.string(), z.string())], 'must be n0=host:port,n1=host:port,… or a map of them')
    .transform((value, context) => checked(() => parseMembers(value), context))
    .default([])
    .register(fieldFacts, {
      meaning,
      values: 'n0=host:port,n1=…',
      show: (value) =>
        (value as readonly MemberAddress[]).map((member) => `${member.nodeId}=${member.address}`).join(','),
    });
}

function parseMembers(value: string | Readonly<Record<string, string>>): readonly MemberAddress[] {
  const entries = typeof value === 'string' ? splitMembers(value) : Object.entries(value);
  const seen = new Set<string>();
  return entries.map(([nodeId, where]) => {
    checkNodeName(nodeId);
    if (seen.has(nodeId)) throw new TLedgerError('INVALID_CONFIG', `names ${nodeId} twice`);
    seen.add(nodeId);
    return { nodeId, address: parseAddress(where) };
  });
}

function splitMembers(list: string): [string, string][] {
  const parts = list.split(',').map((part) => part.trim());
  return parts
    .filter((part) => part !== '')
    .map((part) => {
      const equals = part.indexOf('=');
      if (equals < 0) throw new TLedgerError('INVALID_CONFIG', `${JSON.stringify(part)} is not node=host:port`);
      return [part.slice(0, equals), part.slice(equals + 1)];
    });
}

function checked<T>(parse: () => T, context: z.RefinementCtx): T {
  try {
    return parse();
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
    return z.NEVER;
  }
}
