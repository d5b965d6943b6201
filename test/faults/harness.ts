import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type RunResult, run } from '../../src/process/run.ts';
import { double } from '../smolvm/double.ts';

const launcher = new URL('../../bin/launch.cjs', import.meta.url).pathname;
/** The environment of one packer: a cache of its own, the double for smolvm, a name of its own for the image. */
export type Environment = Record<string, string | undefined>;

/** A project with a small image of several layers, and a cache, both gone on disposal. */
export class Bench implements AsyncDisposable {
  readonly folder: string;
  readonly project: string;
  readonly image: string;
  readonly env: Environment;
  /** What lay in the shared temporary directory before. */
  readonly #before: ReadonlySet<string>;

  private constructor(folder: string, image: string, cache: string, before: readonly string[]) {
    this.#before = new Set(before);
    this.folder = folder;
    this.project = join(folder, 'project');
    this.image = image;
    this.env = {
      PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
      XDG_CACHE_HOME: cache,
      CLAUDE_BOTTLE_SMOLVM: double,
      CLAUDE_BOTTLE_IMAGE: image,
      CI: 'true',
    };
  }

  /** @param megabytes of random, so incompressible, content. */
  static async open(options: { megabytes: number; cache?: string }): Promise<Bench> {
    const folder = await mkdtemp(join(tmpdir(), 'faults-'));
    // smolvm's VM, which as root runs as another user, must be able to walk here.
    await chmod(folder, 0o711);
    const name = randomBytes(4).toString('hex');
    const bench = new Bench(
      folder,
      `claude-bottle-faults-${name}:latest`,
      options.cache ?? join(folder, 'cache'),
      await ourTemporaries(),
    );
    await mkdir(bench.project);
    const third = Math.ceil((options.megabytes * 1e6) / 3);
    for (const part of ['one', 'two', 'three'])
      await writeFile(join(bench.project, part), randomBytes(third));
    await writeFile(
      join(bench.project, 'Dockerfile'),
      'FROM scratch\nCOPY one /opt/one\nCOPY two /opt/two\nCOPY three /opt/one\nCMD ["/opt/two"]\n',
    );
    return bench;
  }

  get root(): string {
    return join(this.env['XDG_CACHE_HOME'] ?? '', 'claude-bottle');
  }

  /** Runs our command to its end. */
  run(args: readonly string[], env: Environment = {}): Promise<RunResult> {
    return run(process.execPath, [launcher, ...args], { env: { ...this.env, ...env } });
  }

  /** Starts our command without waiting; its process can be killed alone, its children then live on. */
  start(args: readonly string[], env: Environment = {}): ChildProcess {
    return spawn(process.execPath, [launcher, ...args], {
      env: { ...process.env, ...this.env, ...env },
      stdio: 'ignore',
    });
  }

  /** What of ours is still there, by kind; each should be empty. */
  async leftovers(): Promise<Record<string, string[]>> {
    const docker = async (...args: string[]) => lines((await run('docker', args)).stdout);
    const [containers, tags, listening, processes, elsewhere] = await Promise.all([
      docker('ps', '-aq', '--filter', 'label=claude-bottle.owner'),
      docker('images', '--format', '{{.Repository}}:{{.Tag}}', '127.0.0.1:*/*'),
      this.#listening(),
      this.#processes(),
      ourTemporaries().then((names) => names.filter((name) => !this.#before.has(name))),
    ]);
    const inside = async (name: string) => readdir(join(this.root, name)).catch(() => []);
    const [temporary, locks] = await Promise.all([inside('tmp'), inside('locks')]);
    return { containers, tags, temporary, locks, processes, listening, elsewhere };
  }

  /** Processes whose environment or command names this cache. */
  async #processes(): Promise<string[]> {
    const { stdout } = await run('ps', ['-eww', '-o', 'pid=,args=']);
    return lines(stdout).filter(
      (line) =>
        line.includes(this.folder) && !line.includes('ps -eww') && !line.startsWith(`${process.pid} `),
    );
  }

  /** Listening sockets of processes that run our command. */
  async #listening(): Promise<string[]> {
    const { stdout } = await run('ps', ['-eww', '-o', 'pid=,args=']);
    const ours = lines(stdout)
      .filter((line) => line.includes(launcher))
      .map((line) => line.trim().split(' ', 1)[0]);
    const sockets = lines((await run('ss', ['-Hltnp'])).stdout);
    return sockets.filter((line) => ours.some((pid) => line.includes(`pid=${pid},`)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('docker', ['rmi', '-f', this.image]);
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function ourTemporaries(): Promise<string[]> {
  return (await readdir('/var/tmp')).filter((name) => name.startsWith('claude-bottle-'));
}

export function lines(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}

/** How many of each kind are left, as one line. */
export function countsOf(leftovers: Record<string, string[]>): string {
  return Object.entries(leftovers)
    .map(([kind, found]) => `${found.length} ${kind}`)
    .join(', ');
}
