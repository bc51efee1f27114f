// One way to own things that must be closed: they attach as they open and close in reverse.

/** Something that holds a resource. `close` is called once and awaited. */
export type Closer = () => void | Promise<void>;

/** A stack of open resources. Closing twice is harmless; a resource attached after closing began is closed at once. */
export class Lifecycle {
  #state: 'open' | 'closing' | 'closed' = 'open';
  readonly #closers: Closer[] = [];
  #closing: Promise<void> | undefined;

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** Registers what must be closed, most recent first. */
  attach(closer: Closer): void {
    if (this.#state === 'open') this.#closers.push(closer);
    else void Promise.resolve(closer()).catch(() => {});
  }

  /** Closes everything in reverse order; the first failure is thrown after all had their turn. */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #closeAll(): Promise<void> {
    this.#state = 'closing';
    let failure: unknown;
    for (const closer of this.#closers.reverse()) {
      try {
        await closer();
      } catch (error) {
        failure ??= error;
      }
    }
    this.#state = 'closed';
    if (failure !== undefined) throw failure;
  }
}
