// What a run ends with when the group breaks a promise.

/** A promise of the group was broken. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** @throws Violation */
export function hold(condition: boolean, what: () => string): asserts condition {
  if (!condition) throw new Violation(what());
}
