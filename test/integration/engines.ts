import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../src/engine/engine.ts';
import { run } from '../../src/process/run.ts';
import { Scratch } from '../../src/process/scratch.ts';

export type EngineName = 'docker' | 'podman';
export const engineNames: readonly EngineName[] = ['docker', 'podman'];

/** Podman's default runtime wants cgroups that a machine within a machine may not have; a chroot does to build. */
const env = { BUILDAH_ISOLATION: 'chroot' };

/** A real engine with a place for builds; disposing removes every image that was tagged through `tag`. */
export interface Bench extends AsyncDisposable {
  readonly engine: Engine;
  /** The same engine, with everything through its CLI. */
  readonly cli: Engine;
  readonly scratch: Scratch;
  readonly directory: string;
  tag(name: string): string;
  /** A name of Debian's base system in this engine; podman gets it from docker. */
  base(): Promise<string>;
  /** A build context with these files. */
  context(files: Readonly<Record<string, string | Buffer>>): Promise<string>;
}

export async function bench(command: EngineName): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
  const scratch = await Scratch.create(join(directory, 'tmp'));
  const [engine, cli] = await Promise.all([
    Engine.connect({ command, env }),
    Engine.connect({ command, env, direct: false }),
  ]);
  const nonce = randomBytes(4).toString('hex');
  const tags: string[] = [];
  const must = async (program: string, ...args: string[]) => {
    const { code, stderr } = await run(program, args);
    if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  };
  const tag = (name: string) => {
    const reference = `localhost/claude-bottle-test-${nonce}:${name}`;
    tags.push(reference);
    return reference;
  };
  return {
    engine,
    cli,
    scratch,
    directory,
    tag,
    async base() {
      const debian = 'debian:bookworm-slim';
      if (command === 'docker') return debian;
      const name = tag('base');
      const archive = join(directory, 'base.tar');
      await must('docker', 'tag', debian, name);
      try {
        await must('docker', 'save', '--output', archive, name);
      } finally {
        await must('docker', 'rmi', '--no-prune', name);
      }
      await must('podman', 'load', '--input', archive);
      await rm(archive);
      return name;
    },
    async context(files) {
      const path = await mkdtemp(join(directory, 'context-'));
      for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), content);
      return path;
    },
    async [Symbol.asyncDispose]() {
      for (const tag of tags) await run(command, ['rmi', '--force', tag]);
      await scratch[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
