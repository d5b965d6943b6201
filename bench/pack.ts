import { randomBytes } from 'node:crypto';
import { accessSync, existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPackage, sourceProgram } from './built-package.ts';
import { BenchEngine, succeed } from './engine.ts';
import { BenchImage } from './image.ts';
import { ConsumerRoot, type Figures, measure, type Told } from './measure.ts';
import type { Options } from './options.ts';
import { OurCache, packOnce } from './ours.ts';
import { type PackReport, printPackReport, reachedGoals } from './pack-report.ts';
import { RegistryImage, rawExport, rawSave, throughRegistryContainer, throughSkopeo } from './rivals.ts';

/** The ways, in the order in which each round takes them. `consumes` tells whether a tree comes out. */
interface Way {
  readonly name: string;
  readonly label: string;
  /** What has to be there before the clock starts. */
  readonly prepare?: () => Promise<void>;
  readonly run: (consumer: ConsumerRoot, after: AsyncDisposableStack) => Promise<Told>;
  readonly consumes: boolean;
}

/** All ways from "image in the engine" to "a consumer has the tree", in turns, so that drift hits all alike. */
export async function benchPack(options: Options, signal: AbortSignal): Promise<boolean> {
  await using stack = new AsyncDisposableStack();
  const say = (text: string) => process.stderr.write(`${text}\n`);
  const engine = await BenchEngine.connect(options['engine-host'], signal);
  const crane = await findCrane();
  const name = `claude-bottle-bench-${randomBytes(4).toString('hex')}`;
  const directory = await ownDirectory(stack, options.directory);
  const memory = await ownDirectory(stack, existsSync('/dev/shm') ? '/dev/shm' : options.directory);

  const program = options.source ? sourceProgram : await buildPackage(directory, signal);
  say('making the image');
  const image = stack.use(await BenchImage.create(engine, name, directory, options.quick ? 0.14 : 1));
  const registries = stack.use(await RegistryImage.create(engine, name, directory));
  const warm = stack.use(new OurCache(directory, 'warm'));
  const layers = await image.layers();
  const runs = options.runs ?? (options.quick ? 1 : 3);

  const results = new Map<string, { label: string; figures: Figures[]; failure?: string }>();
  const fingerprints = new Map<string, string>();
  const take = async (way: Way): Promise<void> => {
    const result = results.get(way.name) ?? { label: way.label, figures: [] };
    results.set(way.name, result);
    if (result.failure !== undefined) return;
    await way.prepare?.();
    await using consumer = await ConsumerRoot.create(memory, crane);
    try {
      const figures = await measure(engine, (after) => way.run(consumer, after));
      result.figures.push(figures);
      if (way.consumes) fingerprints.set(way.name, await consumer.fingerprint());
      say(`${way.label}: ${(figures.wallMs / 1000).toFixed(2)} s`);
    } catch (error) {
      signal.throwIfAborted();
      result.failure = error instanceof Error ? error.message : String(error);
      say(`${way.label}: FAILED: ${result.failure.slice(0, 300)}`);
    }
  };

  const cold = (feeder: 'push' | 'save' | 'export'): Way => ({
    name: `cold-${feeder}`,
    label: `c  ours, nothing known, ${feeder}`,
    consumes: true,
    run: async (consumer, after) => {
      const cache = after.use(new OurCache(directory, 'cold'));
      return packOnce(
        engine,
        { program, cache, source: ['--image', image.reference], feeder, consumer },
        { cached: false },
      );
    },
  });
  const project = (consumer: ConsumerRoot, cached: boolean) =>
    packOnce(engine, { program, cache: warm, source: [image.context], feeder: 'auto', consumer }, { cached });

  // The life of one project under `auto`, of which the third build and those after it are (d).
  for (const [at, build] of ['first', 'second'].entries()) {
    await take({
      name: `${build}-build`,
      label: `   ours, auto, ${build} build of a project`,
      consumes: true,
      ...(at === 0 ? {} : { prepare: () => image.change() }),
      run: (consumer) => project(consumer, false),
    });
  }

  const ways: readonly Way[] = [
    {
      name: 'registry',
      label: 'a  registry container, push',
      consumes: true,
      run: (consumer, after) =>
        throughRegistryContainer(engine, registries, image.reference, consumer, after),
    },
    {
      name: 'skopeo',
      label: 'b  skopeo docker-daemon',
      consumes: true,
      run: (consumer, after) => throughSkopeo(engine, registries, image.reference, consumer, after),
    },
    cold('push'),
    cold('save'),
    cold('export'),
    {
      name: 'changed-line',
      label: 'd  ours, auto, last line changed',
      consumes: true,
      prepare: () => image.change(),
      run: (consumer) => project(consumer, false),
    },
    {
      name: 'save',
      label: 'e  docker save > /dev/null',
      consumes: false,
      run: () => rawSave(engine, image.reference),
    },
    {
      name: 'export',
      label: 'e  docker export > /dev/null',
      consumes: false,
      run: (_, after) => rawExport(engine, image.reference, after),
    },
  ];
  const again: readonly Way[] = [
    {
      name: 'build',
      label: '   docker build, nothing changed',
      consumes: false,
      run: async () => {
        await image.build();
        return {};
      },
    },
    {
      name: 'hit',
      label: '   claude-bottle pack, nothing changed',
      consumes: false,
      run: (consumer) => project(consumer, true),
    },
  ];
  for (let round = 0; round < runs; round++) {
    for (const way of ways) await take(way);
    for (let twice = 0; twice < 2; twice++) for (const way of again) await take(way);
  }

  const report: PackReport = {
    machine: `${availableParallelism()} CPUs, ${Math.round(totalmem() / 2 ** 30)} GiB of memory`,
    engine: engine.description,
    node: process.version,
    program: options.source ? 'sources' : 'built package',
    image: { bytes: image.bytes, layers },
    runs,
    quick: options.quick,
    sameTree: new Set(fingerprints.values()).size === 1,
    ways: Object.fromEntries(results),
  };
  printPackReport(report, options.json);
  return reachedGoals(report);
}

async function ownDirectory(stack: AsyncDisposableStack, root: string): Promise<string> {
  const directory = await mkdtemp(join(root, 'claude-bottle-bench-'));
  stack.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 3 }));
  return directory;
}

/** The client that smolvm's guest has: as script/clients put it here, else the one on the PATH. */
async function findCrane(): Promise<string> {
  const fetched = fileURLToPath(new URL('../.tools/clients/crane/usr/bin/crane', import.meta.url));
  try {
    accessSync(fetched);
    return fetched;
  } catch {
    await succeed('crane', ['version']);
    return 'crane';
  }
}
