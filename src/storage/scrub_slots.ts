// The small files of a group: whether each says what it was made to say. They are read as a whole, which takes no time.
import { messageOf, TLedgerError } from '../base/errors.ts';
import type { Disk } from './disk.ts';
import { readIdentity } from './identity.ts';
import type { Finding } from './scrub_types.ts';
import { validSlots } from './slots.ts';

/** Files in two slots: term and vote, how far the log is vouched for, where it begins. */
export const SLOT_FILES = ['hardstate', 'checkpoint', 'base'] as const;

/** Damage in the files of the group in `directory`; those that are not there are nobody's damage. */
export function damagedSlots(disk: Disk, directory: string): Finding[] {
  const found: Finding[] = [];
  for (const name of SLOT_FILES) {
    const file = `${directory}/${name}`;
    if (!disk.exists(file)) continue;
    const reason = reading(() => {
      const valid = validSlots(disk, file);
      if (valid.every((slot) => slot)) return null;
      return valid.some((slot) => slot) ? 'one of its two slots is damaged' : 'both of its slots are damaged';
    });
    if (reason !== null) found.push({ kind: 'file', file, reason });
  }
  const file = `${directory}/identity`;
  if (!disk.exists(file)) return found;
  const reason = reading(() => {
    readIdentity(disk, directory);
    return null;
  });
  if (reason !== null) found.push({ kind: 'file', file, reason });
  return found;
}

function reading(read: () => string | null): string | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof TLedgerError) return messageOf(error);
    throw error;
  }
}
