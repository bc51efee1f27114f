// Breaks of what is on disk.
import { inFile, type Mutant } from './mutant.ts';

/** See the head of the file. */
export const storageMutants: readonly Mutant[] = [
  ...inFile('src/storage/log_appender.ts', [
    {
      name: 'roll-without-flush',
      original: '    this.#flusher.flushTailNow();\n',
      replacement: '',
      breaks: 'A new segment is begun before the one before it is durable.',
    },
  ]),
  ...inFile('src/storage/hard_state.ts', [
    {
      name: 'hard-state-not-flushed',
      original: '    try {\n      this.#slots.writeBoth(payload);\n',
      replacement: '    try {\n      this.#slots.write(payload);\n',
      breaks: 'A power loss takes away a vote that was given.',
    },
    {
      name: 'hard-state-believed-from-cache',
      original: '      slots.writeBoth(payload);\n    } catch',
      replacement: '      slots.flushNow();\n    } catch',
      breaks: 'After a failed flush a restart relies on a vote that never reaches the device.',
      directed: {
        reason:
          'A failed flush, a kill and then a loss of power have to come together with a vote in between: 362 seeds did not.',
        test: 'test/storage/hard_state.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/slots.ts', [
    {
      name: 'one-slot-only',
      original: '(this.#generation % 2) * SLOT_BYTES);',
      replacement: '0 * SLOT_BYTES);',
      breaks: 'A torn write of the term and vote leaves neither the old nor the new ones.',
    },
    {
      name: 'newest-slot-trusted',
      original: 'if (this.#generation > 0 && !this.#isNewestThere()) this.#generation++;',
      replacement: '',
      breaks: 'A save that is torn, in a node with one damaged slot, leaves no vote at all.',
      directed: {
        reason:
          'A bit has to flip in a node that runs, and its next save to be cut short: once in some thousand seeds.',
        test: 'test/storage/hard_state.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/log_flusher.ts', [
    {
      name: 'flush-vouches-for-the-end',
      original: 'this.guard(() => this.#vouchFor(running.target, running.rolled));',
      replacement:
        'running.target = this.#parts.tip; this.guard(() => this.#vouchFor(running.target, running.rolled));',
      breaks: 'What was written during a flush counts as flushed.',
    },
    {
      name: 'truncation-keeps-the-mark',
      original: '    this.#checkpoint.lower({ flushed: this.#flushed, mark: this.#mark });\n',
      replacement: '',
      breaks: 'After a crash the checkpoint vouches for records that were removed.',
    },
  ]),
  ...inFile('src/storage/commit_log.ts', [
    {
      name: 'cache-outlives-truncation',
      original: '    parts.cache.truncateAfter(tip);\n',
      replacement: '',
      breaks: 'Removed records are read from memory.',
    },
  ]),
  ...inFile('src/storage/recovery.ts', [
    {
      name: 'recovery-does-not-flush',
      original: '    }\n    file.flushNow();\n',
      replacement: '    }\n',
      breaks: 'A restart vouches for records that are only in the page cache.',
    },
    {
      name: 'recovery-believes-the-cache',
      original: '      file.write(piece, at - start);\n',
      replacement: '',
      breaks: 'After a failed flush a restart vouches for records that never reach the device.',
    },
    {
      name: 'recovery-keeps-the-torn-tail',
      original: '  segments.clearAfter(tip.end);\n',
      replacement: '',
      breaks: 'Sectors of lost writes lie behind the end, where the next record will not cover them.',
    },
  ]),
  ...inFile('src/storage/verify.ts', [
    {
      name: 'damaged-body-accepted',
      original: "if (!isBodyIntact(buffer, at)) throw corrupted(index + 1, 'the body does not match its checksum');",
      replacement: '',
      breaks: 'A body that was damaged on the way is stored.',
    },
  ]),
  ...inFile('src/storage/key_index.ts', [
    {
      name: 'keys-of-a-closed-segment-forgotten',
      original: 'else this.#closed.push({ segment, headers: this.#active.headers });',
      replacement: '',
      breaks: 'Messages of a segment that is full cannot be found by key any more.',
    },
  ]),
  ...inFile('src/storage/key_index_file.ts', [
    {
      name: 'key-chains-cut',
      original: 'this.#slots[slot] = ++this.#entries;',
      replacement: 'this.#slots[slot] = ++this.#entries % 9 === 0 ? 0 : this.#entries;',
      breaks: 'Messages are indexed and not found by key.',
    },
  ]),
  ...inFile('src/storage/repair_draft.ts', [
    {
      name: 'repair-takes-unverified-records',
      original: '    const verified = verifyRecords(buffer, start, end, this.predecessor);\n',
      replacement:
        '    const verified = { count: 1, lastIndex: upTo, lastTerm: this.tip.term, lastChain: 0 };\n    void verifyRecords;\n',
      breaks: 'What a peer sends is written into the log as it comes.',
      directed: {
        reason: 'the last checksum is compared, too, and a record that was read back shows the rest',
        test: 'test/replica/repairing.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/repair_mark.ts', [
    {
      name: 'repair-forgets-what-was-vouched-for',
      original: '  return tip.term < vouched.term || (tip.term === vouched.term && tip.index < vouched.index);',
      replacement: '  return false && tip.term < vouched.term;',
      breaks: 'A log that lacks what was acknowledged counts as whole, and what a peer has committed as enough.',
      directed: {
        reason: 'it takes records that nobody else has committed yet, and a crash between two writes',
        test: 'test/replica/repairing.test.ts',
      },
    },
    {
      name: 'log-under-repair-is-used',
      original: '  if (damage !== null) throw new DamageError(damage);\n',
      replacement: '',
      breaks: 'A replica votes and acknowledges before it holds what it vouched for.',
      directed: {
        reason: 'it takes a crash between the cut and the last record that takes its place',
        test: 'test/replica/repair_crash.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/repair.ts', [
    {
      name: 'repair-keeps-the-old-term',
      original: '  raiseTerm(place, draft.tip.term);\n',
      replacement: '',
      breaks: 'A replica holds records of a term that it knows nothing of.',
      directed: {
        reason: 'it refuses to start, which takes a group that diverged',
        test: 'test/replica/repairing.test.ts',
      },
    },
  ]),
  ...inFile('src/storage/consume_queue.ts', [
    {
      name: 'units-at-the-wrong-place',
      original: 'const end = this.#max * UNIT_BYTES;',
      replacement: 'const end = (this.#max > 40 ? this.#max - 1 : this.#max) * UNIT_BYTES;',
      breaks: 'Units overwrite each other.',
    },
    {
      name: 'gathered-units-of-others',
      original: 'const at = from + writtenBytes - pendingFrom;',
      replacement: 'const at = 0;',
      breaks: 'Units that are not written yet are taken for those that come first of them.',
    },
    {
      name: 'units-counted-unwritten',
      original: 'const queues = this.#gathered.unwritten;',
      replacement: 'const queues = this.#gathered.unwritten.slice(1);',
      breaks: 'After a crash the stored state counts units of a queue that were never written.',
    },
  ]),
];
