// Values on the command line. A wrong one is wrong usage (exit code 2) and the message names what was expected.
import { InvalidArgumentError, Option } from 'commander';
import { parseDestination } from '../base/address.ts';
import { messageOf } from '../base/errors.ts';
import { isEndpoint, type StartPosition } from '../client/options.ts';
import { parseQuantity } from '../config/quantity.ts';

/** `--flush`, for what sends messages. */
export function flushOption(): Option {
  const meaning = 'sync: acknowledged when a majority has it on disk, whatever the group does by itself';
  return new Option('--flush <policy>', meaning).choices(['sync', 'async']);
}

/** Parses an integer from `min` to `max`. */
export function integer(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^-?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < min || value > max) {
      const range = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `${min} to ${max}`;
      throw new InvalidArgumentError(`An integer of ${range} is expected.`);
    }
    return value;
  };
}

/** Parses a size in bytes, with or without a unit (`64MiB`). */
export function bytes(min: number): (text: string) => number {
  return (text) => {
    const value = parseQuantity(text, 'bytes');
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min) {
      throw new InvalidArgumentError(`A size of ${min} bytes or more is expected, as in 64MiB.`);
    }
    return value;
  };
}

/** Parses `a,b,c` into its parts; each must be host:port. */
export function endpointList(text: string): string[] {
  const endpoints = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  if (endpoints.length === 0) throw new InvalidArgumentError('host:port[,host:port…] is expected.');
  for (const endpoint of endpoints) {
    if (!isEndpoint(endpoint)) throw new InvalidArgumentError(`${endpoint} is not host:port.`);
  }
  return endpoints;
}

/** Checks one host:port that others are told to go to. */
export function endpoint(text: string): string {
  if (!isEndpoint(text)) throw new InvalidArgumentError('host:port is expected.');
  try {
    return parseDestination(text);
  } catch (error) {
    throw new InvalidArgumentError(`${messageOf(error)}.`);
  }
}

/** Parses --from. */
export function startPosition(text: string): StartPosition {
  if (text === 'earliest' || text === 'latest') return text;
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('earliest, latest or an offset is expected.');
  return value;
}

/** Parses a time: milliseconds since the epoch, ISO 8601, or so long ago (`15m`). @returns milliseconds since the epoch. */
export function time(text: string): number {
  const ago = /^[0-9.]+ *[a-z]+$/i.test(text) ? parseQuantity(text, 'ms') : text;
  const atMs = typeof ago === 'number' ? Date.now() - ago : /^[0-9]+$/.test(text) ? Number(text) : Date.parse(text);
  if (!Number.isSafeInteger(atMs) || atMs < 0) {
    throw new InvalidArgumentError(
      'A time is expected: 2026-01-31T12:00:00Z, milliseconds since the epoch, or 15m (ago).',
    );
  }
  return atMs;
}

/** Parses --delimiter: one or more characters; \t and \0 stand for tab and NUL. */
export function delimiter(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll('\\t', '\t').replaceAll('\\0', '\0'));
  if (bytes.length === 0 || bytes.includes(0x0a))
    throw new InvalidArgumentError('Characters without a newline are expected.');
  return bytes;
}

/** Gathers `name=value` options. */
export function propertyOption(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('name=value is expected.');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** Gathers an option that may be given several times. */
export function list<T>(parse: (text: string) => T): (text: string, before?: T[]) => T[] {
  return (text, before = []) => [...before, parse(text)];
}

/** Parses `name=n`, n from 1 on. */
export function countByName(text: string): readonly [string, number] {
  const [, name, digits] = /^(.+)=([1-9][0-9]{0,8})$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('name=number is expected.');
  return [name, Number(digits)];
}
