import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { buildImage, House, image } from '../bottles/house.ts';
import { OwnEngine } from './own-engine.ts';

const work = 'echo new >new && git add new && git commit --quiet --message=Work && echo committed; sleep 600';

test('an engine that goes while a bottle runs is told, and the work comes out when it is back', async () => {
  await buildImage();
  const folder = await mkdtemp(join(tmpdir(), 'cb-engine-'));
  await using _folder = {
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true, maxRetries: 3 }),
  };
  await using house = await House.build();
  await using engine = new OwnEngine(join(folder, 'engine'));
  await engine.start();
  Object.assign(house.env, { DOCKER_HOST: engine.host });
  const archive = join(folder, 'image.tar');
  assert.equal((await run('docker', ['save', `--output=${archive}`, image])).code, 0);
  const loaded = await run('docker', ['load', '--quiet', `--input=${archive}`], { env: house.env });
  assert.equal(loaded.code, 0, loaded.stderr);

  const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'sh', '-c', work]);
  const gone = once(child, 'exit');
  const told = text(child.stderr!);
  let printed = '';
  for await (const chunk of child.stdout!) if ((printed += String(chunk)).includes('committed')) break;
  await engine.kill();
  const [code] = (await gone) as [number | null];
  const stderr = await told;
  assert.ok(code === 3 || code === 4, `exit ${code}: ${stderr}`);
  assert.match(stderr, /error: /);
  assert.doesNotMatch(stderr, /a bug in claude-bottle/);
  console.log(
    `faults: engine gone while a bottle ran: exit ${code}, ${stderr.split('\n').find((line) => line.startsWith('error'))}`,
  );

  await engine.start();
  const next = await house.bottle(['list', '--json']);
  assert.equal(next.code, 0, next.stderr);
  const branches = await house.git('for-each-ref', '--format=%(refname:short)', 'refs/heads/bottle');
  assert.equal(await house.git('log', '-1', '--format=%s', branches), 'Work');
  const containers = await run('docker', ['ps', '--all', '--quiet'], { env: house.env });
  assert.equal(containers.stdout, '', 'no container is left in the engine');
});
