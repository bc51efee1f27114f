// Those who want to be called when something has changed.

type Listeners = Set<() => void>;

/** Has `listener` called, until the returned function is. The same function may be added twice. */
export function subscribe(listeners: Listeners, listener: () => void): () => void {
  const entry = () => listener();
  listeners.add(entry);
  return () => {
    listeners.delete(entry);
  };
}

/** Who listens to a queue, or to all queues of its topic; null: nobody ever did. */
interface Heard {
  readonly listeners: Listeners | null;
  readonly topic: { readonly listeners: Listeners | null };
}

/**
 * Calls those of the queues that got messages, and of their topics, once each. Every listener is called; the first that
 * throws is heard of afterwards.
 * @param ofTopics those who wait for changes of topics, if there were any.
 */
export function wake(touched: readonly Heard[], ofTopics: Listeners | null): void {
  const failures: unknown[] = [];
  if (ofTopics !== null) callAll(ofTopics, failures);
  const woken = new Set<Listeners>();
  for (const { listeners, topic } of touched) {
    if (listeners !== null) callAll(listeners, failures);
    if (topic.listeners !== null) woken.add(topic.listeners);
  }
  for (const listeners of woken) callAll(listeners, failures);
  if (failures.length > 0) throw failures[0];
}

/** Calls those that are there now; what they throw is gathered. */
function callAll(listeners: Listeners, failures: unknown[]): void {
  if (listeners.size === 0) return;
  for (const listener of [...listeners]) {
    try {
      listener();
    } catch (error) {
      failures.push(error);
    }
  }
}
