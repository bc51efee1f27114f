// Single lines of what serves RocketMQ's clients, each with a broken version, and the case that must turn red.
import type { CompatMutant } from './mutants.ts';

type Case = readonly [test: string, name: string];
type Lines = readonly [original: string, replacement: string];

const official = (name: string): Case => ['official_client', name];
const trap = (name: string): Case => ['traps', name];
const special = (name: string): Case => ['special', name];

function mutant(name: string, file: string, [original, replacement]: Lines, [test, of]: Case): CompatMutant {
  return { name, file: `src/${file}`, original, replacement, test, case: of };
}

/** How the outside is spoken to. */
const spoken: readonly CompatMutant[] = [
  mutant(
    'digest-in-small-letters',
    'rpc/rocketmq/outgoing_message.ts',
    [".digest('hex').toUpperCase()", ".digest('hex')"],
    trap('9: messages have an MD5 digest'),
  ),
  mutant(
    'transaction-id-of-its-own',
    'rpc/rocketmq/send.ts',
    ['    transactionId: id,', '    transactionId: id.toUpperCase(),'],
    trap('11: the transaction id is the message id'),
  ),
  mutant(
    'brokers-that-nobody-may-write-to',
    'rpc/rocketmq/routes.ts',
    ['id: 0, endpoints }', 'id: 1, endpoints }'],
    trap('7: every broker has the id 0'),
  ),
  mutant(
    'namespace-of-the-call-ignored',
    'rpc/rocketmq/namespaces.ts',
    ['const namespace = resourceNamespace || ofCall;', 'const namespace = resourceNamespace;'],
    trap('23: a namespace may stand in the header only'),
  ),
  mutant(
    'wrong-status-for-a-tag',
    'rpc/rocketmq/message_check.ts',
    ["throw new TLedgerError('ILLEGAL_TAG'", "throw new TLedgerError('ILLEGAL_KEY'"],
    official('is refused a tag with a bar'),
  ),
  mutant(
    'message-group-one-byte-too-long',
    'rpc/rocketmq/message_check.ts',
    ['messageGroupBytesMax: 63,', 'messageGroupBytesMax: 64,'],
    official('is refused a message group of 64 bytes'),
  ),
  mutant(
    'acknowledged-whatever-the-receipt',
    'rpc/rocketmq/settle.ts',
    ['const isDone = receipts[at] !== null && settled[next++]?.isDone === true;', 'const isDone = true;'],
    trap('13: an acknowledgement of one message has its code'),
  ),
];

/** What is held back. */
const heldBack: readonly CompatMutant[] = [
  mutant(
    'timer-fires-early',
    'replica/parked/parked_messages.ts',
    ['first.dueMs > nowMs) break;', 'first.dueMs > nowMs + 40) break;'],
    trap('33: nothing delayed comes early'),
  ),
  mutant(
    'released-and-kept',
    'replica/parked/released_record.ts',
    ['flags: recordFlag.effect,', 'flags: 0,'],
    official('shows nothing of a transaction before it is committed'),
  ),
  mutant(
    'recall-without-a-record',
    'replica/parked/parked_messages.ts',
    [
      "const dropped = this.#decide(parked, () => this.#port.command({ type: 'drop-parked', index }));",
      'const dropped = Promise.resolve();',
    ],
    official('recalls a delayed message, once'),
  ),
  mutant(
    'half-is-shown',
    'rpc/rocketmq/incoming_message.ts',
    ["const isParked = type === 'TRANSACTION' || ", 'const isParked = '],
    official('shows nothing of a transaction before it is committed'),
  ),
  mutant(
    'rollback-commits',
    'rpc/rocketmq/end_transaction.ts',
    ["('rollback' as const)", "('commit' as const)"],
    official('rolls a transaction back'),
  ),
  mutant(
    'nobody-is-asked',
    'replica/parked/parked_messages.ts',
    ['half.dueMs <= nowMs && wanted.has(half.topic)', 'half.dueMs <= nowMs - 60_000 && wanted.has(half.topic)'],
    official('is asked what became of a transaction'),
  ),
];

/** What is handed out, and what becomes of it. */
const handedOut: readonly CompatMutant[] = [
  mutant(
    'acknowledgement-is-not-replicated',
    'replica/consuming/lane.ts',
    ['await this.#write({ settled, changed });', 'await this.#write({ settled: [], changed });'],
    trap('14: becoming a dead letter'),
  ),
  mutant(
    'attempts-are-not-counted',
    'broker/consuming/consume_command.ts',
    ['if (isAttempt) delivery.attempt++;', 'if (!isAttempt) delivery.attempt++;'],
    official('tries again what failed, and counts'),
  ),
  mutant(
    'one-attempt-too-many',
    'replica/consuming/gather.ts',
    ['attempt >= group.attemptsMax', 'attempt > group.attemptsMax'],
    trap('21: a message that always fails'),
  ),
  mutant(
    'dead-letter-settles-nothing',
    'replica/consuming/dead_letter.ts',
    ['flags: recordFlag.effect,', 'flags: 0,'],
    official('has a message that fails always become a dead letter'),
  ),
  mutant(
    'old-receipts-hold',
    'replica/consuming/judge.ts',
    ['delivery.handle !== receipt.handle || ', ''],
    official('with an old receipt nothing is done'),
  ),
  mutant(
    'order-is-broken-by-a-retry',
    'replica/consuming/gather.ts',
    [
      'progress === undefined || progress.inFlight.size === 0)',
      'progress === undefined || progress.inFlight.size < 9)',
    ],
    official('holds back what comes behind a message that failed'),
  ),
  mutant(
    'lowest-priority-first',
    'replica/consuming/gather.ts',
    ['await this.#takeFrom([queueId]);', 'await this.#takeFrom([this.#topicOf().queues - 1 - queueId]);'],
    special('the highest priority comes first'),
  ),
  mutant(
    'group-begins-at-the-end',
    'replica/consuming/gather.ts',
    ['let next = Math.max(from, min);', 'let next = progress === undefined ? max : Math.max(from, min);'],
    trap('17: a new group sees what was sent before it'),
  ),
  mutant(
    'window-forgets',
    'broker/sent/sent_window.ts',
    ['return this.#byName.get(nameOf(topic, id));', 'return void nameOf(topic, id);'],
    official('stores once what is sent again'),
  ),
  mutant(
    'any-tag-will-do',
    'broker/filter/filter.ts',
    ['return tag !== undefined && tags.has(tag);', 'return tag !== undefined;'],
    official('filters by tags and by SQL92'),
  ),
  mutant(
    'unknown-is-true',
    'broker/filter/filter.ts',
    ['predicate(lookup) === true', 'predicate(lookup) !== false'],
    official('filters by tags and by SQL92'),
  ),
];

/** All of them. */
export const mutants: readonly CompatMutant[] = [...spoken, ...heldBack, ...handedOut];
