// Those who want to be called when something has changed.

/** Has `listener` called, until the returned function is. The same function may be added twice. */
export function subscribe(listeners: Set<() => void>, listener: () => void): () => void {
  const entry = () => listener();
  listeners.add(entry);
  return () => {
    listeners.delete(entry);
  };
}

/** Calls those that are there now; what they throw is gathered. */
export function callAll(listeners: ReadonlySet<() => void>, failures: unknown[]): void {
  if (listeners.size === 0) return;
  for (const listener of [...listeners]) {
    try {
      listener();
    } catch (error) {
      failures.push(error);
    }
  }
}
