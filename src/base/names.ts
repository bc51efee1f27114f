// Names of clusters, groups and nodes: they stand in paths, on command lines and in the log.
import { TLedgerError } from './errors.ts';

/** Most characters of a name. */
export const NAME_LENGTH_MAX = 63;
/** What a name looks like; its length is a matter of its own. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]*$/;

/** @throws TLedgerError INVALID_CONFIG when `text` cannot name a node. */
export function checkNodeName(text: string): void {
  if (!NAME.test(text) || text.length > NAME_LENGTH_MAX) {
    throw new TLedgerError('INVALID_CONFIG', `${JSON.stringify(text)} is not a legal node name`);
  }
}
