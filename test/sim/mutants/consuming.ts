// Breaks of consumption, messages held back, and message ids.
import { inFile, type Mutant } from './mutant.ts';

/** See the head of the file. */
export const consumingMutants: readonly Mutant[] = [
  ...inFile('src/replica/leader_port.ts', [
    {
      name: 'lane-goes-on-without-knowing',
      original: 'const NO_DEADLINE = Number.POSITIVE_INFINITY;',
      replacement: 'const NO_DEADLINE = 200;',
      breaks: 'The next thing is decided while the last decision is still under way.',
    },
  ]),
  ...inFile('src/replica/consuming/lane.ts', [
    {
      name: 'answer-before-it-is-carried-out',
      original:
        'const index = settled.length + changed.length === 0 ? logIndex(0) : await this.#write({ settled, changed });',
      replacement:
        'const index = settled.length + changed.length === 0 ? logIndex(0) : (this.#write({ settled, changed }).catch(() => {}), this.#port.broker.appliedIndex);',
      breaks: 'A consumer is told that a message is acknowledged before that is so.',
    },
    {
      name: 'step-outlasts-its-callers',
      original: 'for (const call of this.#inStep) call.expire(nowMs);',
      replacement: '',
      breaks: 'Whoever waits for a decision that a majority does not hear of is never told that nobody can tell.',
    },
    {
      name: 'lane-falls-asleep',
      original: 'if (!this.isIdle) return;',
      replacement: 'this.#timer?.cancel();\n    if (!this.isIdle) return;',
      breaks: 'A verdict that reached a leader before its term had begun waits for the next call.',
      directed: {
        reason: 'consumers of a busy run call all the time, and every call wakes the lane',
        test: 'test/replica/consuming/adversity.test.ts',
      },
    },
  ]),
  ...inFile('src/replica/consuming/judge.ts', [
    {
      name: 'any-receipt-acknowledges',
      original: 'if (delivery.handle !== receipt.handle || delivery.untilMs <= wallMs) return ',
      replacement: "if (verdict.kind === 'change' && delivery.handle !== receipt.handle) return ",
      breaks: 'A receipt whose message went to another consumer acknowledges it.',
      directed: {
        reason: 'A late acknowledgement of a message that was handed out again looks like any other.',
        test: 'test/replica/consuming/consuming.test.ts',
      },
    },
    {
      name: 'verdicts-that-meet-are-both-right',
      original: "return before !== 'change' && verdict.kind !== 'change' ? 'done' : 'refused';",
      replacement: "return before !== 'bury' ? 'done' : 'refused';",
      breaks: 'A message that its consumer gave back and acknowledged in one breath comes again after the OK.',
      directed: {
        reason: 'Simulated consumers speak once of a message in one call.',
        test: 'test/replica/consuming/adversity.test.ts',
      },
    },
  ]),
  ...inFile('src/replica/consuming/gather.ts', [
    {
      name: 'returned-before-its-time',
      original: 'this.#progressOf(queueId)?.returned(nowMs) ?? []',
      replacement: 'this.#progressOf(queueId)?.returned(nowMs + 300) ?? []',
      breaks: 'A message is handed out again while its consumer still has it.',
    },
    {
      name: 'lost-answer-stays-lost',
      original: 'for (const queueId of this.#queueIds()) await this.#takeLost(queueId);',
      replacement: '',
      breaks:
        'What was decided for a call whose answer was lost stays away from its consumer until its invisible time is over.',
    },
    {
      name: 'lost-answer-goes-to-anybody',
      original: "return attemptId === '' ? [] : (progress?.decidedFor(attemptId, nowMs) ?? []);",
      replacement:
        "return attemptId === '' ? [] : [...(progress?.inFlight ?? [])].filter(([, one]) => one.attemptId !== '' && one.untilMs > nowMs);",
      breaks: 'A message is handed to another consumer while the first one still has it.',
    },
    {
      name: 'handed-out-for-ever',
      original: 'if (isAttempt && attempt >= group.attemptsMax) {',
      replacement: 'if (isAttempt && attempt > group.attemptsMax) {',
      breaks: 'A message is handed out more often than its group allows.',
    },
    {
      name: 'two-pops-of-one-step-get-the-same',
      original: 'taken.advance(queueId, next);',
      replacement: '',
      breaks: 'Two consumers are handed the same new messages.',
    },
    {
      name: 'queue-in-order-gives-on',
      original: 'if (progress === undefined || progress.inFlight.size === 0) await',
      replacement: 'if (progress === undefined || progress.inFlight.size < 2) await',
      breaks: 'A group in order gets the next batch before the one in front is acknowledged.',
    },
    {
      name: 'batch-begins-in-the-middle',
      original: 'for (const [offset, { attempt, isGivenBack }] of batch) {',
      replacement: 'for (const [offset, { attempt, isGivenBack }] of batch.slice(-3)) {',
      breaks: 'A group in order gets a batch again without its first messages.',
    },
  ]),
  ...inFile('src/broker/consuming/consume_command.ts', [
    {
      name: 'stale-decision-is-carried-out',
      original: 'if (!fits(command, index, table.get(command.group, command.topic)?.queues)) return false;',
      replacement: '',
      breaks: 'What was decided about a group that was deleted befalls the one that took its place.',
      directed: {
        reason: 'it takes a deletion that overtakes a decision, once in dozens of seeds',
        test: 'test/replica/consuming/adversity.test.ts',
      },
    },
  ]),
  ...inFile('src/broker/consuming/progress.ts', [
    {
      name: 'attempts-not-stored',
      original: 'Object.assign(delivery, { attempt, isGivenBack: givenBack === 1 });',
      replacement: 'Object.assign(delivery, { isGivenBack: givenBack === 1 });',
      breaks: 'After a restart messages are handed out as if for the first time.',
    },
    {
      name: 'progress-not-stored',
      original: 'this.#changed.mark(keyOf(group, topic, queueId));\n    return queue;',
      replacement: 'if (queue.inFlight.size < 5) this.#changed.mark(keyOf(group, topic, queueId));\n    return queue;',
      breaks: 'After a restart a group is where it was long ago.',
    },
  ]),
  ...inFile('src/broker/broker.ts', [
    {
      name: 'new-queues-forgotten-at-a-restart',
      original: 'this.#dirty.topic(grown.info);',
      replacement: '',
      breaks:
        'After a restart a topic has fewer queues than were committed, and messages of the others stop the replica.',
    },
  ]),
  ...inFile('src/broker/topics.ts', [
    {
      name: 'as-many-more-queues',
      original: 'while (topic.queues.length < queues) this.grow(topic, files);',
      replacement: 'for (let left = queues - 1; left > 0; left--) this.grow(topic, files);',
      breaks: 'A topic that was asked to have six queues gets six more.',
    },
  ]),
  ...inFile('src/replica/parked/parked_messages.ts', [
    {
      name: 'shown-too-early',
      original: 'if (first === undefined || first.dueMs > nowMs) break;',
      replacement: 'if (first === undefined || first.dueMs > nowMs + 20) break;',
      breaks: 'A delayed message is shown before its time.',
    },
    {
      name: 'recalled-while-it-is-shown',
      original: '!this.#deciding.has(index);\n    if (!isWaiting || parked.dueMs <= this.#port.clock.wallMs()) {',
      replacement: 'true;\n    if (!isWaiting) {',
      breaks: 'A message is recalled while it is on its way into its queue.',
    },
    {
      name: 'half-committed-twice',
      original: 'if (underWay === undefined) {',
      replacement: "if (underWay === undefined || resolution === 'commit') {",
      breaks: 'A transaction is committed while it is being resolved already.',
    },
    {
      name: 'check-of-what-is-gone',
      original: 'if (half === undefined || half.dueMs > clock.wallMs() || this.#deciding.has(index)) return false;',
      replacement: 'if (half === undefined) return false;',
      breaks: 'The producer of a half is asked by two at once.',
    },
    {
      name: 'forgotten-by-a-new-leader',
      original: "if (parked.kind === 'delayed') this.#delayed.push(parked);\n    }",
      replacement: '}',
      breaks: 'Delayed messages that came before a change of leader are never shown.',
    },
  ]),
  ...inFile('src/replica/retention.ts', [
    {
      name: 'what-is-held-back-is-cut',
      original: 'index < heldFrom &&\n',
      replacement: '\n',
      breaks: 'A delayed message or half is gone when its time has come.',
    },
  ]),
  ...inFile('src/broker/sent/pending_sent.ts', [
    {
      name: 'pending-ids-forgotten',
      original: 'if (pending !== undefined) return pending;',
      replacement: '',
      breaks: 'A message that is sent again before it is applied is stored twice.',
    },
  ]),
  ...inFile('src/broker/sent/sent_window.ts', [
    {
      name: 'ids-forgotten-at-a-restart',
      original: 'this.#changed.mark(keyOf(block.firstIndex));\n    while',
      replacement: 'if (block.messages.length === 1) this.#changed.mark(keyOf(block.firstIndex));\n    while',
      breaks: 'After a restart message ids are not known again.',
    },
  ]),
];
