// A message as commands print it.
import type { StoredMessage } from '../format/message.ts';

/** For programs: the body as base64, so that any bytes survive. */
export function messageDocument(message: StoredMessage) {
  return {
    topic: message.topic,
    queue: message.queueId,
    offset: message.queueOffset as number,
    body: message.body.toString('base64'),
    tag: message.tag ?? null,
    keys: message.keys,
    properties: Object.fromEntries(message.properties),
    bornTimestamp: message.bornAtMs,
    storeTimestamp: message.storedAtMs,
  };
}

/** For people: where it is, its tag and keys, and the body, with control characters made harmless. */
export function messageLine(message: StoredMessage): string {
  const extras = [
    ...(message.tag === undefined ? [] : [`tag=${message.tag}`]),
    ...message.keys.map((key) => `key=${key}`),
  ];
  const place = `${message.queueId}:${message.queueOffset}`;
  return [place, ...extras, message.body.toString('utf8')].map(printable).join('  ');
}

/** Text in which nothing can move a terminal's cursor. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced.
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}
