// Filters and whole records.
import { decodeProperties, locateParts, newParts } from '../../format/message.ts';
import { RECORD_HEADER_BYTES } from '../../format/record.ts';
import type { MessageFilter } from './filter.ts';

const parts = newParts();

/** Whether the filter takes the message of a whole record. */
export function isWanted(record: Buffer, filter: MessageFilter): boolean {
  if (filter.takesAll) return true;
  locateParts(record, RECORD_HEADER_BYTES, record.length, parts);
  const properties = decodeProperties(record, parts.propertiesStart, parts.propertiesEnd);
  return filter.matches((name) => properties.get(name));
}
