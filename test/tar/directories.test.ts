import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { directoriesTar } from '../../src/tar/directories.ts';
import { temporary } from './archive.ts';

test('a tar of directories makes each in the one before it, also with long names and others than ASCII', async () => {
  using place = temporary();
  const names = ['a b', 'Wörtchen', 'n'.repeat(200)];
  execFileSync('tar', ['-xpf', '-', '-C', place.path], { input: await buffer(directoriesTar(names)) });
  for (const depth of names.keys()) {
    const { mode, mtimeMs } = lstatSync(join(place.path, ...names.slice(0, depth + 1)));
    assert.equal(mode & 0o7777, 0o755);
    assert.ok(Math.abs(Date.now() - mtimeMs) < 60_000);
  }
});
