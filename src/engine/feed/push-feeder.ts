import type { Credential } from '../../oci/registry/credential.ts';
import * as v from 'valibot';
import { ifFits, options } from '../../schema.ts';
import { apiRequest, bodyOf, messageOf } from '../api.ts';
import { signalOf } from '../engine.ts';
import { PushFailed } from '../errors.ts';
import { pushFailure, underName } from '../image.ts';
import { plainWords } from '../words.ts';
import type { FeedContext, Feeder } from './feeder.ts';
import { logIn, registryAuth } from './login.ts';

/**
 * The engine pushes into our own registry, and sends only layers that it has not pushed before. Needs an engine that
 * reaches our loopback, and an image that has a name of its own.
 */
export const pushFeeder: Feeder = {
  name: 'push',
  async feed(context) {
    const { image, store, scratch, registry, onBytes } = context;
    await using receiver = registry.receive({
      store,
      scratch: scratch.path,
      ...(onBytes === undefined ? {} : { onBytes }),
    });
    try {
      await push(context, receiver.writer);
    } catch (error) {
      context.signal?.throwIfAborted();
      // The engine was told only that it is denied; what the store failed with says why.
      throw receiver.failure ?? error;
    }
    const { os, architecture, variant } = image;
    const fed = await receiver.image({ os, architecture, ...(variant === undefined ? {} : { variant }) });
    const same =
      fed.layers.length === image.layers.length &&
      fed.layers.every((layer, at) => layer === image.layers[at]);
    if (!same) {
      throw new PushFailed({
        reference: registry.reference,
        words: 'it pushed other layers than it had told',
      });
    }
    return fed;
  },
};

async function push(context: FeedContext, writer: Credential): Promise<void> {
  const { engine, image, scratch, registry, signal } = context;
  if (engine.dialect === 'podman') return pushByPodman(context, writer);
  await underName(engine, image, registry.reference, { scratch, ...signalOf(signal) }, () =>
    engine.socket === undefined ? pushByCli(context, writer) : pushByApi(context, engine.socket, writer),
  );
}

/** Podman pushes by id: nothing to tag, nothing to untag. */
async function pushByPodman({ engine, image, scratch, registry, signal }: FeedContext, writer: Credential) {
  await using login = await logIn(engine, scratch, registry.host, writer);
  const args = [
    'push',
    '--quiet',
    '--tls-verify=false',
    `--authfile=${login.file}`,
    image.id,
    registry.reference,
  ];
  const result = await engine.run(args, signalOf(signal));
  if (result.code !== 0) throw pushFailure(engine, registry.reference, result);
}

async function pushByCli({ engine, scratch, registry, signal }: FeedContext, writer: Credential) {
  await using login = await logIn(engine, scratch, registry.host, writer);
  const env = login.dockerEnvironment;
  const result = await engine.run(['push', registry.reference], { env, ...signalOf(signal) });
  if (result.code !== 0) throw pushFailure(engine, registry.reference, result);
}

/** One line of a push's progress. The status is 200 whatever happens; an error is a line like any other. */
const Progress = options({ error: v.optional(v.string()) });

/**
 * Over the socket the login goes in a header, so it is never on disk. The path is the name, of which the tag is not part
 * (moby, api/server/router/image, postImagesPush).
 */
async function pushByApi(
  { engine, registry, signal }: FeedContext,
  socket: string,
  writer: Credential,
): Promise<void> {
  const { reference, host } = registry;
  const colon = reference.lastIndexOf(':');
  const path = `/images/${reference.slice(0, colon)}/push?tag=${encodeURIComponent(reference.slice(colon + 1))}`;
  const fail = (words: string) => pushFailure(engine, reference, { code: 1, stderr: words });
  const response = await apiRequest(socket, path, {
    method: 'POST',
    headers: { 'X-Registry-Auth': registryAuth(host, writer) },
    ...signalOf(signal),
  }).catch((error: Error) => {
    signal?.throwIfAborted();
    throw fail(error.message);
  });
  if (response.statusCode !== 200) throw fail(messageOf(await bodyOf(response)));
  let rest = '';
  try {
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      lines.forEach(check);
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof PushFailed ? error : fail((error as Error).message);
  }
  check(rest);

  function check(line: string): void {
    if (line.trim() === '') return;
    const error = ifFits(Progress, JSON.parse(line))?.error;
    if (error !== undefined) throw fail(plainWords(error));
  }
}
