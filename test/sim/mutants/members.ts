// Breaks of what makes members come and go: majorities, memberships in the log, leases, health.
import { inFile, type Mutant } from './mutant.ts';

/** See the head of the file. */
export const memberMutants: readonly Mutant[] = [
  ...inFile('src/raft/quorum.ts', [
    {
      name: 'joint-commits-by-new-voters-only',
      original: 'return outgoing === undefined ? value : Math.min(value, outgoing.agreed(reachedBy));',
      replacement: 'return value;',
      breaks: 'Records are committed that the majority of before does not hold.',
    },
    {
      name: 'joint-commits-by-either-majority',
      original: 'outgoing === undefined ? value : Math.min(value,',
      replacement: 'outgoing === undefined ? value : Math.max(value,',
      breaks: 'One of two majorities decides.',
    },
    {
      name: 'joint-election-by-one-majority',
      original: "    if (outcomes.includes('lost')) return 'lost';\n",
      replacement: "    if (outcomes.includes('won')) return 'won';\n",
      breaks: 'Two leaders of one term can be elected, each by one majority.',
    },
  ]),
  ...inFile('src/raft/membership_history.ts', [
    {
      name: 'membership-in-force-when-committed',
      original: 'return this.#entries.at(-1)!;',
      replacement: 'return this.#entries[0]!;',
      breaks: 'Majorities change when a record is committed, not when it is in the log.',
    },
    {
      name: 'membership-survives-truncation',
      original: 'while (this.current.index > index) this.#entries.pop();',
      replacement: '',
      breaks: 'A membership whose record was replaced stays in force.',
    },
    {
      name: 'leaving-leader-gives-up',
      original: 'return this.#entries.some(({ membership }) => isVoter(membership, id));',
      replacement: 'return isVoter(this.current.membership, id);',
      breaks: 'Nobody can lead when only the removed leader holds its removal (dissertation, figure 4.6).',
      directed: {
        reason:
          'Only a group that shrinks from two voters to one is blocked by it, with the removal held by nobody else: a simulated group starts with three, and comes to that too rarely.',
        test: 'test/raft/scenarios.test.ts',
      },
    },
    {
      name: 'removed-node-campaigns-for-ever',
      original: 'return this.#entries.some(({ membership }) => isVoter(membership, id));',
      replacement: 'return true;',
      breaks: 'Learners, strangers and removed nodes campaign.',
    },
  ]),
  ...inFile('src/raft/membership.ts', [
    {
      name: 'removal-in-one-step',
      original: '  return make(rest, voters, learners, addressesOf(current));',
      replacement: '  return make(rest, [], learners, addressesOf(current));',
      breaks: 'Voters change without joint consensus.',
    },
    {
      name: 'replaced-voter-stays',
      original: 'const promoted = [...voters.filter((id) => id !== ready.replaces), ready.id];',
      replacement: 'const promoted = [...voters, ready.id];',
      breaks: 'Whoever was to be replaced keeps its vote.',
      directed: {
        reason:
          'What the operator asked for and what the membership became is not compared; the group lives with one voter more.',
        test: 'test/raft/membership.test.ts',
      },
    },
    {
      name: 'cancel-forgets-a-majority',
      original: 'if (isJoint(current)) return make(outgoing, voters, learners, addressesOf(current));',
      replacement: 'if (isJoint(current)) return make(outgoing, [], learners, addressesOf(current));',
      breaks: 'A change-over is taken back without the majority that it may have been committed by.',
      directed: {
        reason:
          'A change-over has to be taken back while both majorities are apart, within the few milliseconds before it is committed.',
        test: 'test/raft/membership.test.ts',
      },
    },
  ]),
  ...inFile('src/raft/leadership.ts', [
    {
      name: 'change-before-the-noop',
      original: 'if (commit < this.#noopIndex || !(isMembershipSettled || isTurn)) throw',
      replacement: 'if (!(isMembershipSettled || isTurn)) throw',
      breaks: 'Two leaders change the same membership (the bug of single-server changes, 2015).',
      directed: {
        reason:
          "The published case needs two leaders that each begin a change before their no-op, which the operator's pace does not give.",
        test: 'test/raft/paper/membership.test.ts',
      },
    },
    {
      name: 'changes-overtake-each-other',
      original: 'if (commit < this.#noopIndex || !(isMembershipSettled || isTurn)) throw',
      replacement: 'if (commit < this.#noopIndex) throw',
      breaks: 'A second change begins before the first one is committed.',
    },
    {
      name: 'joint-left-before-it-is-committed',
      original:
        'if (!this.#isUnfinished || !isMembershipSettled || commit < this.#noopIndex || outbox.own !== null) return;',
      replacement: 'if (!this.#isUnfinished || commit < this.#noopIndex || outbox.own !== null) return;',
      breaks: 'The new voters decide alone before the old ones agreed.',
    },
    {
      name: 'joint-never-left',
      original: 'if (next !== null) this.#enter(next);',
      replacement: '',
      breaks: 'A change of members never comes to its end.',
    },
    {
      name: 'removed-leader-leads-on',
      original: 'return !this.#state.isVoter && this.#state.isMembershipSettled;',
      replacement: 'return false;',
      breaks: 'Whoever has left the group leads it.',
    },
    {
      name: 'new-members-are-sent-nothing',
      original: '    this.#replication.admit();\n    this.#replication.dismiss();\n',
      replacement: '    this.#replication.dismiss();\n',
      breaks: 'A member that is added in the middle of a term gets no records.',
    },
    {
      name: 'lease-without-quorum',
      original: 'this.#lease.confirm(quorum.agreed(this.#roundOf));',
      replacement: 'this.#lease.confirm(this.#replication.round);',
      breaks: 'A leader that nobody answers believes in its lease.',
    },
    {
      name: 'lease-before-the-noop',
      original: 'if (config.leaseReads && commit >= this.#noopIndex) {',
      replacement: 'if (config.leaseReads) {',
      breaks: 'A new leader reads at a commit index that may lag behind what its predecessor answered for.',
    },
  ]),
  ...inFile('src/raft/lease.ts', [
    {
      name: 'lease-never-ends',
      original: 'return !this.#revoked && nowMs - this.#confirmedMs < this.#durationMs;',
      replacement: 'return !this.#revoked && this.#confirmedMs > 0;',
      breaks: 'A lease outlives the promises that it rests on.',
    },
    {
      name: 'lease-counted-from-the-answer',
      original: 'this.#begun.push({ round, atMs: nowMs });',
      replacement: 'this.#begun.push({ round, atMs: nowMs + this.#durationMs });',
      breaks: 'A lease that begins later than the round ends after the promises.',
    },
    {
      name: 'lease-survives-a-handover',
      original: '    this.#revoked = true;\n',
      replacement: '',
      breaks: 'A leader reads under its lease after it has asked another one to take over.',
    },
  ]),
  ...inFile('src/raft/election.ts', [
    {
      name: 'lease-promise-not-kept',
      original: 'if (config.leaseReads) return nowMs - this.#heardMs < config.electionTimeoutMsMin;',
      replacement: 'if (config.leaseReads) return false;',
      breaks: 'Voters replace a leader whose lease rests on them.',
    },
    {
      name: 'lease-promise-forgotten-at-a-restart',
      original: '    this.#heardMs = state.nowMs;\n    this.arm();\n',
      replacement: '    this.#heardMs = Number.NEGATIVE_INFINITY;\n    this.arm();\n',
      breaks: 'A voter that restarts replaces a leader whose lease rests on it.',
      directed: {
        reason: 'A voter has to restart and vote within one lease, while its leader still answers reads.',
        test: 'test/raft/paper/reads.test.ts',
      },
    },
  ]),
  ...inFile('src/raft/raft.ts', [
    {
      name: 'sick-node-campaigns',
      original: 'return this.#state.mayLead && !this.#isImpaired;',
      replacement: 'return this.#state.mayLead;',
      breaks: 'A node whose disk hangs is elected.',
    },
    {
      name: 'sick-leader-stays',
      original: '    this.#leadership?.abdicate();\n    this.#becomeFollower(term, null);\n  }',
      replacement: '  }',
      breaks: 'A leader whose disk hangs leads on (hashicorp/raft #503).',
    },
  ]),
  ...inFile('src/raft/state.ts', [
    {
      name: 'followers-keep-their-membership',
      original: 'for (const entry of memberships) if (entry.index >= firstIndex) this.#enterMembership(entry);',
      replacement: '',
      breaks: 'Followers go on by the membership that they started with.',
    },
    {
      name: 'snapshot-leaves-the-membership',
      original: '    this.#history.restore(membership);\n',
      replacement: '',
      breaks: 'Whoever gets a snapshot goes by the membership of before.',
    },
  ]),
  ...inFile('src/replica/incoming.ts', [
    {
      name: 'memberships-not-found-in-appends',
      original: 'verified.hasMembership ? membershipsIn(buffer, start, end) : []',
      replacement: '[]',
      breaks: 'Followers do not see the membership records that they store.',
    },
  ]),
  ...inFile('src/replica/open_group.ts', [
    {
      name: 'memberships-in-the-log-forgotten',
      original: '    entries.push(...membershipsIn(buffer, start, end));\n',
      replacement: '',
      breaks: 'A restart forgets memberships that are in the log and not applied.',
    },
  ]),
  ...inFile('src/broker/broker.ts', [
    {
      name: 'membership-not-stored',
      original: '    this.#dirty.membership(this.#membership);\n',
      replacement: '',
      breaks: 'A restart forgets the membership that was applied.',
    },
  ]),
  ...inFile('src/replica/membership_changes.ts', [
    {
      name: 'change-answered-half-way',
      original: "  if (isJoint(now)) return 'waiting';\n",
      replacement: '',
      breaks: 'An operator is told that a change is finished when it may still be turned around.',
    },
  ]),
  ...inFile('src/replica/watchdog.ts', [
    {
      name: 'hanging-disk-not-told',
      original: '    this.#isDiskHanging = true;\n    this.#tell(',
      replacement: '    this.#isDiskHanging = true;\n    String(',
      breaks: 'Nobody learns that a disk hangs.',
    },
  ]),
];
