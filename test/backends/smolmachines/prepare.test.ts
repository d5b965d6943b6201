import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { prepareArtifact } from '../../../src/backends/smolmachines/prepare.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { inspectImage } from '../../../src/engine/image.ts';
import { run } from '../../../src/process/run.ts';
import { Cache } from '../../../src/smolmachine/cache.ts';
import type { Observer, StepName } from '../../../src/smolmachine/conversion.ts';
import { keyOf } from '../../../src/smolmachine/entry.ts';
import { findSmolvm } from '../../../src/smolvm/find.ts';
import { double } from '../../smolvm/double.ts';

const tag = `claude-bottle-test:prepare-${process.pid}`;
let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cb-'));
  await writeFile(join(directory, 'Dockerfile'), 'FROM scratch\nCOPY file /file\n');
  await writeFile(join(directory, 'file'), `${process.pid}\n`);
  const { code, stderr } = await run('docker', ['build', '--quiet', `--tag=${tag}`, directory], {
    env: { DOCKER_BUILDKIT: '0' },
  });
  assert.equal(code, 0, stderr);
});
after(async () => {
  await run('docker', ['image', 'rm', tag]);
  await rm(directory, { recursive: true, force: true });
});

test('an image is packed once, is called by its name, and stays while somebody needs it', async () => {
  const engine = await Engine.connect({ command: 'docker' });
  const image = await inspectImage(engine, tag);
  const smolvm = await findSmolvm({ ...process.env, CLAUDE_BOTTLE_SMOLVM: double });
  const cacheRoot = join(directory, 'cache');
  const cache = await Cache.open(cacheRoot);
  const key = keyOf(image.id);
  const { signal } = new AbortController();

  const prepare = async (held: AsyncDisposableStack) => {
    const steps: StepName[] = [];
    const observer: Observer = {
      step: (name, work) => {
        steps.push(name);
        return work(() => undefined);
      },
      note: () => undefined,
    };
    const tools = { engine, cacheRoot, registry: 'embedded', observer, held, signal } as const;
    return { path: await prepareArtifact(smolvm, image, tools), steps };
  };
  {
    await using held = new AsyncDisposableStack();
    const first = await prepare(held);
    assert.ok(first.steps.includes('pack'), first.steps.join());
    assert.equal(first.path, cache.entryPath('smolmachine', key));
    const again = await prepare(held);
    assert.deepEqual([again.path, again.steps], [first.path, ['inspect']]);
    assert.ok(await cache.isHeld(key));
  }
  assert.ok(!(await cache.isHeld(key)));
  const [entry] = await cache.list();
  assert.deepEqual(entry?.record.image, { id: image.id, reference: tag });
});
