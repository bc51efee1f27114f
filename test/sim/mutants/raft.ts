// Breaks of consensus.
import { inFile, type Mutant } from './mutant.ts';

/** See the head of the file. */
export const raftMutants: readonly Mutant[] = [
  ...inFile('src/raft/leadership.ts', [
    {
      name: 'leader-counts-itself-early',
      original: '?.match ?? this.#state.flushedIndex',
      replacement: '?.match ?? this.#state.log.lastIndex',
      breaks: 'The leader vouches for records of its own before they are flushed.',
    },
    {
      name: 'commit-old-term-by-counting',
      original: 'if (agreed <= commit || log.termAt(agreed) !== term) return;',
      replacement: 'if (agreed <= commit) return;',
      breaks: 'Records of earlier terms are committed by counting copies (paper, figure 8).',
    },
    {
      name: 'read-before-noop',
      original: 'const index = logIndex(Math.max(this.#state.commit, this.#noopIndex));',
      replacement: 'const index = this.#state.commit;',
      breaks: 'A new leader reads at a commit index that may lag behind what its predecessor answered for.',
    },
    {
      name: 'read-without-quorum',
      original: 'this.#reads.confirm(this.#state.quorum.agreed(this.#roundOf))',
      replacement: 'this.#reads.confirm(this.#replication.round)',
      breaks: 'A deposed leader confirms reads by itself.',
    },
    {
      name: 'read-confirmed-by-earlier-round',
      original: 'this.#reads.add(token, index, this.#replication.round + 1);',
      replacement: 'this.#reads.add(token, index, this.#replication.round);',
      breaks: 'Echoes of heartbeats that were sent before a read confirm it.',
    },
    {
      name: 'no-check-quorum',
      original: 'return this.heardQuorumWithin(config.electionTimeoutMsMax);',
      replacement: 'return true;',
      breaks: 'A leader that hears nobody leads on.',
    },
  ]),
  ...inFile('src/raft/replication.ts', [
    {
      name: 'match-from-refusal-hint',
      original:
        '      progress.rejected(prevIndex, log.lastWithTermAtMost(hintIndex, hintTerm) + 1);\n      return false;',
      replacement: '      return progress.acknowledged(logIndex(Math.min(hintIndex, log.lastIndex)));',
      breaks: "A follower's guess at where the logs meet counts as an acknowledgement (CCF #5325).",
    },
  ]),
  ...inFile('src/raft/handover.ts', [
    {
      name: 'transfer-never-given-up',
      original: 'if (this.#transfer !== null && this.#state.nowMs >= this.#transfer.deadlineMs) this.end();',
      replacement: '',
      breaks: 'Writes stay blocked when the target of a transfer does not take over.',
    },
  ]),
  ...inFile('src/raft/follower.ts', [
    {
      name: 'follower-acknowledges-unflushed',
      original: 'return logIndex(Math.min(this.#verified, this.#state.flushedIndex));',
      replacement: 'return this.#verified;',
      breaks: 'A follower vouches for records that are not flushed.',
    },
    {
      name: 'follower-truncates-what-it-holds',
      original: 'const from = log.firstDifference(message.runs, first, message.lastIndex);',
      replacement: 'const from = first;',
      breaks: 'A late append removes records that came after it.',
    },
    {
      name: 'follower-commits-unverified',
      original: 'const commit = Math.min(message.commit, this.#verified);',
      replacement: 'const commit = Math.min(message.commit, log.lastIndex);',
      breaks: 'A leftover of an earlier leader is taken for committed.',
    },
    {
      name: 'follower-keeps-verified-over-terms',
      original: '    this.#verified = logIndex(0);\n',
      replacement: '',
      breaks: 'What one leader verified counts for the next one.',
    },
    {
      name: 'follower-checks-length-only',
      original: 'if (message.prevIndex >= log.baseIndex && !log.matches(message.prevIndex, message.prevTerm)) {',
      replacement: 'if (message.prevIndex > log.lastIndex) {',
      breaks: 'The consistency check of an append compares no terms.',
    },
  ]),
  ...inFile('src/raft/election.ts', [
    {
      name: 'vote-without-log-check',
      original: 'const granted = free && !sticky && log.isUpToDate(request.lastIndex, request.lastTerm);',
      replacement: 'const granted = free && !sticky;',
      breaks: 'A candidate that lacks committed records is elected.',
    },
    {
      name: 'vote-for-anybody',
      original: 'const free = vote === candidate || ',
      replacement: 'const free = true || ',
      breaks: 'A second vote in the same term.',
    },
    {
      name: 'pre-vote-as-vote',
      original: 'if (granted && !preVote) {',
      replacement: 'if (granted) {',
      breaks: 'A pre-vote uses up the vote.',
    },
  ]),
  ...inFile('src/raft/raft.ts', [
    {
      name: 'pre-vote-changes-the-term',
      original: "if (message.type === 'vote-request' && message.preVote) return true;",
      replacement: '',
      breaks: 'Asking what would happen in a later term makes it happen.',
    },
    {
      name: 'stale-acknowledgement-counted',
      original: 'if (message.term < this.#state.term) {',
      replacement: "if (message.term < this.#state.term && message.type !== 'append-response') {",
      breaks: 'An acknowledgement of an earlier term counts in this one.',
    },
    {
      name: 'lower-term-is-not-told',
      original: '        this.#answerLowerTerm(message);\n'.trimStart(),
      replacement: '',
      breaks: 'A leader never hears of a member whose term ran ahead, and that member never comes back.',
    },
  ]),
  ...inFile('src/raft/state.ts', [
    {
      name: 'vote-not-saved',
      original: 'vote: this.#vote } : null;',
      replacement: 'vote: null } : null;',
      breaks: 'A vote is given that a restart forgets.',
    },
    {
      name: 'term-not-saved',
      original: '    this.outbox.hardStateChanged = true;\n    this.outbox.stateChanged = true;\n',
      replacement: '    this.outbox.stateChanged = true;\n',
      breaks: 'A term is entered that a restart forgets.',
    },
    {
      name: 'flushed-survives-truncation',
      original: 'if (this.#flushedIndex > index) this.#flushedIndex = index;',
      replacement: '',
      breaks: 'Records that replace flushed ones count as flushed.',
    },
  ]),
  ...inFile('src/raft/term_log.ts', [
    {
      name: 'up-to-date-by-length-only',
      original: 'if (otherTerm !== this.lastTerm) return otherTerm > this.lastTerm;',
      replacement: '',
      breaks: 'A long log of old terms wins over a short one of a later term.',
    },
  ]),
  ...inFile('src/raft/quorum.ts', [
    {
      name: 'half-is-a-majority',
      original: 'this.#needed = Math.floor(voters.length / 2) + 1;',
      replacement: 'this.#needed = Math.ceil(voters.length / 2);',
      breaks: 'In a group of four, two make a majority.',
    },
  ]),
  ...inFile('src/raft/progress.ts', [
    {
      name: 'window-never-freed',
      original: '      this.inflight.freeUpTo(match);\n',
      replacement: '',
      breaks: 'Replication stops once the window was full.',
    },
  ]),
];
