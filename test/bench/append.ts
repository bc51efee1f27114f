// How fast a local three-node group is: `npm run bench -- [--seconds 5] [--size 1024] [--flush sync] [--format json]`.
// Real processes of the build in dist, client and nodes on this machine, every shape measured by `tledger bench`; figures
// are of one run and one machine.
import { parseArgs } from 'node:util';
import { reportText } from '../../src/bench/report.ts';
import { builtCluster } from './built.ts';
import { tledgerBench } from './tledger_bench.ts';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    size: { type: 'string', default: '1024' },
    flush: { type: 'string', default: 'sync' },
    format: { type: 'string', default: 'text' },
  },
});

const cluster = await (await builtCluster()).start({ settings: { flush: options.flush } });
try {
  const { nodeId } = await cluster.waitForLeader();
  const leader = cluster.members.find((member) => member.nodeId === nodeId)!.clientAddress;
  const measure = async (line: string, endpoints: readonly string[] = cluster.endpoints): Promise<void> => {
    const size = line.startsWith('consume') ? [] : ['--size', options.size];
    const report = await tledgerBench(endpoints, [...line.split(' '), ...size, '--duration', `${options.seconds}s`]);
    console.log(options.format === 'json' ? JSON.stringify(report) : reportText(report));
  };
  for (const batch of [256, 64]) await measure(`append --batch ${batch}`);
  for (const inFlight of [1, 128, 1_024]) await measure(`append --in-flight ${inFlight}`);
  await measure('unary --in-flight 128', [leader]);
  await measure('unary --in-flight 128');
  await measure('consume');
  await measure('end-to-end --rate 1000');
} finally {
  await cluster.stop();
}
