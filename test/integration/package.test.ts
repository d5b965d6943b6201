import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../../src/process/run.ts';

const root = new URL('../../', import.meta.url).pathname;
const { version } = JSON.parse(
  await (await import('node:fs/promises')).readFile(join(root, 'package.json'), 'utf8'),
) as {
  version: string;
};
// The Node that runs this test must be the one that npm and the installed command find.
const env = { PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` };
let folder: string;
let installed: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'package-'));
  const packed = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root, env });
  assert.equal(packed.code, 0, packed.stderr);
  const tarball = (await readdir(folder)).find((name) => name.endsWith('.tgz'))!;
  await writeFile(join(folder, 'package.json'), '{"private":true}');
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const install = await run('npm', ['install', ...options, `./${tarball}`], { cwd: folder, env });
  assert.equal(install.code, 0, install.stderr);
  installed = join(folder, 'node_modules/.bin/claude-bottle');
});
after(() => rm(folder, { recursive: true, force: true }));

test('the packed package runs where nothing but npm has been', async () => {
  const { code, stdout, stderr } = await run(installed, ['--version'], { env, cwd: folder });
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: `${version}\n`, stderr: '' });
});

test('every command of the packed package loads and explains itself', async () => {
  for (const command of ['pack', 'cache', 'doctor']) {
    const { code, stdout } = await run(installed, [command, '--help'], { env, cwd: folder });
    assert.equal(code, 0, command);
    assert.match(stdout, new RegExp(`^Usage: claude-bottle ${command}`));
  }
});

test('the package holds what is built, and neither sources nor tests', async () => {
  const names = await readdir(join(folder, 'node_modules/claude-bottle'));
  assert.deepEqual(names.sort(), [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'bin',
    'dist',
    'docs',
    'package.json',
  ]);
});

test('an installed package brings its two dependencies and no more', async () => {
  const names = (await readdir(join(folder, 'node_modules'))).filter((name) => !name.startsWith('.'));
  assert.deepEqual(names.sort(), ['claude-bottle', 'commander', 'zod']);
});
