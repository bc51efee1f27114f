// Disks whose power can be cut: one file system on a loop image for each node. What was not flushed is gone for good when
// it is mounted again, and whoever writes meanwhile is told EIO, as with a device that vanished. Needs root.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** File systems that can be told to stop at once. XFS is the harsher one: it keeps a rename and loses the bytes. */
export const fileSystems = ['ext4', 'xfs'] as const;
export type FileSystem = (typeof fileSystems)[number];

const PREFIX = 'tledger-power-';
const IMAGE_BYTES = '1G';
/** EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number; 2: without writing the journal out first. */
const SHUT_DOWN = `use Fcntl; use Time::HiRes "time"; my @f; for (@ARGV) { sysopen(my $f, $_, O_RDONLY) or die "$_: $!"; push @f, $f }
my $how = pack("L", 2); my $begun = time;
for (@f) { ioctl($_, 0x8004587d, $how) or die "shutdown: $!" }
printf "%.3f", (time - $begun) * 1000`;

/** Why such disks can't be made here, as a sentence; null when they can. */
export function whyNoLoopDisks(fileSystem: FileSystem = 'ext4'): string | null {
  if (process.getuid?.() !== 0) return 'loop devices need root';
  if (!existsSync('/dev/loop-control')) return 'this machine has no loop devices';
  for (const tool of [`mkfs.${fileSystem}`, 'mount', 'losetup', 'perl']) {
    if (!isCommand(tool)) return `${tool} is missing`;
  }
  return null;
}

/** Whether a command is there. */
export function isCommand(name: string): boolean {
  return ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/bin'].some((at) => existsSync(join(at, name)));
}

/** A directory with a file system of its own in `n0`, `n1` …; `close` leaves nothing behind. */
export class LoopDisks {
  readonly directory: string;
  readonly #names: readonly string[];
  readonly #fileSystem: FileSystem;

  private constructor(directory: string, names: readonly string[], fileSystem: FileSystem) {
    this.directory = directory;
    this.#names = names;
    this.#fileSystem = fileSystem;
  }

  /** Also removes what earlier runs left that were killed. @throws Error with what a tool said. */
  static make(names: readonly string[], fileSystem: FileSystem = 'ext4'): LoopDisks {
    removeLeftOvers();
    const directory = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
    const disks = new LoopDisks(directory, names, fileSystem);
    try {
      for (const name of names) {
        mkdirSync(disks.pathOf(name));
        run('truncate', ['-s', IMAGE_BYTES, disks.#imageOf(name)]);
        run(`mkfs.${fileSystem}`, ['-q', disks.#imageOf(name)]);
        disks.mount(name);
      }
    } catch (error) {
      disks.close();
      throw error;
    }
    return disks;
  }

  pathOf(name: string): string {
    return join(this.directory, name);
  }

  mount(name: string, options = 'loop'): void {
    run('mount', ['-t', this.#fileSystem, '-o', options, this.#imageOf(name), this.pathOf(name)]);
  }

  /** Nobody may have a file open there any more. */
  unmount(name: string): void {
    for (let attempt = 1; ; attempt++) {
      try {
        run('umount', [this.pathOf(name)]);
        return;
      } catch (error) {
        // The last file of a killed process is closed a moment after its end.
        if (attempt === 50) throw error;
        run('sleep', ['0.02']);
      }
    }
  }

  /** All these disks lose power. @returns milliseconds from the first one to the last one. */
  cutPower(names: readonly string[] = this.#names): number {
    return Number(run('perl', ['-e', SHUT_DOWN, ...names.map((name) => this.pathOf(name))]));
  }

  /** What is left is found again as after a restart of the machine. */
  remount(names: readonly string[] = this.#names): void {
    for (const name of names) {
      this.unmount(name);
      this.mount(name);
    }
  }

  /** Harmless when called again. */
  close(): void {
    removeAt(this.directory);
  }

  #imageOf(name: string): string {
    return join(this.directory, `${name}.img`);
  }
}

/** Ends what an earlier process made that is gone. */
function removeLeftOvers(): void {
  for (const name of readdirSync(tmpdir()).filter((one) => one.startsWith(PREFIX))) {
    const pid = Number(name.slice(PREFIX.length).split('-')[0]);
    if (!existsSync(`/proc/${pid}`)) removeAt(join(tmpdir(), name));
  }
}

function removeAt(directory: string): void {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  for (const line of mounts) {
    const at = line.split(' ')[1];
    if (at?.startsWith(`${directory}/`) === true) run('umount', ['-l', at]);
  }
  // A mount detaches its device by itself, but not one that failed half-way.
  for (const line of run('losetup', ['-a', '-O', 'NAME,BACK-FILE', '-n']).split('\n')) {
    const [device, image] = line.trim().split(/\s+/);
    if (device !== undefined && image?.startsWith(`${directory}/`) === true) detach(device);
  }
  rmSync(directory, { recursive: true, force: true });
}

function detach(device: string): void {
  try {
    run('losetup', ['-d', device]);
  } catch {
    // Its mount did so meanwhile.
  }
}

function run(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
