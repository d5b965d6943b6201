import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SmolvmBroken, SmolvmForeign, SmolvmMissing, SmolvmTooOld } from '../../src/smolvm/errors.ts';
import { findSmolvm } from '../../src/smolvm/find.ts';
import { formatVersion } from '../../src/smolvm/version.ts';
import { double } from './double.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-find-'));
});
after(() => rm(directory, { recursive: true }));

async function program(name: string, body: string, interpreter = '/bin/sh'): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `#!${interpreter}\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

describe('finding smolvm', () => {
  for (const version of ['0.8.0', '1.0.2', '1.5.0', '1.7.0', '1.8.1', '1.9.3']) {
    test(`takes ${version} on the PATH for what it is`, async () => {
      const env = {
        ...process.env,
        PATH: `${dirname(double)}:${process.env.PATH}`,
        FAKE_SMOLVM_VERSION: version,
      };
      const smolvm = await findSmolvm({ ...env, CLAUDE_BOTTLE_SMOLVM: '' });
      assert.equal(formatVersion(smolvm.version), version);
      assert.equal(smolvm.path, double);
      assert.equal(smolvm.can('plainLayers'), Number(version.split('.')[1]) >= 5 && version.startsWith('1'));
    });
  }

  test('prefers the one that CLAUDE_BOTTLE_SMOLVM names', async () => {
    const path = await program('other-name', `exec ${double} "$@"`);
    const found = await findSmolvm({
      ...process.env,
      PATH: `${dirname(double)}:${process.env.PATH}`,
      CLAUDE_BOTTLE_SMOLVM: path,
    });
    assert.equal(found.path, path);
  });

  test('says where it looked when there is none', async () => {
    await assert.rejects(findSmolvm({ PATH: directory }), (error) => {
      assert.ok(error instanceof SmolvmMissing);
      assert.deepEqual(error.fields, { looked: 'smolvm', configured: false });
      return true;
    });
    const named = join(directory, 'nowhere');
    await assert.rejects(findSmolvm({ PATH: dirname(double), CLAUDE_BOTTLE_SMOLVM: named }), (error) => {
      assert.ok(error instanceof SmolvmMissing);
      assert.deepEqual(error.fields, { looked: named, configured: true });
      return true;
    });
  });

  test('does not take a directory or a file without the x bit for a program', async () => {
    await writeFile(join(directory, 'smolvm'), '');
    await assert.rejects(findSmolvm({ PATH: directory }), SmolvmMissing);
    await assert.rejects(findSmolvm({ CLAUDE_BOTTLE_SMOLVM: directory }), SmolvmMissing);
    await rm(join(directory, 'smolvm'));
  });

  test("refuses CelestoAI's command of the same name, by its version line or by its subcommands", async () => {
    const worded = await program('worded', 'echo "SmolVM CLI version 0.0.9"');
    const alike = await program(
      'alike',
      'if [ "$1" = --version ]; then echo "smolvm 1.9.3"; else echo "Error: No such command \'machine\'." >&2; exit 2; fi',
    );
    for (const [path, said] of [
      [worded, 'SmolVM CLI version 0.0.9'],
      [alike, "Error: No such command 'machine'."],
    ] as const) {
      await assert.rejects(findSmolvm({ CLAUDE_BOTTLE_SMOLVM: path }), (error) => {
        assert.ok(error instanceof SmolvmForeign);
        assert.deepEqual(error.fields, { path, said });
        return true;
      });
    }
  });

  test('says which release is needed, and what for, when it is too old', async () => {
    const old = await program(
      'old',
      `if [ "$1" = --version ]; then echo "smolvm 0.7.2"; else FAKE_SMOLVM_VERSION=0.8.0 exec ${double} "$@"; fi`,
    );
    await assert.rejects(findSmolvm({ ...process.env, CLAUDE_BOTTLE_SMOLVM: old }), (error) => {
      assert.ok(error instanceof SmolvmTooOld);
      assert.equal(error.fields.found, '0.7.2');
      assert.equal(error.fields.needed, '0.8.0');
      return true;
    });
    const env = { ...process.env, CLAUDE_BOTTLE_SMOLVM: double, FAKE_SMOLVM_VERSION: '1.0.2' };
    await assert.rejects(findSmolvm(env, { needs: 'plainLayers' }), SmolvmTooOld);
  });

  test('tells a broken one from a foreign one', async () => {
    const broken = [
      await program('loader', 'echo "error while loading shared libraries: libgcc_s.so.1" >&2; exit 127'),
      await program('killed', 'kill -9 $$'),
      await program('no-interpreter', '', join(directory, 'no-such-shell')),
    ];
    for (const path of broken) {
      await assert.rejects(findSmolvm({ ...process.env, CLAUDE_BOTTLE_SMOLVM: path }), SmolvmBroken);
    }
  });
});
