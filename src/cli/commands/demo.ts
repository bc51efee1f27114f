// tledger demo: kill -9 the leader under load, then prove that nothing is missing.
import type { Command } from 'commander';
import type { DemoEvent, DemoReport } from '../../server/demo/demo.ts';
import { type CliContext, globalOptionsOf } from '../context.ts';
import { exitCodes, QuietExit } from '../failure.ts';
import { grouped, Output } from '../output.ts';
import { integer } from '../parsing.ts';

interface Options {
  readonly messages: number;
  readonly kills: number;
  readonly size: number;
  readonly producers: number;
  readonly queues: number;
}

const style = { plain: '', red: '31', green: '32', yellow: '33', bold: '1' } as const;
type Style = keyof typeof style;

/** Adds the command. */
export function register(program: Command, context: CliContext): void {
  program
    .command('demo')
    .description('start a group, kill -9 its leader again and again under load, and check that nothing was lost')
    .option('--messages <n>', 'how many messages, of all producers together', integer(100, 20_000_000), 200_000)
    .option('--kills <n>', 'how often the leader is killed', integer(0, 1000), 3)
    .option('--size <bytes>', 'size of a message', integer(8, 4_194_304), 1024)
    .option('--producers <n>', 'how many producers send at once', integer(1, 64), 4)
    .option('--queues <n>', 'how many queues the topic has', integer(1, 64), 4)
    .addHelpText(
      'after',
      `
Exit code 1 unless lost = duplicated = outOfOrder = 0 and all replicas are byte-identical; 130 after Ctrl-C.

Examples:
  tledger demo
  tledger demo --messages 1000000 --kills 10
  tledger demo --format json`,
    )
    .action(async (options: Options, command: Command) => {
      const { format } = globalOptionsOf(command);
      const { runDemo } = await import('../../server/demo/demo.ts');
      const story = new Story(context, format === 'json' ? context.stderr : context.stdout, options);
      const { size: sizeBytes, ...rest } = options;
      const signal = context.interrupted();
      const onEvent = (event: DemoEvent) => story.tell(event);
      const report = await runDemo({ ...rest, sizeBytes, signal, onEvent }).catch((error) => {
        throw signal.aborted ? new QuietExit(exitCodes.interrupted) : error;
      });
      await new Output(context.stdout, format).result(report, () => story.verdict(report));
      if (!report.ok) throw new QuietExit(exitCodes.failed);
    });
}

/** The timeline, as it happens. Coloured only for a terminal. */
class Story {
  readonly #out: NodeJS.WritableStream;
  readonly #isColoured: boolean;
  readonly #options: Options;
  readonly #startMs = performance.now();

  constructor(context: CliContext, out: NodeJS.WritableStream, options: Options) {
    this.#out = out;
    this.#isColoured = (out as { isTTY?: boolean }).isTTY === true && context.env.NO_COLOR === undefined;
    this.#options = options;
  }

  tell(event: DemoEvent): void {
    switch (event.kind) {
      case 'ready':
        return this.#line(`3 nodes run: ${event.endpoints.join(', ')}`, 'plain', `data in ${event.dataDir}`);
      case 'killing':
        return this.#line(
          `kill -9 ${event.nodeId}`,
          'red',
          `the leader, after ${grouped(event.acknowledged)} acknowledged messages`,
        );
      case 'served-again':
        return this.#line(
          `served again after ${event.gapMs} ms`,
          'green',
          'the longest silence between two acknowledgements',
        );
      case 'caught-up':
        return this.#line(
          `${event.nodeId} is back and has caught up`,
          'plain',
          `${(event.tookMs / 1000).toFixed(1)} s after its restart`,
        );
      case 'sent':
        return this.#line(
          `${grouped(event.acknowledged)} messages acknowledged`,
          'bold',
          `in ${event.seconds.toFixed(1)} s, by ${this.#options.producers} producers`,
        );
      case 'reading':
        return this.#line('reading everything back');
      case 'verified':
        return this.#line(
          event.identical ? 'the logs of all nodes are byte-identical' : 'the logs of the nodes DIFFER',
          event.identical ? 'green' : 'red',
          `at index ${grouped(event.index)}`,
        );
      case 'cluster':
        if (event.event.kind === 'leader')
          this.#line(`${event.event.nodeId} leads`, 'yellow', `term ${event.event.term}`);
        return;
    }
  }

  verdict(report: DemoReport): string {
    const { lost, duplicated, outOfOrder, foreign, contradicted } = report;
    const gaps =
      report.failoverGapMs.length === 0
        ? ''
        : `; without service ${report.failoverGapMs.join(', ')} ms, median ${report.medianGapMs}`;
    const counts = {
      lost,
      duplicated,
      'out of order': outOfOrder,
      ...(foreign > 0 ? { foreign } : {}),
      ...(contradicted > 0 ? { contradicted } : {}),
    };
    const said = Object.entries(counts).map(([name, count]) =>
      this.#paint(`${name} ${grouped(count)}`, count === 0 ? 'green' : 'red'),
    );
    const others = report.failed + report.unknown;
    return [
      '',
      `acknowledged ${grouped(report.acknowledged)}, read ${grouped(report.read)}: ${said.join(', ')}`,
      `${grouped(report.messagesPerSecond)} messages/s over all${gaps}`,
      ...(others > 0 ? [`${grouped(others)} could not be sent in time: ${report.firstFailure}`] : []),
      report.ok ? this.#paint('Nothing was lost.', 'green') : this.#paint('A promise was broken.', 'red'),
    ].join('\n');
  }

  #line(text: string, colour: Style = 'plain', more = ''): void {
    const atSeconds = ((performance.now() - this.#startMs) / 1000).toFixed(2).padStart(7);
    this.#out.write(`${atSeconds} s  ${this.#paint(text, colour)}${more === '' ? '' : `  (${more})`}\n`);
  }

  #paint(text: string, colour: Style): string {
    return this.#isColoured && colour !== 'plain' ? `\u001b[${style[colour]}m${text}\u001b[0m` : text;
  }
}
