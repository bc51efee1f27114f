// The command line as a whole: all commands, the options they share, and what becomes of a failure.
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import * as backup from './commands/backup.ts';
import * as bench from './commands/bench.ts';
import * as client from './commands/client.ts';
import * as cluster from './commands/cluster.ts';
import * as config from './commands/config.ts';
import * as consume from './commands/consume.ts';
import * as demo from './commands/demo.ts';
import * as group from './commands/group.ts';
import * as importing from './commands/import.ts';
import * as index from './commands/index.ts';
import * as leader from './commands/leader.ts';
import * as log from './commands/log.ts';
import * as member from './commands/member.ts';
import * as message from './commands/message.ts';
import * as node from './commands/node.ts';
import * as produce from './commands/produce.ts';
import * as topic from './commands/topic.ts';
import * as up from './commands/up.ts';
import type { CliContext } from './context.ts';
import { describeFailure, exitCodeOf, exitCodes } from './failure.ts';
import { endpointList, integer } from './parsing.ts';

/** Client ports of a local cluster (`tledger up`). */
const LOCAL_ENDPOINTS = ['127.0.0.1:8081', '127.0.0.1:8082', '127.0.0.1:8083'];

const commandModules = [
  up,
  topic,
  group,
  client,
  message,
  produce,
  consume,
  cluster,
  member,
  leader,
  log,
  backup,
  index,
  importing,
  node,
  config,
  bench,
  demo,
];

const EXAMPLES = `
Examples:
  tledger up                                       three nodes on this machine
  tledger topic create orders                      a topic with four queues
  tledger message send --topic orders "hello"      one message
  tledger produce --topic orders < lines.txt       each line as a message
  tledger consume --topic orders                   what the topic holds, a line each
  tledger cluster status                           who leads, who lags

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 cluster not reachable or no leader, 130 interrupted before the end.`;

/**
 * Runs one command line.
 * @param argv without the interpreter and the script.
 * @returns the exit code; everything was printed.
 */
export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  const program = buildProgram(context, wantsJson(argv));
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exitCodes.done;
  } catch (error) {
    if (error instanceof CommanderError) return usageFailure(error, argv, context);
    const exitCode = exitCodeOf(error);
    if ((error as Error).name !== 'QuietExit') {
      const format = program.opts<{ format: 'text' | 'json' }>().format;
      context.stderr.write(`${describeFailure(error, format)}\n`);
    }
    return exitCode;
  }
}

/** Help and version end with 0, anything else is wrong usage: said in JSON to those who asked for JSON. */
function usageFailure(error: CommanderError, argv: readonly string[], context: CliContext): number {
  if (error.exitCode === 0) return exitCodes.done;
  if (wantsJson(argv)) {
    const isHelp = error.code === 'commander.help';
    const message = isHelp ? 'a command is missing' : error.message.replace(/^error: /, '');
    context.stderr.write(`${JSON.stringify({ error: { code: 'INVALID_ARGUMENT', message } })}\n`);
  }
  return exitCodes.usage;
}

/** Whether the output is for programs, as far as can be told of a command line that is wrong somewhere. */
function wantsJson(argv: readonly string[]): boolean {
  return argv.some((word, at) => word === '--format=json' || (word === '--format' && argv[at + 1] === 'json'));
}

/**
 * The commands with their help, ready to parse.
 * @param isQuiet whether wrong usage is told by the caller.
 */
export function buildProgram(context: CliContext, isQuiet = false): Command {
  const program = new Command('tledger')
    .description('A Raft-replicated message store: a group of nodes that keeps one log and loses nothing.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => {
        if (!isQuiet) context.stderr.write(text);
      },
    })
    .addOption(
      new Option('--endpoints <list>', 'host:port[,host:port…] of client ports; one that answers is enough')
        .env('TLEDGER_ENDPOINTS')
        .default(LOCAL_ENDPOINTS, LOCAL_ENDPOINTS.join(','))
        .argParser(endpointList),
    )
    .addOption(
      new Option('--format <format>', 'text for people, json for programs').choices(['text', 'json']).default('text'),
    )
    .addOption(
      new Option('--timeout <ms>', 'how long to try, in milliseconds (10000; produce: 30000 a message)').argParser(
        integer(1, 86_400_000),
      ),
    )
    .addHelpText('after', EXAMPLES)
    .showHelpAfterError('(add --help for help)')
    .exitOverride();
  for (const module of commandModules) module.register(program, context);
  return program;
}

function packageVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string;
  };
  return manifest.version;
}
