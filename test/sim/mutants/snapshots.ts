// Breaks of what makes logs shorter: snapshots, cuts, installations, and of what guards against damage.
import { inFile, type Mutant } from './mutant.ts';

/** See the head of the file. */
export const snapshotMutants: readonly Mutant[] = [
  ...inFile('src/storage/commit_log.ts', [
    {
      name: 'cut-before-the-base-is-saved',
      original: '      base.save(tip, { isFresh: false });\n      segments.removeHead(number);\n',
      replacement: '      segments.removeHead(number);\n      base.save(tip, { isFresh: false });\n',
      breaks: 'A crash leaves a log without its beginning, and nothing that says so.',
    },
    {
      name: 'new-beginning-not-announced',
      original: 'parts.base.save(base, { isFresh: true });',
      replacement: '',
      breaks: 'A crash leaves old segments in a log that begins anew.',
    },
    {
      name: 'cache-outlives-a-new-beginning',
      original: '    parts.cache.clear();\n    this.#cold.truncateAfter(physicalOffset(0));',
      replacement: '    this.#cold.truncateAfter(physicalOffset(0));',
      breaks: 'Records that a snapshot replaced are read from memory.',
      directed: {
        reason: 'What a snapshot replaces lies at places that are never read again before they are overwritten.',
        test: 'test/storage/log_base.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/log_base.ts', [
    {
      name: 'base-in-one-slot',
      original: '    else this.#slots.writeBoth(payload);\n',
      replacement: '    else {\n      this.#slots.write(payload);\n      this.#slots.flushNow();\n    }\n',
      breaks: 'One damaged sector brings back a base whose segments are gone.',
      directed: {
        reason: 'The one slot of a file of two has to be damaged just after a cut.',
        test: 'test/storage/log_base.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/snapshot_store.ts', [
    {
      name: 'snapshot-not-flushed',
      original: '      await file.flush();\n      if (this.#isClosed)',
      replacement: '      if (this.#isClosed)',
      breaks: 'A power loss leaves a log that was cut and a snapshot that is torn.',
    },
    {
      name: 'arriving-snapshot-taken-for-complete',
      original: 'if (incoming === null || !incoming.progress.isComplete) return false;',
      replacement: 'if (incoming === null) return false;',
      breaks: 'A part of a snapshot is installed.',
      directed: {
        reason: 'Nobody asks before the last piece is there: the loop installs when the store says that it is.',
        test: 'test/storage/snapshot.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/snapshot_incoming.ts', [
    {
      name: 'pieces-of-snapshots-not-checked',
      original:
        'if (header === null || header.tip.index !== this.index || header.tip.term !== this.term) return false;',
      replacement: 'if (header === null) return false;',
      breaks: 'A snapshot of another point is stored under this name.',
      directed: {
        reason: 'A leader never sends the header of another snapshot; only a foreign or damaged one would.',
        test: 'test/storage/snapshot.test.ts',
      },
    },
    {
      name: 'gap-in-a-snapshot',
      original: 'if (offset > written || end <= written) return false;',
      replacement: 'if (end <= written) return false;',
      breaks: 'A piece that comes too early is taken for the next one.',
      directed: {
        reason:
          'Pieces are sent one after the other: one that overtakes another is dropped for its term or its connection first.',
        test: 'test/storage/snapshot.test.ts',
      },
    },
  ]),
  ...inFile('src/raft/snapshot_sending.ts', [
    {
      name: 'lost-piece-never-sent-again',
      original: 'if (!this.#outstanding || --this.#roundsLeft > 0) return;',
      replacement: 'return;',
      breaks: 'A follower waits for ever for a piece that was lost.',
    },
    {
      name: 'snapshot-begins-anew-with-each-piece',
      original: '    this.#offset = offset;\n  }',
      replacement: '  }',
      breaks: 'The same piece is sent again and again.',
    },
  ]),
  ...inFile('src/raft/follower.ts', [
    {
      name: 'snapshot-over-a-log-that-reaches-as-far',
      original: 'if (commit >= index || log.matches(index, indexTerm)) {',
      replacement: 'if (commit >= index) {',
      breaks: 'A snapshot replaces records that the follower has vouched for.',
      directed: {
        reason: 'A snapshot has to arrive late at a follower that was brought up to date by records meanwhile.',
        test: 'test/raft/paper/snapshots.test.ts',
      },
    },
    {
      name: 'installed-snapshot-not-vouched-for',
      original: '    this.#verified = index;\n    this.#acknowledge();\n  }\n\n  /** Records became durable',
      replacement: '    this.#verified = index;\n  }\n\n  /** Records became durable',
      breaks: 'The leader does not learn that its snapshot is there.',
      directed: {
        reason: 'The next heartbeat is answered with the same; only the transcripts see that it comes at once.',
        test: 'test/raft/scenarios.test.ts',
      },
    },
  ]),
  ...inFile('src/replica/install.ts', [
    {
      name: 'state-installed-before-the-log',
      original: '    await broker.install(snapshot, () => log.restart(snapshot.meta.tip), rows);\n',
      replacement: '    await broker.install(snapshot, () => {}, rows);\n    log.restart(snapshot.meta.tip);\n',
      breaks: 'A crash leaves a state that is ahead of its log.',
      directed: {
        reason: 'A crash has to come between two operations that follow each other at once.',
        test: 'test/replica/snapshots.test.ts',
      },
    },
    {
      name: 'state-installed-without-the-log',
      original: '() => log.restart(snapshot.meta.tip)',
      replacement: '() => {}',
      breaks: 'The log goes on where it ended, and the state is ahead of it.',
    },
  ]),
  ...inFile('src/replica/retention.ts', [
    {
      name: 'tail-of-what-is-kept-cut-too-early',
      original: 'ageMs >= PATIENCE_FACTOR * ageMsMax || (ageMs >= ageMsMax &&',
      replacement: 'ageMs >= PATIENCE_FACTOR * ageMsMax || (ageMs >= 0 &&',
      breaks: 'Messages go before their time.',
      directed: {
        reason: 'A checker that knows the log of the group cannot tell a cut that comes early from one that is due.',
        test: 'test/replica/disk_full.test.ts',
      },
    },
    {
      name: 'queues-keep-what-was-cut',
      original: 'this.#options.broker.cut(snapshot, rows)',
      replacement: '{}',
      breaks: 'Readers are sent to records that are gone.',
    },
    {
      name: 'cut-without-a-snapshot',
      original: 'return snapshots.list().findLast(mayGo) ??',
      replacement: 'return log.sealedBoundaries.findLast(mayGo) ??',
      breaks: 'Records go that nothing stands for.',
      directed: {
        reason:
          'Snapshots are made at every boundary before the log is cut there; only a failed one leaves a gap, and then the next is near.',
        test: 'test/replica/retention.test.ts',
      },
    },
    {
      name: 'needed-snapshots-removed',
      original: 'for (const older of snapshots.list()) if (older < boundary) snapshots.remove(older);',
      replacement: 'for (const older of snapshots.list()) if (older <= boundary) snapshots.remove(older);',
      breaks: 'Nothing stands for the records that were cut.',
    },
  ]),
  ...inFile('src/broker/snapshot_rows.ts', [
    {
      name: 'cut-queue-keeps-its-minimum',
      original: 'if (length > queue.units.min) cuts.push({ queue, length });',
      replacement: 'if (length > queue.units.min + 1) cuts.push({ queue, length });',
      breaks: 'A queue shows that it holds a message that was cut.',
    },
  ]),
  ...inFile('src/broker/broker.ts', [
    {
      name: 'cut-forgotten-by-a-restart',
      original: 'if (stored.base < base.index) withSnapshotAt(',
      replacement: 'if (stored.base < 0) withSnapshotAt(',
      breaks: 'After a crash queues name records that were cut.',
    },
    {
      name: 'producers-lost-by-an-install',
      original: '    this.#producers.restore(producers);\n',
      replacement: '',
      breaks: 'Whoever got a snapshot stores repeated messages twice.',
    },
  ]),
  ...inFile('src/broker/restoring.ts', [
    {
      name: 'old-state-over-a-new-base',
      original: 'return tables.applied < base.index ? null : tables;',
      replacement: 'return tables;',
      breaks: 'After a crash in an installation the state lacks what the snapshot would bring.',
    },
  ]),
  ...inFile('src/broker/pull.ts', [
    {
      name: 'damaged-body-shown',
      original: '      isBodyIntact(records, at) &&\n',
      replacement: '',
      breaks: 'A reader gets bytes that nobody wrote.',
      directed: {
        reason: 'A reader has to come by a damaged record before anything else does.',
        test: 'test/broker/pull.test.ts',
      },
    },
    {
      name: 'records-behind-the-last-one-shown',
      original:
        'if (at !== records.length) throw foreign(queue, offset + starts.length - 1, starts[starts.length - 1]);',
      replacement: '',
      breaks: 'A reader gets records that its queue does not hold.',
      directed: {
        reason: 'It takes a bit of a size in the last entry that is read; one in some hundred seeds that flip bits.',
        test: 'test/broker/pull.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/log_reader.ts', [
    {
      name: 'damaged-record-spread',
      original: '    this.#verify(range, from, lastIndex);\n',
      replacement: '',
      breaks: 'A bit that flipped on one disk goes out to the group, which drops the message again and again.',
    },
    {
      name: 'damaged-header-spread',
      original: 'if (chainCrcOf(header, 0, previous) !== chainCrcAt(header, 0)) {',
      replacement: 'if (previous < 0) {',
      breaks: 'A bit that flipped on one disk makes every healthy member stop.',
      directed: {
        reason:
          'It takes one bit of the one header that a lagging follower is told of; found once in a thousand seeds.',
        test: 'test/storage/commit_log.test.ts',
      },
    },
  ]),
];
