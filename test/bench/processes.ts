// What processes take of a machine, as Linux tells it (proc(5)): processor time and memory.
import { readFileSync } from 'node:fs';

/** Counted behind the command's closing bracket. */
const UTIME_AT = 11;
const STIME_AT = 12;
/** Of children that have ended and were waited for. */
const CUTIME_AT = 13;
const CSTIME_AT = 14;
/** USER_HZ is 100. */
const MS_PER_TICK = 10;
/** In /proc/stat's first line, behind its name: what a machine does when it does nothing. */
const IDLE_AT = 3;
const IOWAIT_AT = 4;
/** Time of guests is contained in that of users. */
const GUEST_AT = 8;

/** Processor time that a process has used, in milliseconds. @throws Error when there is none of that number. */
export function cpuMsOf(pid: number): number {
  return cpuMsIn(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

/** The same of this process and of all that it started and that have ended. */
export function ownCpuMs(): number {
  return cpuMsIn(readFileSync('/proc/self/stat', 'utf8'), true);
}

/** Processor time that was used on this machine, in milliseconds of one core. */
export function machineCpuMs(): number {
  return busyMsIn(readFileSync('/proc/stat', 'utf8'));
}

/** Resident memory of a process, now or at most, in 10^6 bytes. @throws Error when there is none of that number. */
export function memoryOf(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  return Math.round(memoryBytesOf(pid, name) / 1e6);
}

/** The same in bytes. */
export function memoryBytesOf(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  return 1_024 * fieldIn(statusOf(pid), name);
}

/** How often a process gave up the processor by itself: about once for each time that something woke it. */
export function wakeUpsOf(pid: number): number {
  return fieldIn(statusOf(pid), 'voluntary_ctxt_switches');
}

const statusOf = (pid: number): string => readFileSync(`/proc/${pid}/status`, 'utf8');

/** Reads /proc/<pid>/stat; a command may contain blanks and brackets. */
export function cpuMsIn(stat: string, withChildren = false): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const wanted = [UTIME_AT, STIME_AT, ...(withChildren ? [CUTIME_AT, CSTIME_AT] : [])];
  return wanted.reduce((sum, at) => sum + Number(fields[at]), 0) * MS_PER_TICK;
}

/** Reads /proc/stat. */
export function busyMsIn(stat: string): number {
  const ticks = stat
    .slice(0, stat.indexOf('\n'))
    .trim()
    .split(/\s+/)
    .slice(1, 1 + GUEST_AT)
    .map(Number);
  return ticks.reduce((sum, one, at) => (at === IDLE_AT || at === IOWAIT_AT ? sum : sum + one), 0) * MS_PER_TICK;
}

/** Reads a number of /proc/<pid>/status, 0 when it is not there; memory is told in KiB. */
export function fieldIn(status: string, name: 'VmRSS' | 'VmHWM' | 'voluntary_ctxt_switches'): number {
  return Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1] ?? 0);
}
