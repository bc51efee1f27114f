// The leader's door for messages that a node made: what they ask for beside a place in a queue must make sense to every
// replica that will apply it, or all of them would stop.
import { InvariantError } from '../base/assert.ts';
import { TLedgerError } from '../base/errors.ts';
import { decodeProperties, locateParts, newParts, property } from '../format/message.ts';
import { brokerProperty } from '../format/message_properties.ts';
import { isRecordWhole, magicAt, RECORD_HEADER_BYTES, recordMagic, sizeAt } from '../format/record.ts';
import { recordFlag } from '../format/record_flags.ts';
import { readEffect } from './effects.ts';
import type { StoreRequest } from './types.ts';

const FLAGS_KNOWN = recordFlag.parked | recordFlag.effect | recordFlag.remembered;

/**
 * Checks flags and what belongs to them.
 * @returns the message ids of remembered messages, else none.
 * @throws TLedgerError MESSAGE_CORRUPTED, INVALID_ARGUMENT
 */
export function checkStored({ records, flags }: StoreRequest): string[] {
  if ((flags & ~FLAGS_KNOWN) !== 0) throw illegal('has unknown flags');
  if (records.length === 0) throw illegal('holds no message');
  const parts = newParts();
  const ids: string[] = [];
  for (let at = 0; at < records.length; at += sizeAt(records, at)) {
    const isMessage =
      isRecordWhole(records, at, records.length) &&
      magicAt(records, at) === recordMagic.message &&
      locateParts(records, at + RECORD_HEADER_BYTES, at + sizeAt(records, at), parts);
    if (!isMessage) throw new TLedgerError('MESSAGE_CORRUPTED', `the record at byte ${at} is not a message`);
    if (flags === 0) continue;
    const properties = decodeProperties(records, parts.propertiesStart, parts.propertiesEnd);
    if ((flags & recordFlag.remembered) !== 0) {
      const id = properties.get(property.uniqueKey);
      if (id === undefined || id === '') throw illegal('is to be remembered and has no id');
      ids.push(id);
    }
    if ((flags & recordFlag.parked) !== 0) {
      checkCount(properties, brokerProperty.deliverAtMs, 1);
      checkCount(properties, brokerProperty.recoverySeconds, 1_000);
    }
    if ((flags & recordFlag.effect) !== 0) checkEffect(properties.get(brokerProperty.effect) ?? '');
  }
  return ids;
}

/** @param scale what the number is multiplied with later. */
function checkCount(properties: ReadonlyMap<string, string>, name: string, scale: number): void {
  const text = properties.get(name);
  if (text === undefined) return;
  const isCount = /^\d{1,15}$/.test(text) && Number.isSafeInteger(Number(text) * scale);
  if (!isCount) throw illegal(`is held back, and its property ${name} is ${JSON.stringify(text)}`);
}

function checkEffect(text: string): void {
  try {
    readEffect(text);
  } catch (error) {
    if (!(error instanceof InvariantError)) throw error;
    throw illegal(`has the effect ${JSON.stringify(text)}`);
  }
}

function illegal(how: string): TLedgerError {
  return new TLedgerError('INVALID_ARGUMENT', `a message that a node made ${how}`);
}
