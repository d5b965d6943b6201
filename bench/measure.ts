import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { ConsumerReport, consumerVariables } from './consumer/report.ts';
import { type BenchEngine, succeed } from './engine.ts';
import { endedChildrenMs } from './processes.ts';

/** One run of one way. Times in ms, CPU as user and system time together. */
export interface Figures {
  readonly wallMs: number;
  /** Everything that the run started: clients, our own process, the consumer. */
  readonly clientCpuMs: number;
  /** The engine's processes, and the registry's where that is a container. */
  readonly engineCpuMs?: number;
  /** Of our own process, the one that serves the image. */
  readonly peakBytes?: number;
  /** Of `wallMs`, what the consumer took, from its start to the tree. */
  readonly consumer?: ConsumerReport;
  /** The steps that our own program tells of. */
  readonly steps?: readonly { readonly phase: string; readonly ms: number }[];
}

/** What a way knows of itself; the rest is measured around it. */
export type Told = Partial<Figures> & { readonly registryCpuMs?: number };

/** Measures what `work` does. What it leaves to `after` is undone when the clock has stopped. */
export async function measure(
  engine: BenchEngine,
  work: (after: AsyncDisposableStack) => Promise<Told>,
): Promise<Figures> {
  await using after = new AsyncDisposableStack();
  // What an earlier run has left to be written must not be this one's burden.
  await succeed('sync', [], { signal: engine.signal });
  const engineBefore = engine.cpuMs();
  const clientsBefore = endedChildrenMs();
  const startedAt = performance.now();
  const { registryCpuMs = 0, ...told } = await work(after);
  const wallMs = performance.now() - startedAt;
  const engineAfter = engine.cpuMs();
  return {
    wallMs,
    clientCpuMs: endedChildrenMs() - clientsBefore,
    ...(engineBefore === undefined || engineAfter === undefined
      ? {}
      : { engineCpuMs: engineAfter - engineBefore + registryCpuMs }),
    ...told,
  };
}

export const consumerProgram = fileURLToPath(new URL('consumer/smolvm', import.meta.url));

/** A consumer's directory for one run: what it is told by its environment, and what it leaves. */
export class ConsumerRoot implements AsyncDisposable {
  readonly env: Readonly<Record<string, string>>;
  readonly path: string;

  private constructor(path: string, crane: string) {
    this.path = path;
    this.env = {
      [consumerVariables.root]: path,
      [consumerVariables.crane]: crane,
      [consumerVariables.node]: process.execPath,
    };
  }

  static async create(directory: string, crane: string): Promise<ConsumerRoot> {
    const path = join(directory, 'consumer');
    await mkdir(path);
    return new ConsumerRoot(path, crane);
  }

  async report(): Promise<ConsumerReport> {
    return v.parse(ConsumerReport, JSON.parse(await readFile(join(this.path, 'report.json'), 'utf8')));
  }

  /** One digest over path, mode and size of all files that the bench put into the image. */
  async fingerprint(): Promise<string> {
    const { tree } = await this.report();
    const script = 'cd "$1" && find opt srv -type f -printf "%P %m %s\\n" | LC_ALL=C sort | sha256sum';
    return (await succeed('bash', ['-o', 'pipefail', '-c', script, 'bash', tree])).stdout.slice(0, 16);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}
