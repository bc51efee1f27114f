// Invariants. They are checked in production, too: a broken one means that carrying on could lose or invent data, so
// the owner of the state (src/replica) stops the node. Operating errors are typed values instead (errors.ts).

/** Thrown when an invariant does not hold. Never caught to carry on; only to stop the node with a reason. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/**
 * Checks an invariant.
 * @param message what had to hold, as a sentence or a function making one (so that hot paths build no string).
 * @throws InvariantError when `condition` is false.
 */
export function assert(condition: boolean, message: string | (() => string)): asserts condition {
  if (!condition) throw new InvariantError(typeof message === 'string' ? message : message());
}

/** The exhaustive end of a `switch`: compiles only if every case was handled. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable case: ${JSON.stringify(value)}`);
}
