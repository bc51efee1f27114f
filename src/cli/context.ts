// What commands may touch of the process they run in, so that tests can run them without one.
import type { Readable, Writable } from 'node:stream';
import type { Command } from 'commander';
import type { TLedgerClient } from '../client/client.ts';
import { Output, type OutputFormat } from './output.ts';

/** The process as a command sees it. */
export interface CliContext {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: NodeJS.ProcessEnv;
  /** Whether a person looks at stderr, so that a progress line may be redrawn. */
  readonly isStderrTerminal: boolean;
  /** Aborted by the first SIGINT or SIGTERM from now on; the second one ends the process. */
  interrupted(): AbortSignal;
}

/** Options of every command. */
export interface GlobalOptions {
  readonly endpoints: string[];
  readonly format: OutputFormat;
  /** Milliseconds; undefined: each command's own default. */
  readonly timeout: number | undefined;
}

/** What a command that talks to a group gets. */
export interface Session {
  readonly client: TLedgerClient;
  readonly output: Output;
  /** Milliseconds, from --timeout. */
  readonly timeoutMs: number | undefined;
}

/** The options every command has, wherever on the command line they stand. */
export function globalOptionsOf(command: Command): GlobalOptions {
  return command.optsWithGlobals<GlobalOptions>();
}

/** Connects as the options of `command` say, runs `body`, and closes the connections whatever happens. */
export async function withSession(
  command: Command,
  context: CliContext,
  body: (session: Session) => Promise<void>,
): Promise<void> {
  const { endpoints, format, timeout } = globalOptionsOf(command);
  // gRPC takes a while to load: `tledger --help` does without.
  const { TLedgerClient } = await import('../client/client.ts');
  let said = '';
  const client = new TLedgerClient({
    endpoints,
    ...(timeout === undefined ? {} : { timeoutMs: timeout }),
    onWaiting: (causes) => {
      const text = `waiting: ${causes.join('; ')}\n`;
      if (text !== said) context.stderr.write(text);
      said = text;
    },
  });
  try {
    await body({ client, output: new Output(context.stdout, format), timeoutMs: timeout });
  } finally {
    await client.close();
  }
}

/** The context of this process. */
export function processContext(): CliContext {
  // Whoever reads our output may stop doing so (`| head`): that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  let abort: AbortController | undefined;
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    isStderrTerminal: process.stderr.isTTY === true,
    interrupted: () => {
      if (abort === undefined) {
        const controller = new AbortController();
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort());
        abort = controller;
      }
      return abort.signal;
    },
  };
}
