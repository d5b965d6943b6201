import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ContentWriter, layerPlans } from './content.ts';
import type { BenchEngine } from './engine.ts';

/** The images of a bench: a big base, and a small project on top of it whose Dockerfile changes in its last line. */
export class BenchImage implements AsyncDisposable {
  /** Reference of what was built last. */
  readonly reference: string;
  /** The project: what `docker build` and `claude-bottle pack` are given. */
  readonly context: string;
  /** Bytes of the base's layers as tar files. */
  readonly bytes: number;
  readonly #engine: BenchEngine;
  readonly #base: string;
  readonly #built = new Set<string>();
  #revision = 0;

  private constructor(engine: BenchEngine, name: string, context: string, bytes: number) {
    this.#engine = engine;
    this.reference = `${name}:latest`;
    this.#base = `${name}-base:latest`;
    this.context = context;
    this.bytes = bytes;
  }

  /** `scale` 1 is about 700 MB. `name` has to be free; `directory` has to exist. */
  static async create(
    engine: BenchEngine,
    name: string,
    directory: string,
    scale: number,
  ): Promise<BenchImage> {
    const base = join(directory, 'base');
    const context = join(directory, 'project');
    await mkdir(base);
    await mkdir(context);
    const content = new ContentWriter();
    let bytes = 0;
    const lines = ['FROM scratch'];
    for (const [at, plan] of layerPlans.entries()) {
      const tar = `layer-${at}.tar`;
      bytes += content.write(join(base, tar), `layer-${at}`, plan, scale);
      lines.push(`ADD ${tar} /`);
    }
    await writeFile(join(base, 'Dockerfile'), `${lines.join('\n')}\n`);
    const image = new BenchImage(engine, name, context, bytes);
    try {
      await engine.docker(['build', '-q', '-t', image.#base, base]);
      await rm(base, { recursive: true });
      await image.change();
    } catch (error) {
      await image[Symbol.asyncDispose]();
      throw error;
    }
    return image;
  }

  /** Changes the last line of the Dockerfile, and builds. */
  async change(): Promise<void> {
    this.#revision += 1;
    const file = `line-${this.#revision}`;
    await writeFile(join(this.context, 'agent.js'), "console.log('an agent');\n");
    await writeFile(join(this.context, file), `line ${this.#revision}\n`);
    const lines = [
      `FROM ${this.#base}`,
      'COPY agent.js /srv/agent.js',
      'CMD ["/srv/agent.js"]',
      `COPY ${file} /srv/line`,
    ];
    await writeFile(join(this.context, 'Dockerfile'), `${lines.join('\n')}\n`);
    await this.build();
  }

  async build(): Promise<void> {
    await this.#engine.docker(['build', '-q', '-t', this.reference, this.context]);
    this.#built.add(await this.#inspect('{{.Id}}'));
  }

  async layers(): Promise<number> {
    return Number(await this.#inspect('{{len .RootFS.Layers}}'));
  }

  async #inspect(format: string): Promise<string> {
    const { stdout } = await this.#engine.docker(['image', 'inspect', '--format', format, this.reference]);
    return stdout.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // By id, because all but the last have lost their name to the next.
    for (const id of this.#built) await this.#engine.undo(['rmi', '-f', id]);
    await this.#engine.undo(['rmi', '-f', this.#base]);
  }
}
