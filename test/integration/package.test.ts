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
    'examples',
    'guest',
    'package.json',
  ]);
  const guest = await readdir(join(folder, 'node_modules/claude-bottle/guest'), { recursive: true });
  assert.deepEqual(guest.sort(), ['dist', 'dist/bottle-init-amd64', 'dist/bottle-init-arm64']);
});

test('the package brings a first process for both kinds of machine, byte for byte the one that is vouched for', async () => {
  const sums = join(root, 'guest/SHA256SUMS');
  const cwd = join(folder, 'node_modules/claude-bottle/guest/dist');
  const checked = await run('sh', ['-c', 'grep -v "^#" "$0" | sha256sum --check --strict -', sums], { cwd });
  assert.equal(checked.stdout, 'bottle-init-amd64: OK\nbottle-init-arm64: OK\n', checked.stderr);
  const script = 'import("./init-program.js").then((m) => m.initProgram()).then(console.log)';
  const where = { cwd: join(folder, 'node_modules/claude-bottle/dist/bottles'), env };
  const found = await run(process.execPath, ['-e', script], where);
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  assert.equal(found.stdout, `${join(cwd, `bottle-init-${architecture}`)}\n`, found.stderr);
  const ran = await run(found.stdout.trim(), ['--version']);
  assert.match(ran.stdout, /^bottle-init \d+\n$/, ran.stderr);
});

test('an installed package brings its three dependencies and no more', async () => {
  const names = (await readdir(join(folder, 'node_modules'))).filter((name) => !name.startsWith('.'));
  assert.deepEqual(names.sort(), ['claude-bottle', 'commander', 'valibot', 'yaml']);
});
