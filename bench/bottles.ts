import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { succeed } from './engine.ts';

const Record = v.object({ owner: v.object({ pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)) }) });

/** Memory of one process, in bytes (proc_pid_smaps(5), smaps_rollup). */
export interface Memory {
  /** With everything that it shares with others, such as the program itself. */
  readonly rss: number;
  /** Its share of what is shared. */
  readonly pss: number;
  /** What nobody else has. */
  readonly own: number;
}

/** A user of claude-bottle with a home of its own, so that a run finds nothing there but what it shall find. */
export class BottleUser implements AsyncDisposable {
  readonly program: string;
  readonly env: Readonly<globalThis.Record<string, string>>;
  readonly #state: string;
  readonly #run: string;
  readonly #home: string;

  private constructor(
    program: string,
    directory: string,
    engineEnv: Readonly<globalThis.Record<string, string>>,
  ) {
    this.program = program;
    this.#home = join(directory, 'home');
    this.#state = join(directory, 'state');
    this.#run = join(directory, 'run');
    this.env = {
      ...engineEnv,
      // The built program takes the Node on the PATH.
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      HOME: this.#home,
      XDG_STATE_HOME: this.#state,
      XDG_RUNTIME_DIR: this.#run,
      XDG_CACHE_HOME: join(directory, 'cache'),
      // The rivals' are containers too.
      CLAUDE_BOTTLE_BACKEND: 'docker',
    };
  }

  static async create(
    program: string,
    directory: string,
    engineEnv: Readonly<globalThis.Record<string, string>>,
  ): Promise<BottleUser> {
    const user = new BottleUser(program, directory, engineEnv);
    for (const path of [user.#home, user.#state, user.#run]) {
      await mkdir(path, { recursive: true, mode: 0o700 });
    }
    return user;
  }

  async define(bottle: string, text: string): Promise<void> {
    const path = join(this.#home, '.claude-bottle/bottles', `${bottle}.md`);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(path, text, { mode: 0o600 });
  }

  /** `start --detach` of a bottle that waits. @returns its slug, once it runs. */
  async detached(image: string, flags: readonly string[], signal: AbortSignal): Promise<string> {
    const args = ['start', '--yes', '--detach', '--image', image, '--no-workspace', ...flags];
    const { stdout } = await succeed(this.program, [...args, '--', 'sleep', '3600'], {
      env: this.env,
      signal,
    });
    return stdout.trim();
  }

  /** Ends every bottle of this user. */
  async stopAll(): Promise<void> {
    const args = ['stop', '--all', '--discard', '--yes', '--grace=1s'];
    await succeed(this.program, args, { env: this.env });
  }

  /** Of the supervisor of a bottle, with its gate. */
  async memory(slug: string): Promise<Memory> {
    const path = join(this.#state, 'claude-bottle/bottles', slug, 'bottle.json');
    const { owner } = v.parse(Record, JSON.parse(await readFile(path, 'utf8')));
    const text = await readFile(`/proc/${owner.pid}/smaps_rollup`, 'utf8');
    const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024;
    return { rss: field('Rss'), pss: field('Pss'), own: field('Private_Clean') + field('Private_Dirty') };
  }

  gateSocket(slug: string): string {
    return join(this.#run, 'claude-bottle', slug, 'in/gate.sock');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopAll();
  }
}
