import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import type { BenchEngine } from './engine.ts';
import { type ConsumerRoot, consumerProgram, type Told } from './measure.ts';
import { PeakMemory } from './processes.ts';

const Document = v.object({
  path: v.string(),
  cached: v.boolean(),
  feeder: v.optional(v.string()),
  timings: v.array(v.object({ phase: v.string(), ms: v.number() })),
});

export interface Pack {
  /** Our program. */
  readonly program: string;
  readonly cache: OurCache;
  /** A directory to build, or an image. */
  readonly source: readonly string[];
  readonly feeder: 'auto' | 'push' | 'save' | 'export';
  readonly consumer: ConsumerRoot;
}

/** A cache directory of ours, so that a run finds in it what it shall find and nothing else. */
export class OurCache implements AsyncDisposable {
  readonly home: string;

  /** It comes into being with the first pack. */
  constructor(directory: string, name: string) {
    this.home = join(directory, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.home, { recursive: true, force: true });
  }
}

/** (c, d) `claude-bottle pack`, which feeds the consumer from its own registry. @throws Error unless it was `cached`. */
export async function packOnce(
  engine: BenchEngine,
  { program, cache, source, feeder, consumer }: Pack,
  expected: { readonly cached: boolean },
): Promise<Told & { readonly feeder: string }> {
  using memory = new PeakMemory();
  const args = ['pack', ...source, '--feeder', feeder, '--json'];
  const { stdout, stderr } = await engine.tool(program, args, {
    env: {
      ...consumer.env,
      // The built program takes the Node on the PATH.
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      XDG_CACHE_HOME: cache.home,
      CLAUDE_BOTTLE_SMOLVM: consumerProgram,
      CLAUDE_BOTTLE_ENGINE: 'docker',
      CLAUDE_BOTTLE_REGISTRY: 'embedded',
    },
    onStart: (pid) => memory.watch(pid),
  });
  const { cached, timings, ...document } = v.parse(Document, JSON.parse(stdout));
  if (cached !== expected.cached) throw new Error(`expected cached to be ${expected.cached}: ${stderr}`);
  // A fallback would be measured under the wrong name.
  if (feeder !== 'auto' && !cached && document.feeder !== feeder) {
    throw new Error(`${feeder} was asked for, ${document.feeder ?? 'nothing'} was used: ${stderr}`);
  }
  return {
    peakBytes: memory.bytes,
    steps: timings,
    feeder: document.feeder ?? 'known',
    ...(cached ? {} : { consumer: await consumer.report() }),
  };
}
