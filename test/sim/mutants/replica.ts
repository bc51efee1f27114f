// Breaks of the loop that joins consensus, log and broker, and of the broker.
import { inFile, type Mutant } from './mutant.ts';

/** See the head of the file. */
export const replicaMutants: readonly Mutant[] = [
  ...inFile('src/replica/loop.ts', [
    {
      name: 'send-before-saving-the-vote',
      original: 'if (ready.hardState !== null) this.#options.hardState.save(ready.hardState);',
      replacement:
        'const due = ready.hardState; if (due !== null) this.#clock.after(1, () => this.#options.hardState.save(due));',
      breaks: 'Messages leave before the term and vote that they depend on are saved.',
    },
  ]),
  ...inFile('src/replica/exchange.ts', [
    {
      name: 'truncation-not-written',
      original: 'if (truncateAfter !== null) log.truncateAfter(truncateAfter);',
      replacement: 'if (truncateAfter !== null && truncateAfter % 2 === 0) log.truncateAfter(truncateAfter);',
      breaks: 'Consensus and log hold different records.',
    },
  ]),
  ...inFile('src/replica/waiters.ts', [
    {
      name: 'answer-before-commit',
      original: 'if (waiter !== null && waiter.lastIndex > appliedIndex) break;',
      replacement: 'if (waiter !== null && waiter.lastIndex > appliedIndex + 1) break;',
      breaks: 'A caller is told that its records are committed before they are.',
    },
    {
      name: 'answer-for-a-replaced-record',
      original: 'if (termAt(lastIndex) === term) return null;',
      replacement: 'if (termAt(lastIndex) >= term) return null;',
      breaks: "A caller is told that its records are committed when another leader's took their place.",
    },
    {
      name: 'late-means-refused',
      original: "new TLedgerError('OUTCOME_UNKNOWN', 'no majority",
      replacement: "new TLedgerError('NO_LEADER', 'no majority",
      breaks: 'A request whose outcome is unknown is said to have had no effect.',
    },
  ]),
  ...inFile('src/replica/leading.ts', [
    {
      name: 'ending-means-refused',
      original: "    this.#waiters.failAll(\n      new TLedgerError('OUTCOME_UNKNOWN',",
      replacement: "    this.#waiters.failAll(\n      new TLedgerError('SHUTTING_DOWN',",
      breaks: 'A node that ends says that records in its log had no effect.',
    },
  ]),
  ...inFile('src/replica/flusher.ts', [
    {
      name: 'vouches-before-the-flush-that-was-asked-for',
      original: 'if (firstToFlush === null) return',
      replacement: 'if (firstToFlush !== undefined) return',
      breaks: 'A message acknowledged as being on disk is lost with the power.',
      directed: {
        reason: 'Groups that flush at intervals lose no power in the simulator: they may lose messages then.',
        test: 'test/replica/flush_wish.test.ts',
      },
    },
    {
      name: 'vouch-for-the-end',
      original: 'onDurable(durable.index, durable.term);',
      replacement: 'if (durable.index > 0) onDurable(log.lastIndex, log.lastTerm);',
      breaks: 'What was written during a flush counts as flushed.',
    },
    {
      name: 'sync-vouches-at-once',
      original: "if (policy === 'sync') return null;",
      replacement: "if (policy === 'sync' && log.lastIndex % 8 !== 0) return null;",
      breaks: 'Records count as durable before they are flushed.',
    },
  ]),
  ...inFile('src/replica/applying.ts', [
    {
      name: 'apply-past-commit',
      original: '.lastIndex, commit, this.#boundaryAt(first)) as LogIndex;',
      replacement: '.lastIndex, this.#boundaryAt(first)) as LogIndex;',
      breaks: 'Records are applied that are not committed.',
    },
  ]),
  ...inFile('src/broker/checkpoints.ts', [
    {
      name: 'state-ahead-of-the-log',
      original: '      await flushLog?.(index);\n',
      replacement: '',
      breaks: 'After a power loss the stored state is that of records which are gone.',
    },
    {
      name: 'units-not-flushed',
      original: '      await flushQueues();\n',
      replacement: '',
      breaks: 'After a power loss consume queues lack units that the stored state counts.',
    },
  ]),
  ...inFile('src/broker/broker.ts', [
    {
      name: 'queue-range-not-stored',
      original: 'for (const queue of touched) this.#dirty.queue(queue);',
      replacement: 'for (const queue of touched) if (queue.queueId > 0) this.#dirty.queue(queue);',
      breaks: 'After a restart a queue continues with an offset that it has given already.',
    },
    {
      name: 'applied-index-runs-ahead',
      original: 'const applied = { index: this.#applied, storedAtMs: this.#projection.storedAtMs };',
      replacement:
        'const applied = { index: (this.#applied + 1) as LogIndex, storedAtMs: this.#projection.storedAtMs };',
      breaks: 'A restart leaves a record out.',
    },
  ]),
  ...inFile('src/broker/admission.ts', [
    {
      name: 'pending-batches-forgotten',
      original: 'this.#producers.get(id), this.#pendingProducers.runs(id));',
      replacement: 'this.#producers.get(id), []);',
      breaks: 'A repeat of what is in the log but not applied is taken for new.',
    },
    {
      name: 'new-leader-keeps-old-offsets',
      original: 'for (const queue of topic.queues) queue.assigned = queue.units.max;',
      replacement:
        'for (const queue of topic.queues) if (queue.assigned < queue.units.max) queue.assigned = queue.units.max;',
      breaks: 'Offsets that a lost leadership assigned are never given again.',
    },
  ]),
  ...inFile('src/broker/producers.ts', [
    {
      name: 'repeat-at-the-edge-is-new',
      original: 'if (sequence <= expected) return expected - sequence;',
      replacement: 'if (sequence <= expected) return Math.max(0, expected - sequence - 1);',
      breaks: 'The last message of a producer is stored twice when it is repeated.',
    },
  ]),
  ...inFile('src/broker/projection.ts', [
    {
      name: 'unit-points-at-the-record',
      original: '(position + RECORD_HEADER_BYTES) as PhysicalOffset',
      replacement: 'position as PhysicalOffset',
      breaks: 'Consume queue units name a place that RocketMQ does not mean.',
    },
  ]),
];
