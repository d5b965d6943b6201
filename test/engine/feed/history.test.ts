import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { SourceHistory } from '../../../src/engine/feed/history.ts';
import { temporaryDirectory } from '../../oci/temporary.ts';

const image = (digit: string) => `sha256:${digit.repeat(64)}` as const;

async function temporaryHistory() {
  const directory = await temporaryDirectory();
  const root = join(directory.path, 'sources');
  return {
    root,
    history: new SourceHistory(root, directory.path),
    path: directory.path,
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

test('a source counts its changes; the same image again is none, and sources are apart', async () => {
  await using temporary = await temporaryHistory();
  const { history } = temporary;
  const counts = [];
  for (const digit of ['1', '1', '2', '2', '3']) counts.push(await history.note(['a', 'b'], image(digit)));
  assert.deepEqual(counts, [1, 1, 2, 2, 3]);
  assert.equal(await history.note(['ab'], image('1')), 1);
  assert.equal(await history.note(['a', 'b', ''], image('1')), 1);
  assert.equal(await new SourceHistory(temporary.root, temporary.path).note(['a', 'b'], image('3')), 3);
});

test('a damaged memory is forgotten, one that cannot be written is done without, and nothing half-written stays', async () => {
  await using temporary = await temporaryHistory();
  const { history, root, path } = temporary;
  await history.note(['a'], image('1'));
  const [name = ''] = await readdir(root);
  await writeFile(join(root, name), '{"format":1,"ima');
  assert.equal(await history.note(['a'], image('2')), 1);
  assert.deepEqual(await readdir(root), [name]);
  assert.deepEqual(await readdir(path), ['sources']);
  await writeFile(join(path, 'file'), '');
  assert.equal(await new SourceHistory(join(path, 'file/below'), path).note(['a'], image('1')), 1);
  await mkdir(join(path, 'elsewhere'));
  assert.equal(
    await new SourceHistory(join(path, 'elsewhere'), join(path, 'absent')).note(['a'], image('1')),
    1,
  );
  assert.deepEqual(await readdir(join(path, 'elsewhere')), []);
});
