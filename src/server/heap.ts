// Memory of a process of ours, a node or a command: how often V8 goes through all of the heap, and what becomes of the
// memory of buffers that are not used any more.
//
// V8 counts the bytes of buffers like those of objects, and by default marks everything after a small share of what was
// there is new. Batches live outside of the heap and come by the hundred megabytes a second, so a busy leader marked its
// 25 MB of objects, which hardly ever change, five times a second: 40 % of its CPU. What is kept stays bounded all the
// same: V8 begins to mark after 64 MiB of new buffers at the latest.
import { setFlagsFromString } from 'node:v8';

/** What V8 is told of the heap of a process of ours. */
export const HEAP_FLAGS = [
  // Percent by which what survived may grow. Measured under full load: 100 is not enough, 400 gains nothing over it.
  '--heap-growing-percent=200',
  // V8 learns which places in the code make objects that live long, makes those among the old ones at once from then on,
  // and never unlearns it. Many single calls, which all wait for a flush, teach it that of what holds batches: a batch is
  // then let go of only when everything is marked, by a leader twice a second instead of once in ten. Measured after
  // such calls: a fifth more messages with this flag, with half of the latency at p99.
  '--no-allocation-site-pretenuring',
] as const;

/** For the process as a whole: called once where it begins, by nobody who shares a process with others. */
export function tuneHeap(): void {
  for (const flag of HEAP_FLAGS) setFlagsFromString(flag);
}

/**
 * Bytes that are taken and given back at the start, so that the C library (glibc) keeps freed memory for the next buffers. It
 * hands blocks as large as a batch back to the system at once, and each page of the next block is faulted in and zeroed again:
 * 80 to 150 us for 256 KiB that take 6 us to fill. Once a block of its own was freed, though, glibc takes blocks up to that
 * size from what it has, and keeps up to twice as much of what is free at its end (mallopt(3): M_MMAP_THRESHOLD, dynamic).
 * 32 MiB is the most that it learns from. No page of the block is ever touched; other C libraries do as they always do.
 */
export const LARGEST_FREED_BYTES = 31 * 1024 * 1024;

/** For the process as a whole, as `tuneHeap`; takes effect when the block is collected, soon after. */
export function keepFreedMemory(): void {
  Buffer.allocUnsafeSlow(LARGEST_FREED_BYTES);
}
