import { Gate } from '../../src/gate/gate.ts';
import { allow, loopbackNetwork } from './world.ts';

// A gate in a process of its own: SOCKET LOG RULE. Says what it holds, in JSON, for each line that it is sent.
const [socketPath = '', path = '', rule = ''] = process.argv.slice(2);
await using gate = await Gate.start({
  socketPath,
  slug: 'demo-x1y2z',
  rules: [allow(rule)],
  audit: { path, maxBytes: 1 << 20 },
  network: loopbackNetwork,
  limits: { lingerMs: 20 },
});
process.stdout.write('ready\n');
for await (const _ of process.stdin) {
  process.stdout.write(`${JSON.stringify({ ...gate.counts, rss: process.memoryUsage().rss })}\n`);
}
