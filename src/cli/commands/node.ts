// tledger node start | health | force-recover
import { type Command, Option } from 'commander';
import { messageOf, TLedgerError } from '../../base/errors.ts';
import type { NodeConfig } from '../../config/load.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ChildMessage } from '../../server/child_node.ts';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { describeFailure, exitCodes, QuietExit } from '../failure.ts';
import { Output } from '../output.ts';
import { addSettingOptions, configOf, type SettingOptions } from '../settings.ts';
import { registerForceRecover } from './force_recover.ts';

/** A node that has stopped serving but keeps its process alive is ended after this. */
const LINGER_MS = 100;
const HEALTH_TIMEOUT_MS = 3_000;

type Options = SettingOptions & { readonly supervised?: boolean };

/** Adds the commands. */
export function register(program: Command, context: CliContext): void {
  const node = program
    .command('node')
    .description('run a node, ask one whether it serves, recover what is left of a group');
  node
    .command('health')
    .description('ask the node at the first of --endpoints whether it serves; exit code 0 if so, 3 if not')
    .addHelpText('after', '\nExample:\n  tledger node health --endpoints 127.0.0.1:8081')
    .action(async (_options: unknown, command: Command) => {
      const { endpoints, format, timeout } = globalOptionsOf(command);
      const { checkHealth } = await import('../../client/health.ts');
      const status = await checkHealth(endpoints[0]!, timeout ?? HEALTH_TIMEOUT_MS);
      await new Output(context.stdout, format).result({ status }, () => status);
      if (status !== 'SERVING') throw new QuietExit(exitCodes.unavailable);
    });
  registerForceRecover(node, context);
  addSettingOptions(node.command('start'))
    .description('run one node of a group in this process until SIGTERM or SIGINT, which let it finish its work')
    // For `tledger up`: reports to the parent process over its IPC channel, and stops when that closes.
    .addOption(new Option('--supervised').hideHelp())
    .addHelpText(
      'after',
      `
Settings come from defaults < --config file < environment (TLEDGER_…) < flags; see "tledger config explain".

Examples:
  tledger node start                                      a group of one on 127.0.0.1:8081
  tledger node start --node-id n0 \\
    --peers n0=10.0.0.1:40911,n1=10.0.0.2:40911,n2=10.0.0.3:40911 \\
    --client-addresses n0=10.0.0.1:8081,n1=10.0.0.2:8081,n2=10.0.0.3:8081 \\
    --peer-listen 0.0.0.0:40911 --client-listen 0.0.0.0:8081 --data-dir /var/lib/tledger
  tledger node start --join --node-id n3 --data-dir /var/lib/tledger \\
    --peer-listen 10.0.0.4:40911 --client-listen 10.0.0.4:8081     then: tledger member add n3 …`,
    )
    .action(async (options: Options, command: Command) => {
      const parent = options.supervised === true ? process : undefined;
      try {
        await runNode(configFrom(options, command, context), context, parent);
      } catch (error) {
        const code = error instanceof TLedgerError ? error.code : 'INTERNAL';
        await tell(parent, { kind: 'failed', code, message: messageOf(error) });
        throw error;
      } finally {
        setTimeout(() => process.exit(), LINGER_MS).unref();
        if (parent?.connected === true) parent.disconnect?.();
      }
    });
}

function configFrom(options: Options, command: Command, context: CliContext): NodeConfig {
  try {
    return configOf(options, context.env).config;
  } catch (error) {
    if (options.supervised === true) throw error;
    context.stderr.write(`${describeFailure(error, globalOptionsOf(command).format)}\n`);
    throw new QuietExit(exitCodes.usage);
  }
}

async function runNode(config: NodeConfig, context: CliContext, parent: NodeJS.Process | undefined): Promise<void> {
  // gRPC, LevelDB and the log take a while to load; a wrong setting is told without them.
  const [{ createLogger }, { startNode }] = await Promise.all([
    import('../../observe/logger.ts'),
    import('../../server/node.ts'),
  ]);
  const { nodeId, logLevel, logFormat } = config;
  const logger = createLogger({ level: logLevel, format: logFormat, stream: context.stderr, fields: { node: nodeId } });
  endOnSurprise(logger);
  const stop = stopRequest(context, parent);
  logger.info('starting', { group: config.group, data: config.dataDir, pid: process.pid });
  const node = await startNode(config, logger);
  logger.info('serving', { clients: config.clientListen, peers: config.peerListen, flush: config.flush });
  await tell(parent, { kind: 'ready' });
  const outcome = await Promise.race([stop, node.failed]);
  if (outcome instanceof Error) {
    logger.error('stopping after a failure', { reason: outcome });
    process.exit(exitCodes.failed);
  }
  logger.info('stopping', { why: outcome });
  await node.stop();
  logger.info('stopped');
}

/** Resolves with the reason when somebody wants the node to stop. */
function stopRequest(context: CliContext, parent: NodeJS.Process | undefined): Promise<string> {
  const interrupted = context.interrupted();
  return new Promise((resolve) => {
    if (interrupted.aborted) resolve('a signal');
    interrupted.addEventListener('abort', () => resolve('a signal'), { once: true });
    parent?.once('disconnect', () => resolve('the parent process is gone'));
  });
}

/** What nobody caught leaves the process in a state nobody knows: it says so and ends. */
function endOnSurprise(logger: Logger): void {
  const end = (error: unknown): void => {
    logger.error('an exception nobody caught', { error });
    process.exit(exitCodes.failed);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}

function tell(parent: NodeJS.Process | undefined, message: ChildMessage): Promise<void> {
  if (parent?.send === undefined || !parent.connected) return Promise.resolve();
  return new Promise((resolve) => parent.send!(message, undefined, {}, () => resolve()));
}
