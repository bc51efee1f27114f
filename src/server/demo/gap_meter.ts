// How long nobody was served: the longest silence between two acknowledgements around a fault.

/** Fed with the time of every acknowledgement; measures while a window is open. */
export class GapMeter {
  #lastMs: number | undefined;
  #longestMs: number | undefined;
  #acknowledgedInWindow = 0;

  /** The window opens: the silence that is under way counts from the last acknowledgement before. */
  open(): void {
    this.#longestMs = 0;
    this.#acknowledgedInWindow = 0;
  }

  /** An acknowledgement at `nowMs` of any monotonic clock. */
  acknowledged(nowMs: number): void {
    if (this.#longestMs !== undefined) {
      this.#acknowledgedInWindow++;
      if (this.#lastMs !== undefined) this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs);
    }
    this.#lastMs = nowMs;
  }

  /** Acknowledgements since the window opened. */
  get acknowledgedInWindow(): number {
    return this.#acknowledgedInWindow;
  }

  /** The window closes. @returns the longest silence in it, in milliseconds; 0 when nothing was acknowledged. */
  close(): number {
    const longestMs = this.#longestMs ?? 0;
    this.#longestMs = undefined;
    return longestMs;
  }
}

/** The middle of some figures; null when there are none. */
export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
