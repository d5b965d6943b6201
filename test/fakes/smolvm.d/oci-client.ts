import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, globSync, statSync } from 'node:fs';
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Blob, PullRequest } from './guest.ts';

/** One image in a registry, behind a real OCI client. */
export interface RemoteImage extends AsyncDisposable {
  /** The manifest for the platform, as served. */
  manifest(): Promise<string>;
  config(): Promise<string>;
  blob(digest: string): Promise<Blob>;
}

/** Uses crane, as smolvm does, where it is installed for the tests, and skopeo otherwise. `directory` is its to use. */
export async function openImage(request: PullRequest, directory: string): Promise<RemoteImage> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, 'config.json'), dockerConfig(request), { mode: 0o600 });
  const crane = findCrane();
  const image =
    crane === undefined ? new SkopeoImage(request, directory) : new CraneImage(crane, request, directory);
  return Object.assign(image, {
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  });
}

function findCrane(): string | undefined {
  if (process.env.FAKE_SMOLVM_CLIENT === 'skopeo') return undefined;
  const root = join(dirname(process.env.FAKE_SMOLVM_EXECUTABLE ?? ''), '..', '..', '.tools', 'clients');
  return globSync(join(root, '**', 'crane')).find((path) => statSync(path).isFile());
}

function dockerConfig({ image, auth }: PullRequest): string {
  if (auth === undefined) return '{"auths":{}}';
  const encoded = Buffer.from(`${auth.username}:${auth.password}`).toString('base64');
  return JSON.stringify({ auths: { [registryOf(image)]: { auth: encoded } } });
}

function registryOf(image: string): string {
  return image.slice(0, image.indexOf('/'));
}

/** `registry/repository`, without tag and digest. */
function repositoryOf(image: string): string {
  const [name = ''] = image.split('@');
  const colon = name.lastIndexOf(':');
  return colon > name.lastIndexOf('/') ? name.slice(0, colon) : name;
}

class CraneImage {
  readonly #crane: string;
  readonly #request: PullRequest;
  readonly #env: NodeJS.ProcessEnv;
  #manifest: Promise<string> | undefined;

  constructor(crane: string, request: PullRequest, directory: string) {
    this.#crane = crane;
    this.#request = request;
    this.#env = { PATH: process.env.PATH, HOME: directory, DOCKER_CONFIG: directory, ...request.proxy };
  }

  manifest(): Promise<string> {
    this.#manifest ??= this.#say('manifest');
    return this.#manifest;
  }

  config(): Promise<string> {
    return this.#say('config');
  }

  async blob(digest: string): Promise<Blob> {
    const { layers } = JSON.parse(await this.manifest()) as { layers: { digest: string; size: number }[] };
    const child = spawn(this.#crane, ['blob', `${repositoryOf(this.#request.image)}@${digest}`], {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const words = collect(child.stderr);
    const done = once(child, 'close').then(async ([code]) => (code === 0 ? undefined : (await words).trim()));
    return { stream: child.stdout, size: layers.find((layer) => layer.digest === digest)?.size ?? 0, done };
  }

  #say(verb: string): Promise<string> {
    const { image, platform } = this.#request;
    return output(this.#crane, [verb, image, '--platform', platform], this.#env, `crane ${verb} failed`);
  }
}

class SkopeoImage {
  readonly #request: PullRequest;
  readonly #directory: string;
  #copied: Promise<string> | undefined;

  constructor(request: PullRequest, directory: string) {
    this.#request = request;
    this.#directory = directory;
  }

  async manifest(): Promise<string> {
    const raw = await this.#skopeo(['inspect', '--raw', this.#source()], 'crane manifest failed');
    const { manifests } = JSON.parse(raw) as {
      manifests?: { digest: string; platform?: { os: string; architecture: string } }[];
    };
    if (manifests === undefined) return raw;
    const wanted = this.#request.platform;
    const child = manifests.find(({ platform }) => `${platform?.os}/${platform?.architecture}` === wanted);
    if (child === undefined) {
      throw new Error(
        `crane manifest failed: Error: no child with platform ${wanted} in index ${this.#request.image}`,
      );
    }
    const reference = `docker://${repositoryOf(this.#request.image)}@${child.digest}`;
    return this.#skopeo(['inspect', '--raw', reference], 'crane manifest failed');
  }

  config(): Promise<string> {
    return this.#skopeo(
      [...this.#platform(), 'inspect', '--config', '--raw', this.#source()],
      'crane config failed',
    );
  }

  async blob(digest: string): Promise<Blob> {
    this.#copied ??= this.#copy(digest);
    const path = join(await this.#copied, digest.replace('sha256:', ''));
    const { size } = await stat(path);
    return { stream: createReadStream(path), size, done: Promise.resolve(undefined) };
  }

  /** skopeo has no verb for one blob: the first asked for brings them all. */
  async #copy(digest: string): Promise<string> {
    const to = join(this.#directory, 'image');
    const args = [...this.#platform(), '--insecure-policy', 'copy', '-q', this.#source(), `dir:${to}`];
    await this.#skopeo(args, `crane blob failed for layer ${digest}`);
    return to;
  }

  /** skopeo takes a tag or a digest, not both. */
  #source(): string {
    const [, digest] = this.#request.image.split('@');
    return digest === undefined
      ? `docker://${this.#request.image}`
      : `docker://${repositoryOf(this.#request.image)}@${digest}`;
  }

  #platform(): string[] {
    const [os = '', architecture = ''] = this.#request.platform.split('/');
    return ['--override-os', os, '--override-arch', architecture];
  }

  #skopeo(args: readonly string[], failure: string): Promise<string> {
    const verb = args.findIndex((arg) => arg === 'inspect' || arg === 'copy');
    const copies = args[verb] === 'copy' ? '--src-' : '--';
    const tls = `${copies}tls-verify=${!mayBePlain(registryOf(this.#request.image))}`;
    const all = [
      ...args.slice(0, verb + 1),
      '--authfile',
      join(this.#directory, 'config.json'),
      tls,
      ...args.slice(verb + 1),
    ];
    const env = {
      PATH: process.env.PATH,
      HOME: this.#directory,
      TMPDIR: this.#directory,
      ...this.#request.proxy,
    };
    return output('skopeo', all, env, failure);
  }
}

/** Where crane tries plain HTTP at all (go-containerregistry v0.19.0, pkg/name/registry.go). */
function mayBePlain(registry: string): boolean {
  return (
    registry.startsWith('localhost:') ||
    registry.includes('127.0.0.1') ||
    registry.includes('::1') ||
    /\.(local|localhost)(:|$)/.test(registry) ||
    /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)/.test(registry)
  );
}

async function output(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  failure: string,
): Promise<string> {
  const child = spawn(command, [...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const [text, words, [code]] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  if (code !== 0) throw new Error(`${failure}: ${words.trim()}`);
  return text;
}

async function collect(stream: NodeJS.ReadableStream): Promise<string> {
  stream.setEncoding('utf8');
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}
