import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { House } from '../bottles/house.ts';
import { double } from '../smolvm/double.ts';

export const names = ['docker', 'smolmachines'] as const;
export type Name = (typeof names)[number];

/** What a user sets to have the one or the other. */
const settings: Readonly<Record<Name, Readonly<Record<string, string>>>> = {
  docker: { CLAUDE_BOTTLE_BACKEND: 'docker' },
  smolmachines: { CLAUDE_BOTTLE_BACKEND: 'smolmachines', CLAUDE_BOTTLE_SMOLVM: double },
};

/** One cache for all houses of a file, since converting an image takes seconds. */
export class Street implements AsyncDisposable {
  readonly #cache: string;

  private constructor(cache: string) {
    this.#cache = cache;
  }

  static async open(): Promise<Street> {
    return new Street(await mkdtemp(join(tmpdir(), 'cb-cache-')));
  }

  async house(name: Name): Promise<House> {
    const house = await House.build();
    Object.assign(house.env, settings[name], { XDG_CACHE_HOME: this.#cache });
    return house;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#cache, { recursive: true, force: true, maxRetries: 3 });
  }
}
