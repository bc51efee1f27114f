// Memory of a process of ours, a node or a command: how far the heap may grow before V8 goes through all of it, and what
// becomes of the memory of buffers that are not used any more.
//
// V8 counts the bytes of buffers like those of objects, and by default marks everything after a small share of what was
// there is new. Batches live outside of the heap and come by the hundred megabytes a second, so a busy leader marked its
// 25 MB of objects, which hardly ever change, five times a second: 40 % of its CPU. What is kept stays bounded all the
// same: V8 begins to mark after 64 MiB of new buffers at the latest.
import { setFlagsFromString } from 'node:v8';

/** Percent by which what survived may grow. Measured under full load: 100 is not enough, 400 gains nothing over it. */
export const HEAP_GROWING_PERCENT = 200;

/** For the process as a whole: called once where it begins, by nobody who shares a process with others. */
export function letHeapGrow(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
}

/**
 * Bytes that are taken and given back at the start, so that the C library (glibc) keeps freed memory for the next buffers. It
 * hands blocks as large as a batch back to the system at once, and each page of the next block is faulted in and zeroed again:
 * 80 to 150 us for 256 KiB that take 6 us to fill. Once a block of its own was freed, though, glibc takes blocks up to that
 * size from what it has, and keeps up to twice as much of what is free at its end (mallopt(3): M_MMAP_THRESHOLD, dynamic).
 * 32 MiB is the most that it learns from. No page of the block is ever touched; other C libraries do as they always do.
 */
export const LARGEST_FREED_BYTES = 31 * 1024 * 1024;

/** For the process as a whole, as `letHeapGrow`; takes effect when the block is collected, soon after. */
export function keepFreedMemory(): void {
  Buffer.allocUnsafeSlow(LARGEST_FREED_BYTES);
}
