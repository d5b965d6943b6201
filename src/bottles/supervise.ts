import { backendOf } from './backend-of.ts';
import { superviseBottle } from './launch.ts';
import { MessageLine, toMessage } from './line.ts';
import type { LaunchOrder } from './messages.ts';
import { OwnerLine } from './owner-line.ts';
import { bottlePlaces } from './places.ts';

/**
 * The process of one supervisor: it gets its order through standard input, tells what happens on standard output, and
 * lives as long as its bottle. Nothing else of ours runs while nobody types a command.
 */
async function main(): Promise<void> {
  const line = new MessageLine(process.stdin, process.stdout);
  const order = await new Promise<LaunchOrder | undefined>((resolve) => {
    // Written by the command that started this process, in the version that this is.
    line.listen((message) => resolve(message as LaunchOrder));
    void line.closed.then(() => resolve(undefined));
  });
  if (order === undefined) return;
  const owner = new OwnerLine(line, order.detach);
  // It ends when its owner does or when it is told to at its desk. A terminal that closes tells its owner.
  process.on('SIGHUP', () => undefined);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => owner.leave());
  try {
    const backend = await backendOf(order, {
      places: (slug) => bottlePlaces(order.places, slug),
      facts: order.engineFacts,
    });
    const ending = await superviseBottle(order, backend, owner);
    owner.send({ event: 'ended', ending });
  } catch (error) {
    process.stderr.write(
      `${new Date().toISOString()} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    owner.send({ event: 'failed', failure: toMessage(error) });
  }
  await owner.flush();
  // Pipes to an owner that reads no more would hold this process.
  process.exit(0);
}

await main();
