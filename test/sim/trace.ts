// What happened, as a number that two runs of one seed must agree on, and as lines for people if they are wanted.
import type { Membership, RaftMessage } from '../../src/raft/types.ts';

const LINES_MAX = 100_000;

/** A running hash (FNV-1a over 32-bit words), and lines. */
export class Trace {
  readonly isVerbose: boolean;
  readonly lines: string[] = [];
  nowMs = 0;
  #hash = 0x811c9dc5;

  constructor(isVerbose: boolean) {
    this.isVerbose = isVerbose;
  }

  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  /** Adds to the hash. */
  mix(value: number): void {
    this.#hash = Math.imul(this.#hash ^ (value | 0), 0x01000193);
    this.#hash ^= this.#hash >>> 15;
  }

  /** Adds a line, made only if somebody will read it. */
  say(line: () => string): void {
    if (!this.isVerbose) return;
    this.lines.push(`${this.nowMs.toFixed(3).padStart(12)}  ${line()}`);
    if (this.lines.length > LINES_MAX) this.lines.splice(0, LINES_MAX / 10);
  }
}

/** A membership in a few words. */
export function membersInWords({ voters, outgoing, learners }: Membership): string {
  const before = outgoing.length === 0 ? '' : `, and of ${outgoing.join(' ')}`;
  const others = learners.map(({ id, promote, replaces }) => {
    return `${id}${promote ? ' (to vote' : ' (to learn'}${replaces === null ? ')' : ` for ${replaces})`}`;
  });
  return `a majority of ${voters.join(' ')}${before}${others.length === 0 ? '' : `; learners ${others.join(' ')}`}`;
}

/** A message in a few words. */
export function wordsOf(message: RaftMessage): string {
  const { from, to, term } = message;
  const head = `${from} > ${to} t${term}`;
  switch (message.type) {
    case 'append':
      return `${head} append ${message.prevIndex}@${message.prevTerm}..${message.lastIndex} commit ${message.commit}`;
    case 'append-response':
      if (message.reject !== null) return `${head} rejects ${JSON.stringify(message.reject)}`;
      return `${head} has ${message.match} round ${message.round}`;
    case 'vote-request':
      return `${head} ${message.preVote ? 'pre-vote?' : 'vote?'} ${message.lastIndex}@${message.lastTerm}`;
    case 'vote-response':
      return `${head} ${message.preVote ? 'pre-vote' : 'vote'}: ${message.granted ? 'yes' : 'no'}`;
    case 'snapshot':
      return `${head} snapshot ${message.index}@${message.indexTerm} from byte ${message.offset} on`;
    case 'snapshot-response':
      return `${head} has ${message.offset} bytes of snapshot ${message.index}`;
    case 'timeout-now':
      return `${head} campaign!`;
  }
}
