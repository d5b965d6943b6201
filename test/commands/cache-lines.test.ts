import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { temporary } from '../process/child.ts';
import { openCache, publishArtifact } from '../smolmachine/entries.ts';

const launcher = new URL('../../bin/launch.cjs', import.meta.url).pathname;

test('what an image is called neither steers the terminal nor looks like another line', async () => {
  await using directory = await temporary();
  const cache = await openCache(join(directory.path, 'claude-bottle'));
  await publishArtifact(cache, 'app\u001b[2J\u001b]0;title\u0007\u202e\nfake\tline\u009b1A');
  const told = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(process.execPath, [launcher, 'cache', ...args], {
      env: { ...process.env, XDG_CACHE_HOME: directory.path },
    });
    assert.equal(code, 0, stderr);
    return stdout.trimEnd().split('\n');
  };
  const lines = [...(await told('list')), ...(await told('prune', '--all'))];
  assert.equal(lines.length, 3);
  for (const line of lines) assert.doesNotMatch(line, /[\p{Cc}\u202a-\u202e]/u);
  assert.match(lines[2] ?? '', /app.*fake.*line/);
});
