// tledger config explain
import type { Command } from 'commander';
import { explainConfig } from '../../config/explain.ts';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { Output, table } from '../output.ts';
import { addSettingOptions, configOf, type SettingOptions } from '../settings.ts';

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  const config = program.command('config').description("look at a node's settings");
  addSettingOptions(config.command('explain'))
    .description('show every setting: its value, where that came from, its default and what it means')
    .addHelpText(
      'after',
      `
Examples:
  tledger config explain
  tledger config explain --config node.yaml
  TLEDGER_FLUSH=async tledger config explain --format json`,
    )
    .action(async (options: SettingOptions, command: Command) => {
      const rows = explainConfig(configOf(options, context.env));
      const output = new Output(context.stdout, globalOptionsOf(command).format);
      await output.result(rows, () =>
        table(
          ['KEY', 'VALUE', 'SOURCE', 'DEFAULT', 'MEANING'],
          rows.map((row) => [row.key, row.value, row.source, row.default, row.meaning]),
        ),
      );
    });
}
