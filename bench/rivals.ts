import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchEngine, succeed } from './engine.ts';
import { type ConsumerRoot, consumerProgram, type Told } from './measure.ts';

/** The predecessor's registry in a container, made of Debian's docker-registry and the libraries it needs. */
export class RegistryImage implements AsyncDisposable {
  readonly #engine: BenchEngine;
  readonly #reference: string;

  private constructor(engine: BenchEngine, reference: string) {
    this.#engine = engine;
    this.#reference = reference;
  }

  static async create(engine: BenchEngine, name: string, directory: string): Promise<RegistryImage> {
    const context = join(directory, 'registry');
    const image = new RegistryImage(engine, `${name}-registry:latest`);
    const { stdout: binary } = await succeed('bash', ['-c', 'readlink -f "$(command -v docker-registry)"']);
    const { stdout: libraries } = await succeed('ldd', [binary.trim()]);
    const paths = [binary.trim(), ...(libraries.match(/\/\S+(?= \()/g) ?? [])];
    for (const path of paths) {
      await mkdir(join(context, 'root', dirname(path)), { recursive: true });
      await copyFile(path, join(context, 'root', path));
    }
    await mkdir(join(context, 'root/tmp'));
    await writeFile(join(context, 'root/registry.yml'), registryConfig);
    const lines = [
      'FROM scratch',
      'COPY root /',
      'VOLUME /registry',
      `ENTRYPOINT ["${binary.trim()}"]`,
      'CMD ["serve", "/registry.yml"]',
    ];
    await writeFile(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
    await engine.docker(['build', '-q', '-t', image.#reference, context]);
    await rm(context, { recursive: true });
    return image;
  }

  /** Runs it on a random port of the loopback, and waits until it answers. */
  async start(): Promise<RegistryContainer> {
    const name = `claude-bottle-bench-${randomBytes(4).toString('hex')}`;
    const container = new RegistryContainer(this.#engine, name);
    try {
      await this.#engine.docker([
        'run',
        '-d',
        '--rm',
        '--name',
        name,
        '-p',
        '127.0.0.1::5000',
        this.#reference,
      ]);
      await container.ready();
    } catch (error) {
      await container[Symbol.asyncDispose]();
      throw error;
    }
    return container;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine.undo(['rmi', '-f', this.#reference]);
  }
}

const registryConfig = `version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: /registry }, cache: { blobdescriptor: inmemory } }
http: { addr: ":5000" }
`;

class RegistryContainer implements AsyncDisposable {
  readonly #engine: BenchEngine;
  readonly #name: string;
  #port = 0;

  constructor(engine: BenchEngine, name: string) {
    this.#engine = engine;
    this.#name = name;
  }

  get reference(): string {
    return `127.0.0.1:${this.#port}/claude-bottle:bench`;
  }

  async ready(): Promise<void> {
    const { stdout } = await this.#engine.docker(['port', this.#name, '5000/tcp']);
    this.#port = Number(/:(\d+)\s*$/m.exec(stdout)?.[1]);
    for (let tries = 0; !(await answers(this.#port)); tries++) {
      if (tries === 200) throw new Error(`the registry container ${this.#name} does not answer`);
      await sleep(50);
    }
  }

  cpuMs(): Promise<number> {
    return this.#engine.containerCpuMs(this.#name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine.undo(['rm', '-f', '-v', this.#name]);
  }
}

function answers(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/v2/`).then(
    (response) => response.ok,
    () => false,
  );
}

/** (a) Registry container, tag, push; the consumer pulls. */
export async function throughRegistryContainer(
  engine: BenchEngine,
  registries: RegistryImage,
  reference: string,
  consumer: ConsumerRoot,
  after: AsyncDisposableStack,
): Promise<Told> {
  const registry = after.use(await registries.start());
  after.defer(() => engine.undo(['rmi', registry.reference]));
  await engine.docker(['tag', reference, registry.reference]);
  await engine.docker(['push', '-q', registry.reference]);
  return await consumed(engine, registry, consumer);
}

/** (b) skopeo from the engine's API to the same registry; the consumer pulls. */
export async function throughSkopeo(
  engine: BenchEngine,
  registries: RegistryImage,
  reference: string,
  consumer: ConsumerRoot,
  after: AsyncDisposableStack,
): Promise<Told> {
  const registry = after.use(await registries.start());
  const host = engine.env.DOCKER_HOST ?? process.env.DOCKER_HOST;
  const daemon = host === undefined ? [] : ['--src-daemon-host', host];
  const target = ['--dest-tls-verify=false', `docker://${registry.reference}`];
  await engine.tool('skopeo', [
    '--insecure-policy',
    'copy',
    '-q',
    ...daemon,
    `docker-daemon:${reference}`,
    ...target,
  ]);
  return await consumed(engine, registry, consumer);
}

async function consumed(
  engine: BenchEngine,
  registry: RegistryContainer,
  consumer: ConsumerRoot,
): Promise<Told> {
  const stub = join(consumer.path, 'stub');
  const args = ['pack', 'create', '--image', registry.reference, '-o', stub];
  await engine.tool(consumerProgram, args, { env: consumer.env });
  return { consumer: await consumer.report(), registryCpuMs: await registry.cpuMs() };
}

/** (e) The engine alone: `docker save` to nowhere. */
export async function rawSave(engine: BenchEngine, reference: string): Promise<Told> {
  await engine.tool('bash', ['-c', 'exec docker save "$1" >/dev/null', 'bash', reference]);
  return {};
}

/** (e) `docker create` and `docker export` to nowhere. */
export async function rawExport(
  engine: BenchEngine,
  reference: string,
  after: AsyncDisposableStack,
): Promise<Told> {
  const { stdout } = await engine.docker(['create', reference]);
  const id = stdout.trim();
  after.defer(() => engine.undo(['rm', '-f', id]));
  await engine.tool('bash', ['-c', 'exec docker export "$1" >/dev/null', 'bash', id]);
  return {};
}
