import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo } from 'node:net';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { BottleUser, type Memory } from './bottles.ts';
import { buildPackage, sourceProgram } from './built-package.ts';
import { BenchEngine, succeed } from './engine.ts';
import { type Program, type Run, timeRun } from './first-byte.ts';
import type { Options } from './options.ts';
import { printStartReport, reachedStartGoals, type StartReport } from './start-report.ts';
import { median } from './statistics.ts';

const crowd = 10;
const requests = 1000;
/** After a start, until memory is read. */
const restMs = 3_000;
const { createServer, request } = process.getBuiltinModule('node:http');

/** `docker run` against `claude-bottle start`, in turns; then what a bottle's supervisor weighs. */
export async function benchStart(options: Options, signal: AbortSignal): Promise<boolean> {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(options.directory, 'cb-'));
  stack.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 3 }));
  const engine = await BenchEngine.connect(options['engine-host'], signal);
  const program = options.source ? sourceProgram : await buildPackage(directory, signal);
  const user = stack.use(await BottleUser.create(program, directory, engine.env));
  const repository = join(directory, 'repo');
  await makeRepository(repository, signal);

  const command = ['sh', '-c', 'echo x'];
  const start = ['start', '--yes', '--timings', '--image', options.image];
  const ways: readonly { readonly name: keyof StartReport['ways']; readonly program: Program }[] = [
    {
      name: 'dockerRun',
      program: {
        command: 'docker',
        args: ['run', '--rm', '--network', 'none', '-i', options.image, ...command],
        env: engine.env,
      },
    },
    {
      name: 'start',
      program: { command: program, args: [...start, '--no-workspace', '--', ...command], env: user.env },
    },
    {
      name: 'repository',
      program: { command: program, args: [...start, '--', ...command], env: user.env, cwd: repository },
    },
  ];
  const runs = options.runs ?? (options.quick ? 3 : 11);
  const taken = new Map<string, Run[]>(ways.map(({ name }) => [name, []]));
  // The first turn warms the page cache, and the second what the first has left there.
  for (let turn = -2; turn < runs; turn++) {
    for (const way of ways) {
      const run = await timeRun(way.program, 'x\n', signal);
      if (turn >= 0) taken.get(way.name)?.push(run);
    }
  }
  const figures = (name: string) => {
    const all = taken.get(name) ?? [];
    return {
      firstByteMs: median(all.map((run) => run.firstByteMs)),
      leastFirstByteMs: Math.min(...all.map((run) => run.firstByteMs)),
      exitMs: median(all.map((run) => run.exitMs)),
      leastExitMs: Math.min(...all.map((run) => run.exitMs)),
      phases: phasesOf(all),
    };
  };
  const report: StartReport = {
    machine: `${availableParallelism()} CPUs, ${Math.round(totalmem() / 2 ** 30)} GiB of memory`,
    engine: engine.description,
    node: process.version,
    program: options.source ? 'sources' : 'built package',
    image: options.image,
    runs,
    ways: { dockerRun: figures('dockerRun'), start: figures('start'), repository: figures('repository') },
    memory: await oneBottle(user, options.image, signal),
    crowd: await manyBottles(user, options.image, signal),
  };
  printStartReport(report, options.json);
  return reachedStartGoals(report);
}

async function makeRepository(path: string, signal: AbortSignal): Promise<void> {
  await mkdir(path);
  for (let file = 0; file < 50; file++) {
    const name = join(path, `src/part-${file % 5}/file-${file}.txt`);
    await mkdir(dirname(name), { recursive: true });
    await writeFile(name, `line ${file}\n`.repeat(100));
  }
  const git = (...args: string[]) =>
    succeed('git', ['-c', 'user.name=Bench', '-c', 'user.email=bench@localhost', ...args], {
      cwd: path,
      signal,
    });
  await git('init', '--quiet', '--initial-branch=main');
  await git('add', '.');
  await git('commit', '--quiet', '--message=First');
}

/** The table that `--timings` prints, over all runs. */
function phasesOf(runs: readonly Run[]): { readonly phase: string; readonly ms: number }[] {
  const times = new Map<string, number[]>();
  for (const { stderr } of runs) {
    const table = stderr
      .slice(stderr.lastIndexOf('\nphase ') + 1)
      .split('\n')
      .slice(1);
    for (const line of table) {
      const [, phase, figure, unit] = /^(.+?) {2,}([0-9.]+) (ms|s)$/.exec(line) ?? [];
      if (phase === undefined) continue;
      const all = times.get(phase) ?? [];
      times.set(phase, [...all, Number(figure) * (unit === 's' ? 1000 : 1)]);
    }
  }
  return [...times].map(([phase, all]) => ({ phase, ms: median(all) }));
}

/** The supervisor of one bottle: after a rest, and after requests to a server of this host, ten at a time. */
async function oneBottle(
  user: BottleUser,
  image: string,
  signal: AbortSignal,
): Promise<StartReport['memory']> {
  await using upstream = await listen();
  await user.define(
    'bench',
    `---\negress:\n  allow:\n    - host: localhost\n      ports: [${upstream.port}]\n      reach: [loopback]\n---\n`,
  );
  const slug = await user.detached(image, ['--bottle', 'bench'], signal);
  await sleep(restMs, undefined, { signal });
  const idle = await user.memory(slug);
  const socketPath = user.gateSocket(slug);
  const url = `http://localhost:${upstream.port}/`;
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      for (let each = 0; each < requests / 10; each++) await get(socketPath, url);
    }),
  );
  await sleep(restMs, undefined, { signal });
  const used = await user.memory(slug);
  await user.stopAll();
  return { idle, used, requests };
}

async function manyBottles(
  user: BottleUser,
  image: string,
  signal: AbortSignal,
): Promise<StartReport['crowd']> {
  const from = performance.now();
  const slugs = await Promise.all(Array.from({ length: crowd }, () => user.detached(image, [], signal)));
  const allRunMs = performance.now() - from;
  await sleep(restMs, undefined, { signal });
  const all: Memory[] = [];
  for (const slug of slugs) all.push(await user.memory(slug));
  await user.stopAll();
  const mean = (of: (memory: Memory) => number) => all.reduce((sum, each) => sum + of(each), 0) / all.length;
  return { bottles: crowd, allRunMs, rss: mean(({ rss }) => rss), pss: mean(({ pss }) => pss) };
}

/** Answers everything with 10 kB. */
async function listen(): Promise<{ readonly port: number } & AsyncDisposable> {
  const body = 'x'.repeat(10_000);
  const server = createServer((_, response) => response.end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** One request through a gate, on a connection of its own. @throws Error for a refusal. */
async function get(socketPath: string, url: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const call = request(
    { socketPath, path: url, headers: { Host: new URL(url).host }, agent: false },
    (answer) => {
      answer.resume().once('end', () => {
        if (answer.statusCode === 200) resolve(undefined);
        else reject(new Error(`the gate answered with ${answer.statusCode ?? 0}`));
      });
    },
  );
  call.once('error', reject);
  call.end();
  await promise;
}
