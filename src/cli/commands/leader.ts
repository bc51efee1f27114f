// tledger leader transfer
import type { Command } from 'commander';
import { type CliContext, withSession } from '../context.ts';

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  const leader = program.command('leader').description('say who shall lead');
  leader
    .command('transfer')
    .description('hand leadership over without a gap; answers when the new leader leads')
    .option('--to <node>', 'the new leader (default: the most caught-up follower)')
    .addHelpText('after', '\nExamples:\n  tledger leader transfer\n  tledger leader transfer --to n1')
    .action((options: { readonly to?: string }, command: Command) =>
      withSession(command, context, async ({ client, output, timeoutMs }) => {
        const { leader: now } = await client.admin.transferLeadership(options.to ?? '', { timeoutMs });
        const document = now === null ? { leader: null } : { leader: { ...now, term: Number(now.term) } };
        const text = now === null ? 'handed over' : `${now.nodeId} leads in term ${now.term} at ${now.clientAddress}`;
        await output.result(document, () => text);
      }),
    );
}
