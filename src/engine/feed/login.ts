import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Credential } from '../../oci/registry/credential.ts';
import type { Scratch } from '../../process/scratch.ts';
import type { Engine } from '../engine.ts';

/** A login to one registry for one command of the engine's CLI; gone with its file on disposal. */
export interface Login extends AsyncDisposable {
  /** In the form that both docker and podman read. */
  readonly file: string;
  /** Makes docker's CLI use this login, and no other, against the same engine. */
  readonly dockerEnvironment: Readonly<Record<string, string | undefined>>;
}

/**
 * Writes a login where only this user reads it, below the scratch directory: a password in arguments or in the
 * environment would be seen by others.
 */
export async function logIn(
  engine: Engine,
  scratch: Scratch,
  host: string,
  { username, password }: Credential,
): Promise<Login> {
  const directory = scratch.file(`login-${randomBytes(4).toString('hex')}`);
  await mkdir(directory, { mode: 0o700 });
  const file = join(directory, 'config.json');
  const auth = Buffer.from(`${username}:${password}`).toString('base64');
  await writeFile(file, JSON.stringify({ auths: { [host]: { auth } } }), { mode: 0o600 });
  const { endpoint, address } = engine;
  return {
    file,
    dockerEnvironment: {
      DOCKER_CONFIG: directory,
      // The configuration directory also holds the contexts and the TLS material, so what they chose is named outright.
      DOCKER_CONTEXT: undefined,
      DOCKER_HOST: endpoint,
      ...(address.env.DOCKER_TLS_VERIFY !== undefined && address.env.DOCKER_CERT_PATH === undefined
        ? { DOCKER_CERT_PATH: address.env.DOCKER_CONFIG ?? join(address.env.HOME ?? '', '.docker') }
        : {}),
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** `X-Registry-Auth` of Docker's API: URL-safe base64 that keeps its padding (moby, api/types/registry/authconfig.go). */
export function registryAuth(host: string, { username, password }: Credential): string {
  const json = JSON.stringify({ username, password, serveraddress: host });
  return Buffer.from(json).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}
