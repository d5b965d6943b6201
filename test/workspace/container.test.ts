import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { stream } from '../../src/process/run.ts';
import { collectWork } from '../../src/workspace/collect.ts';
import { inspectWorkspace } from '../../src/workspace/inspect.ts';
import type { Place } from '../../src/workspace/place.ts';
import { stageWorkspace } from '../../src/workspace/stage.ts';
import { git, repository, temporary } from './repository.ts';

const image = 'debian:bookworm-slim';
const hasImage = spawnSync('docker', ['image', 'inspect', image]).status === 0;

test(
  'into and out of a container whose image has no git, as its user',
  { skip: hasImage ? false : `there is no docker with ${image}` },
  async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source, { 'a.txt': 'a\n', 'deep/b.txt': 'b\n' });
    const scratchDirectory = join(directory.path, 'scratch');
    mkdirSync(scratchDirectory);
    const workspace = await inspectWorkspace(source);
    const account = { uid: 1234, gid: 2345 };
    const staged = await stageWorkspace(workspace, { dirty: false, scratchDirectory, account });
    const run = ['run', '-d', '--network', 'none', '--user', '1234:2345', image, 'sleep', '300'];
    const id = execFileSync('docker', run).toString().trim();
    using _container = { [Symbol.dispose]: () => execFileSync('docker', ['rm', '-f', id]) };

    const into = spawn('docker', ['cp', '-', `${id}:/`], { stdio: ['pipe', 'inherit', 'inherit'] });
    const ended = new Promise((resolve) => into.once('close', resolve));
    await pipeline(staged.tar(), into.stdin);
    assert.equal(await ended, 0);
    const inside = (script: string) => execFileSync('docker', ['exec', id, 'sh', '-c', script]).toString();
    assert.equal(
      inside('stat -c %u:%g /workspace /workspace/.git/config /workspace/deep/b.txt'),
      '1234:2345\n'.repeat(3),
    );
    inside('cd /workspace && echo more >> a.txt && mkdir new && echo x > new/x && ln -s /etc/shadow link');

    const place: Place = {
      exec: async (argv) => {
        const done = spawnSync('docker', ['exec', id, ...argv]);
        return { code: done.status ?? 1, stdout: done.stdout.toString(), stderr: done.stderr.toString() };
      },
      stream: (argv) => stream('docker', ['exec', id, ...argv]),
      copyOut: async (path) => stream('docker', ['cp', `${id}:${path}`, '-']),
    };
    const options = { slug: 'demo', workspace, base: staged.base, uncommitted: true, scratchDirectory };
    const collected = await collectWork(place, options);
    assert.equal(collected.branch, 'bottle/demo');
    assert.equal(collected.filesBecause, 'no-git');
    assert.deepEqual(
      collected.files?.map(({ path, status }) => `${status} ${path}`),
      ['modified a.txt', 'added link', 'added new/x'],
    );
    assert.deepEqual(collected.linksOut, [{ path: 'link', target: '/etc/shadow' }]);
    assert.equal(git(source, 'show', 'bottle/demo:a.txt'), 'a\nmore');
  },
);
