import assert from 'node:assert/strict';
import { run } from '../../src/process/run.ts';
import { temporary } from '../process/child.ts';

/** A tmpfs of its own, unmounted with the test. Root ignores permission bits, but no mount option. */
export async function mounted(options: string): Promise<AsyncDisposable & { readonly path: string }> {
  const directory = await temporary();
  const { code, stderr } = await run('mount', ['-t', 'tmpfs', '-o', options, 'none', directory.path]);
  assert.equal(code, 0, stderr);
  return {
    path: directory.path,
    async [Symbol.asyncDispose]() {
      await run('umount', [directory.path]);
      await directory[Symbol.asyncDispose]();
    },
  };
}
