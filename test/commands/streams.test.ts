import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { explain } from '../../src/commands/failures.ts';
import { EngineMissing } from '../../src/engine/errors.ts';
import { Interrupted } from '../../src/process/errors.ts';
import { run } from '../../src/process/run.ts';

// What a closed pipe, a closed terminal and an error upon an error do to a command.

const launcher = new URL('../../bin/launch.cjs', import.meta.url).pathname;
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'streams-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function withClosed(stream: 'stdout' | 'stderr', args: readonly string[]): Promise<number | null> {
  const child = spawn(process.execPath, [launcher, ...args], {
    env: { ...process.env, XDG_CACHE_HOME: folder, CLAUDE_BOTTLE_SMOLVM: '/nowhere' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child[stream].destroy();
  child[stream === 'stdout' ? 'stderr' : 'stdout'].resume();
  const [code] = (await once(child, 'exit')) as [number | null];
  return code;
}

test('a reader that goes away ends a command as SIGPIPE would', async () => {
  assert.equal(await withClosed('stdout', ['doctor', '--json']), 141);
});

test('a closed standard error changes no exit code', async () => {
  assert.equal(await withClosed('stderr', ['pack', '--bogus']), 2);
  assert.equal(await withClosed('stderr', ['cache', 'list']), 0);
});

test('help about what every object has is help about nothing', async () => {
  for (const name of ['constructor', 'bogus']) {
    const { code, stderr } = await run(process.execPath, [launcher, 'help', name]);
    assert.equal(code, 2);
    assert.match(stderr, /there is no command/);
  }
});

test('an error while cleaning up after an error does not hide it', () => {
  const both = new SuppressedError(
    new EngineMissing({ command: 'docker' }),
    new Interrupted({ signal: 'SIGINT' }),
  );
  const { exitCode, what, why } = explain(both);
  assert.equal(exitCode, 130);
  assert.match(what, /^interrupted/);
  assert.match(why ?? '', /Then cleaning up failed: there is no docker on this host/);
});
