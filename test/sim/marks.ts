// Situations that a campaign must come through now and then, or it proves little: each is counted where it is seen, and
// those never reached are printed ("sometimes" assertions).

/** By what they are about; each is reached in a campaign of some thousand seeds. */
export const markGroups = {
  elections: [
    'two candidates in one term',
    'a term without a leader',
    'a vote is refused',
    'a pre-vote is refused',
    'a candidate gives way in its own term',
    'two nodes believe to lead',
    'a leader learns of a later term',
    'a leader hears no majority and steps down',
    'a leader falls before its no-op is committed',
    'a leader falls with records uncommitted',
    'a leader falls while reads wait',
    'a new leader is behind another node',
    'a leader wakes up deposed',
    'ten election timeouts without a leader',
    'all nodes are down',
  ],
  logs: [
    'one record is replaced',
    'five records are replaced',
    'a record of an earlier term is replaced',
    'a segment is taken back',
    'an old record on a majority is not committed (figure 8, c)',
    'a record on a majority is replaced (figure 8, d)',
    'a no-op commits records of earlier terms',
    'fifty records are committed at once',
    'a follower is 100 records behind',
    'an append is refused for its term',
    'an append is refused for its length',
    'an acknowledgement of an earlier term arrives',
  ],
  crashes: [
    'death while a vote is saved',
    'death while a segment is begun',
    'death in a truncation',
    'death in a recovery',
    'death while state is saved',
    'a torn tail is cut',
    'the log index is made anew',
    'a restart scans 50 records',
    'the leader dies with all its followers up',
    'a flush outlasts an election timeout',
    'a flush fails at the leader',
    'a flush fails at a follower',
    'a disk fills up',
    'a read fails',
    'a disk hangs for five election timeouts at the leader',
    'a disk hangs for five election timeouts at a follower',
  ],
  damage: [
    'damage is found at the start',
    'damage is found while running',
    'damage in the hard state is survived',
    'damage in the checkpoint is survived',
    'damage in the base is survived',
    'a damaged snapshot is not sent',
    'damage in the log index is survived',
    'damaged state is made anew',
    'damaged queues are made anew',
    'a reader is refused damaged bytes',
    'a disk is lost',
    'a leader is lost for good',
    'a leader finds its log damaged',
    'damaged records are taken from another node',
    'committed records take the place of damaged ones',
    'a damaged log begins anew behind a snapshot',
  ],
  members: [
    'a member is added',
    'a learner stays a learner',
    'a member is removed',
    'a member is replaced',
    'a member moves',
    'a change is refused while another is under way',
    'a change is cancelled',
    'joint consensus is turned around',
    'joint consensus is taken back by another leader',
    'the leader dies in joint consensus',
    'an election in joint consensus',
    'a leader removes itself',
    'a removed node campaigns',
    'a learner is promoted after a snapshot',
    'a lost node is replaced',
    'a leader whose removal is not committed campaigns',
  ],
  snapshots: [
    'a log is cut',
    'a log is cut while a follower is sent a snapshot',
    'a follower is behind the cut',
    'a snapshot is sent in ten pieces',
    'a piece is sent again',
    'a snapshot goes on where another leader left it',
    'a snapshot goes on after a restart',
    'a snapshot is installed',
    'a snapshot replaces a longer log',
    'death while a snapshot arrives',
    'death while a snapshot is installed',
    'an election while a snapshot is sent',
    'a start restores the state from a snapshot',
    'a reader is behind the cut',
  ],
  health: [
    'a leader gives way because its disk hangs',
    'a leader gives way because its event loop stood still',
    'a preferred leader takes over',
    'a read is confirmed by the lease',
  ],
  consumption: [
    'a message is handed out again',
    'a delivery does not count',
    'a call in any order gets again what it may not have heard',
    'a batch in order is handed out again',
    'a message becomes a dead letter',
    'a consumer passes over what was cut',
    'a delayed message is shown',
    'a delayed message is recalled',
    'a transaction is committed',
    'a transaction is rolled back',
    'the producer of a half is asked',
    'a message id is known again',
    'a group goes on elsewhere',
    'a group is deleted and made anew',
    'a decision about a deleted group has no effect',
  ],
  clients: [
    'a batch is repeated after a change of leader',
    'an unknown outcome was committed',
    'an unknown outcome was not committed',
    'a sequence is out of order',
    'a producer was forgotten',
    'a node is overloaded',
    'a read is refused by a deposed leader',
    'a read is confirmed by a leader and made at a follower',
    'a topic is created by two at once',
    'a transfer is done',
    'a transfer is given up',
    'the target of a transfer dies',
  ],
} as const;

/** A situation. */
export type Mark = (typeof markGroups)[keyof typeof markGroups][number];

/** All of them. */
export const allMarks: readonly Mark[] = Object.values(markGroups).flat();

/** Counts situations. */
export class Marks {
  readonly #counts = new Map<Mark, number>();

  reach(mark: Mark): void {
    this.#counts.set(mark, (this.#counts.get(mark) ?? 0) + 1);
  }

  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }
}
