import { randomBytes } from 'node:crypto';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/process/run.ts';

/** Of a registry that listens where `registry:2` does. */
export const registryConfiguration = `version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
`;

/** An image that serves as `registry:2` does, made from Debian's docker-registry. Gone on disposal. */
export class RegistryImage implements AsyncDisposable {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static async build(): Promise<RegistryImage> {
    const folder = await mkdtemp(join(tmpdir(), 'registry-image-'));
    const image = new RegistryImage(`claude-bottle-test-registry-${randomBytes(4).toString('hex')}:latest`);
    try {
      await copyFile('/usr/bin/docker-registry', join(folder, 'docker-registry'));
      await writeFile(join(folder, 'config.yml'), registryConfiguration);
      await writeFile(
        join(folder, 'Dockerfile'),
        'FROM debian:bookworm-slim\nCOPY docker-registry /registry\nCOPY config.yml /config.yml\nENTRYPOINT ["/registry", "serve", "/config.yml"]\n',
      );
      const built = await run('docker', ['build', '-q', '-t', image.name, folder]);
      if (built.code !== 0) throw new Error(built.stderr);
      return image;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('docker', ['rmi', '-f', this.name]);
  }
}
