// Bytes of a simulated file: only pages that were written take memory, so a preallocated segment costs nothing.

const PAGE_BYTES = 4096;

/** A growable byte array whose holes read as zeros. */
export class SparseBytes {
  readonly #pages = new Map<number, Buffer>();
  /** Pages that a copy has, too: whoever writes one makes its own first. */
  readonly #shared = new Set<number>();
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Fills `target` from `position`; returns the bytes read, fewer only at the end. */
  read(target: Buffer, position: number): number {
    const count = Math.max(0, Math.min(target.length, this.#sizeBytes - position));
    for (let done = 0; done < count; ) {
      const inPage = (position + done) % PAGE_BYTES;
      const piece = Math.min(PAGE_BYTES - inPage, count - done);
      const page = this.#pages.get(Math.floor((position + done) / PAGE_BYTES));
      if (page) page.copy(target, done, inPage, inPage + piece);
      else target.fill(0, done, done + piece);
      done += piece;
    }
    return count;
  }

  /** Writes `bytes` at `position`, growing if need be. */
  write(bytes: Buffer, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const number = Math.floor((position + done) / PAGE_BYTES);
      done += bytes.copy(this.#own(number), (position + done) % PAGE_BYTES, done);
    }
    this.#sizeBytes = Math.max(this.#sizeBytes, position + bytes.length);
  }

  /** Cuts or extends; what is cut off reads as zeros if the size grows again. */
  truncate(sizeBytes: number): void {
    if (sizeBytes < this.#sizeBytes) {
      const last = Math.floor(sizeBytes / PAGE_BYTES);
      for (const number of this.#pages.keys()) if (number > last) this.#pages.delete(number);
      if (this.#pages.has(last)) this.#own(last).fill(0, sizeBytes % PAGE_BYTES);
    }
    this.#sizeBytes = sizeBytes;
  }

  /** For each page that holds anything but zeros: from the first such byte to behind the last. Ascending. */
  usedRanges(): { readonly start: number; readonly end: number }[] {
    const ranges: { start: number; end: number }[] = [];
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const page = this.#pages.get(number)!;
      const first = page.findIndex((byte) => byte !== 0);
      if (first < 0) continue;
      const last = page.findLastIndex((byte) => byte !== 0);
      ranges.push({ start: number * PAGE_BYTES + first, end: number * PAGE_BYTES + last + 1 });
    }
    return ranges;
  }

  /** An independent copy; it costs no more than the list of pages. */
  clone(): SparseBytes {
    const copy = new SparseBytes();
    for (const [number, page] of this.#pages) {
      copy.#pages.set(number, page);
      for (const shared of [this.#shared, copy.#shared]) shared.add(number);
    }
    copy.#sizeBytes = this.#sizeBytes;
    return copy;
  }

  /** A page that may be written. */
  #own(number: number): Buffer {
    const page = this.#pages.get(number);
    if (page !== undefined && !this.#shared.has(number)) return page;
    const owned = page === undefined ? Buffer.alloc(PAGE_BYTES) : Buffer.from(page);
    this.#pages.set(number, owned);
    this.#shared.delete(number);
    return owned;
  }
}
