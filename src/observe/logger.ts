// The log: one line an event on stderr, as text or JSON, through winston. Values come from outside (topics, addresses,
// error texts), so nothing in them can end a line, start a second one or colour a terminal.
import winston from 'winston';
import { TLedgerError } from '../base/errors.ts';

/** From the most to the least important. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug';
/** What stands beside the message; `undefined` values are left out. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where events go. A disabled level costs one comparison; guard it with `isEnabled` where building fields costs more. */
export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  isEnabled(level: LogLevel): boolean;
  /** A logger whose every event carries `fields`, too. */
  child(fields: LogFields): Logger;
}

/** How a logger is made. */
export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: 'text' | 'json';
  /** Where lines are written; stderr when left out. */
  readonly stream?: NodeJS.WritableStream;
  /** Fields of every event. */
  readonly fields?: LogFields;
}

const rank: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3 };
const LEVEL_WIDTH = 5;
/** Longest text of one value; the rest is cut, so that no caller can fill a disk with one line. */
const VALUE_LENGTH_MAX = 4096;

/** Control characters, line separators and direction marks: whatever could change how a line is read. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const PLAIN = /^[\w.:/@%+-]+$/;

/** Makes a logger. */
export function createLogger(options: LoggerOptions): Logger {
  const stream = options.stream ?? process.stderr;
  const output = winston.createLogger({
    level: options.level,
    levels: rank,
    format: winston.format.printf((info) => lineOf(info as unknown as LoggedEvent, options.format)),
    transports: [new winston.transports.Stream({ stream, eol: '\n' })],
  });
  return new WinstonLogger(output, options.level, options.fields ?? {});
}

/** A logger that drops everything, for tests and tools. */
export const silentLogger: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  isEnabled: () => false,
  child: () => silentLogger,
};

/** `text` without any character that could end a line or steer a terminal. */
export function sanitize(text: string): string {
  return text.replace(UNSAFE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

interface LoggedEvent {
  readonly level: string;
  readonly message: string;
  readonly time: string;
  readonly fields: LogFields;
}

class WinstonLogger implements Logger {
  readonly #output: winston.Logger;
  readonly #level: LogLevel;
  readonly #fields: LogFields;

  constructor(output: winston.Logger, level: LogLevel, fields: LogFields) {
    this.#output = output;
    this.#level = level;
    this.#fields = fields;
  }

  error(message: string, fields?: LogFields): void {
    this.#log('error', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#log('warn', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#log('info', message, fields);
  }

  debug(message: string, fields?: LogFields): void {
    this.#log('debug', message, fields);
  }

  isEnabled(level: LogLevel): boolean {
    return rank[level] <= rank[this.#level];
  }

  child(fields: LogFields): Logger {
    return new WinstonLogger(this.#output, this.#level, { ...this.#fields, ...fields });
  }

  #log(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (!this.isEnabled(level)) return;
    const event = { level, message, time: new Date().toISOString(), fields: { ...this.#fields, ...fields } };
    this.#output.log(event as unknown as winston.LogEntry);
  }
}

function lineOf(event: LoggedEvent, format: 'text' | 'json'): string {
  const fields = Object.entries(event.fields).filter(([, value]) => value !== undefined);
  if (format === 'json') {
    const named = fields.map(([name, value]) => [name, plainValue(value)]);
    // sanitize() sees the finished document: inside JSON an escape of the form \uXXXX is what it writes anyway.
    return sanitize(
      JSON.stringify({ time: event.time, level: event.level, message: event.message, ...Object.fromEntries(named) }),
    );
  }
  const head = `${event.time} ${event.level.toUpperCase().padEnd(LEVEL_WIDTH)} ${sanitize(event.message)}`;
  return [head, ...fields.map(([name, value]) => `${sanitize(name)}=${textValue(value)}`)].join(' ');
}

function textValue(value: unknown): string {
  const plain = plainValue(value);
  if (typeof plain === 'string') return PLAIN.test(plain) ? plain : sanitize(JSON.stringify(plain));
  return sanitize(JSON.stringify(plain) ?? String(plain));
}

/** A value as JSON can show it: errors by code and message (with their stack when unexpected), bytes by their count. */
function plainValue(value: unknown): unknown {
  if (typeof value === 'string') return cut(value);
  if (typeof value === 'bigint') return String(value);
  if (value instanceof TLedgerError) return cut(`${value.code}: ${value.message}`);
  if (value instanceof Error) return cut(value.stack ?? value.message);
  if (ArrayBuffer.isView(value)) return `<${value.byteLength} bytes>`;
  if (typeof value === 'object' && value !== null) return cut(stringify(value));
  return value;
}

function stringify(value: object): string {
  try {
    return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? '';
  } catch {
    return Object.prototype.toString.call(value);
  }
}

function cut(text: string): string {
  return text.length > VALUE_LENGTH_MAX ? `${text.slice(0, VALUE_LENGTH_MAX)}…` : text;
}
