// How far the heap of a process of ours, a node or a command, may grow before V8 goes through all of it.
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
