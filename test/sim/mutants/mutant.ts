// A deliberate break of one line, to show that the simulator would notice it.

/** One break: `original` stands exactly once in `file`. */
export interface Mutant {
  readonly name: string;
  /** Relative to the repository. */
  readonly file: string;
  readonly original: string;
  readonly replacement: string;
  /** What it breaks, and why that must not be. */
  readonly breaks: string;
  /** Why the simulator cannot be expected to notice it, and the test file that does. */
  readonly directed?: { readonly reason: string; readonly test: string };
}

/** The same file for several. */
export const inFile = (file: string, mutants: readonly Omit<Mutant, 'file'>[]): Mutant[] =>
  mutants.map((mutant) => ({ ...mutant, file }));
