// How long to wait for a node that says nothing. A slow node is given time; but a node that was cut off from everybody is
// left as soon as another one is known to lead, and the others are asked.
import type { Cluster } from './cluster.ts';
import type { Endpoint } from './endpoint.ts';

/** Silence after which the others are asked who leads: the shortest election timeout of a group with default settings. */
const SUSPECT_AFTER_MS = 500;
const ASK_INTERVAL_MS = 200;

/** Watches one stream at a time for answers that are due. */
export class SilenceWatch {
  readonly #cluster: Cluster;
  readonly #timeoutMs: number;
  #sinceMs = 0;
  #askedAtMs = 0;

  /** @param timeoutMs after which a silent node is left in any case. */
  constructor(cluster: Cluster, timeoutMs: number) {
    this.#cluster = cluster;
    this.#timeoutMs = timeoutMs;
  }

  /** The node has answered, or has just been asked the first thing. */
  broken(): void {
    this.#sinceMs = Date.now();
  }

  /**
   * Whether the silence of `endpoint`, from which an answer is due, has lasted long enough: until `timeoutMs`, or until
   * the leader is another node and can be reached.
   * @param topic one that is in use here: what the others are asked about, beside who leads.
   */
  isOver(endpoint: Endpoint, topic: string): boolean {
    const nowMs = Date.now();
    const silentMs = nowMs - this.#sinceMs;
    if (silentMs > this.#timeoutMs) return true;
    if (silentMs < SUSPECT_AFTER_MS) return false;
    const leading = this.#cluster.leaderEndpoint();
    if (leading !== undefined && leading !== endpoint) return true;
    if (nowMs - this.#askedAtMs >= ASK_INTERVAL_MS) {
      this.#askedAtMs = nowMs;
      void this.#cluster.askOthers(endpoint, topic);
    }
    return false;
  }
}
