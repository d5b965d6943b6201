import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { template } from '../../src/agents/templates.ts';
import { run } from '../../src/process/run.ts';
import { client } from '../tools/clients.ts';

export interface TestImage extends AsyncDisposable {
  readonly name: string;
}

const docker = client('docker');
/** Certificates that this host was given by its owner; a container behind the same proxy needs them too. */
const ownCertificates = '/usr/local/share/ca-certificates';

export async function must(args: readonly string[]): Promise<string> {
  const result = await run(docker, args);
  if (result.code !== 0) throw new Error(`docker ${args.join(' ')}: ${result.stderr}`);
  return result.stdout.trim();
}

/** Builds the example of a template as a user would, and takes the name away again if it was not there before. */
export async function exampleImage(name: string): Promise<TestImage> {
  const base = await baseImage();
  const image = `claude-bottle-test-agents-${name}`;
  const wasThere = (await run(docker, ['image', 'inspect', image])).code === 0;
  const registry = process.env.NPM_CONFIG_REGISTRY ?? process.env.npm_config_registry;
  const args = registry === undefined ? [] : ['--build-arg', `NPM_CONFIG_REGISTRY=${registry}`];
  await must(['build', '-q', '--build-arg', `BASE=${base}`, ...args, '-t', image, template(name).directory]);
  return {
    name: image,
    async [Symbol.asyncDispose]() {
      // The layers stay for the next run.
      if (!wasThere) await run(docker, ['rmi', '--no-prune', image]);
    },
  };
}

async function baseImage(): Promise<string> {
  const debian = 'debian:bookworm-slim';
  const found = await readdir(ownCertificates).catch(() => []);
  const certificates = found.filter((file) => file.endsWith('.crt'));
  if (certificates.length === 0) return debian;
  const context = await mkdtemp(join(tmpdir(), 'claude-bottle-base-'));
  try {
    await mkdir(join(context, 'own'));
    for (const file of certificates) await copyFile(join(ownCertificates, file), join(context, 'own', file));
    await writeFile(
      join(context, 'Dockerfile'),
      `FROM ${debian}
COPY own/ ${ownCertificates}/
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \\
 && rm -rf /var/lib/apt/lists/* && update-ca-certificates
`,
    );
    const name = 'claude-bottle-test-agents-base';
    await must(['build', '-q', '-t', name, context]);
    return name;
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}
