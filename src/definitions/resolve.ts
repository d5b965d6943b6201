import { type BottleContext, type BottleFile, type BottleSettings, readBottle } from './bottle-file.ts';
import { BottleCycle, BottleUnknown, DefinitionInvalid, type Problem } from './errors.ts';
import { namesOn, readFrom, type Shelf } from './files.ts';
import { combine, extend } from './merge.ts';
import { nearest } from './spelling.ts';

/** The user's bottles, each read and merged with what it extends once. */
export class BottleShelf {
  readonly #shelf: Shelf;
  readonly #context: BottleContext;
  readonly #files = new Map<string, BottleFile | undefined>();
  readonly #resolved = new Map<string, BottleSettings>();

  constructor(shelf: Shelf, context: BottleContext) {
    this.#shelf = shelf;
    this.#context = context;
  }

  /** All that were merged so far, parents first. */
  get merged(): readonly string[] {
    return [...this.#resolved.keys()];
  }

  /**
   * Bottles that were named on the command line.
   * @throws BottleUnknown, BottleCycle, DefinitionInvalid, DefinitionUnreadable
   */
  async chosen(names: readonly string[]): Promise<BottleSettings[]> {
    for (const name of names) {
      if ((await this.#file(name)) !== undefined) continue;
      const known = await namesOn(this.#shelf);
      const suggestion = nearest(name, known);
      throw new BottleUnknown({
        name,
        known,
        ...(suggestion === undefined ? {} : { suggestion }),
        place: this.#shelf.shown,
      });
    }
    return this.#resolveAll(names, []);
  }

  /**
   * Bottles that a file names, each on its line.
   * @throws BottleCycle, DefinitionInvalid, DefinitionUnreadable
   */
  async named(
    names: readonly string[],
    path: string,
    lineOf: (index: number) => number,
  ): Promise<BottleSettings[]> {
    await this.#mustExist(names, path, lineOf);
    return this.#resolveAll(names, []);
  }

  async #resolveAll(names: readonly string[], chain: readonly string[]): Promise<BottleSettings[]> {
    const resolved: BottleSettings[] = [];
    for (const name of names) resolved.push(await this.#resolve(name, chain));
    return resolved;
  }

  async #resolve(name: string, chain: readonly string[]): Promise<BottleSettings> {
    const known = this.#resolved.get(name);
    if (known !== undefined) return known;
    if (chain.includes(name)) throw new BottleCycle({ chain: [...chain.slice(chain.indexOf(name)), name] });
    const file = await this.#file(name);
    if (file === undefined) throw new BottleUnknown({ name, known: [], place: this.#shelf.shown });
    await this.#mustExist(file.extends, file.path, (index) => file.lineOf(['extends', index]));
    const parents = await this.#resolveAll(file.extends, [...chain, name]);
    const settings = extend(combine(parents), file.settings);
    this.#resolved.set(name, settings);
    return settings;
  }

  async #mustExist(names: readonly string[], path: string, lineOf: (index: number) => number): Promise<void> {
    const problems: Problem[] = [];
    for (const [index, name] of names.entries()) {
      if ((await this.#file(name)) !== undefined) continue;
      const known = await namesOn(this.#shelf);
      const near = nearest(name, known);
      const suggestion = near === undefined ? '' : ` (did you mean ${near}?)`;
      const there = known.length === 0 ? 'there is none' : `there are ${known.join(', ')}`;
      problems.push({
        line: lineOf(index),
        problem: `no bottle in ${this.#shelf.shown} has the name that stands here${suggestion}; ${there}`,
      });
    }
    if (problems.length > 0) throw new DefinitionInvalid({ path, problems });
  }

  async #file(name: string): Promise<BottleFile | undefined> {
    if (!this.#files.has(name)) {
      const source = await readFrom(this.#shelf, name);
      this.#files.set(name, source === undefined ? undefined : readBottle(source, this.#context));
    }
    return this.#files.get(name);
  }
}
