import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { presetNames } from '../../src/gate/presets/presets.ts';
import { loadDefinitions } from '../../src/definitions/load.ts';
import { run } from '../../src/process/run.ts';

const init = new URL('./init.ts', import.meta.url).pathname;
const builtIn = ['claude', 'codex', 'shell', 'demo'];
let folder: string;
let home: string;
let repository: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'init-'));
});
after(() => rm(folder, { recursive: true, force: true }));

/** A home that has nothing, and a repository called `My Project`. */
async function fresh(withDockerfile = false): Promise<void> {
  const place = await mkdtemp(join(folder, 'case-'));
  home = join(place, 'home');
  repository = join(place, 'My Project');
  await mkdir(home);
  await mkdir(join(repository, '.git'), { recursive: true });
  await mkdir(join(repository, 'sub'));
  if (withDockerfile) await writeFile(join(repository, 'Dockerfile'), 'FROM scratch\n');
}

async function call(args: readonly string[], directory = repository) {
  return run(process.execPath, [init, ...args], { cwd: directory, env: { ...process.env, HOME: home } });
}

function load(agent: string) {
  return loadDefinitions({
    home,
    repository,
    directory: repository,
    agent,
    bottles: [],
    iKnow: false,
    builtIn,
    backends: [],
  });
}

test('what it writes loads without a warning, whatever is chosen', async () => {
  for (const template of builtIn) {
    for (const preset of presetNames) {
      await fresh(true);
      const { code, stderr } = await call([
        '--name',
        'x',
        '--template',
        template,
        '--preset',
        preset,
        ...(preset === 'npm' ? ['--no-dockerfile'] : ['--dockerfile', 'Dockerfile']),
      ]);
      assert.equal(code, 0, stderr);
      const { agent, bottle, warnings } = await load('x');
      assert.deepEqual(warnings, []);
      assert.deepEqual([agent.template, agent.bottles, bottle.presets], [template, ['x'], [preset]]);
      assert.match(agent.prompt, /^You work in a disposable bottle/);
      const dockerfile = preset === 'npm' ? undefined : join(repository, 'Dockerfile');
      assert.equal(bottle.image.dockerfile, dockerfile);
    }
  }
});

test('every line that is a comment would load too', async () => {
  await fresh();
  await call(['--yes', '--name', 'x']);
  for (const kind of ['agents', 'bottles']) {
    const path = join(home, '.claude-bottle', kind, 'x.md');
    const text = await readFile(path, 'utf8');
    const commented = text.replaceAll(/^( *)#(?=[a-z]|  +\S)/gm, '$1');
    await writeFile(path, commented);
  }
  const { agent, bottle, warnings } = await load('x');
  assert.deepEqual(warnings, []);
  assert.deepEqual(agent.skills, ['review']);
  assert.deepEqual(agent.gitUser, { name: 'Your Name', email: 'you@example.com' });
  assert.equal(bottle.rules.length, 3);
  assert.deepEqual(Object.keys(bottle.env), ['EDITOR', 'API_TOKEN', 'PASSPHRASE']);
  assert.deepEqual(bottle.resources, { cpus: 2, memoryBytes: 4e9, pids: 512, diskBytes: 10e9 });
  assert.equal(bottle.image.dockerfile, join(repository, 'Dockerfile'));
});

test("the files are the user's only, and their paths are the output", async () => {
  await fresh(true);
  const { stdout, code } = await call(['--yes']);
  assert.equal(code, 0);
  const files = ['agents', 'bottles'].map((kind) => join(home, '.claude-bottle', kind, 'my-project.md'));
  assert.deepEqual(stdout.trim().split('\n'), files);
  for (const file of files) assert.equal((await stat(file)).mode & 0o777, 0o600);
  for (const kind of ['.', 'agents', 'bottles']) {
    assert.equal((await stat(join(home, '.claude-bottle', kind))).mode & 0o777, 0o700);
  }
  assert.equal((await load('my-project')).bottle.image.dockerfile, join(repository, 'Dockerfile'));
});

test('from below the repository the paths are those of the repository', async () => {
  await fresh(true);
  await writeFile(join(repository, 'sub/Other "file"'), '');
  await call(['--yes', '--name', 'x'], join(repository, 'sub'));
  assert.equal((await load('x')).bottle.image.dockerfile, join(repository, 'Dockerfile'));
  await call(['--yes', '--name', 'y', '--dockerfile', 'Other "file"'], join(repository, 'sub'));
  assert.equal((await load('y')).bottle.image.dockerfile, join(repository, 'sub/Other "file"'));
});

test('nothing is overwritten, unless it is forced, and then nothing else is left', async () => {
  await fresh();
  await call(['--yes', '--name', 'x']);
  const agent = join(home, '.claude-bottle/agents/x.md');
  await writeFile(agent, 'mine');
  await rm(join(home, '.claude-bottle/bottles/x.md'));
  const refused = await call(['--yes', '--name', 'x']);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /agents\/x\.md exists already\n.*--force/s);
  assert.equal(await readFile(agent, 'utf8'), 'mine');
  assert.deepEqual(await readdir(join(home, '.claude-bottle/bottles')), []);
  assert.equal((await call(['--yes', '--name', 'x', '--force'])).code, 0);
  assert.deepEqual((await load('x')).warnings, []);
  assert.deepEqual(await readdir(join(home, '.claude-bottle/agents')), ['x.md']);
});

test('printing writes nothing', async () => {
  await fresh();
  const { stdout } = await call(['--yes', '--name', 'x', '--print']);
  assert.match(
    stdout,
    /==> ~\/\.claude-bottle\/agents\/x\.md <==\n---\n[^]*==> ~\/\.claude-bottle\/bottles\/x\.md <==\n---/,
  );
  assert.deepEqual(await readdir(home), []);
});

const wrong: readonly [string[], RegExp][] = [
  [[], /no word on --name, --template, --preset\n.*--yes/],
  [['--name', 'x', '--preset', 'none'], /no word on --template\n/],
  [['--yes', '--name', '../x'], /--name cannot be/],
  [['--yes', '--template', 'vim'], /--template.*vim.*claude, codex, shell, demo/],
  [['--yes', '--preset', 'everything'], /--preset cannot be "everything"\n.*anthropic/],
  [['--yes', '--dockerfile', 'nowhere'], /--dockerfile cannot be/],
];
for (const [args, says] of wrong) {
  test(`without a terminal: init ${args.join(' ')}`, async () => {
    await fresh();
    const { code, stderr } = await call(args);
    assert.equal(code, 2);
    assert.match(stderr, says);
    assert.deepEqual(await readdir(home), []);
  });
}

test('a Dockerfile that is there needs a word on it', async () => {
  await fresh(true);
  const { code, stderr } = await call(['--name', 'x', '--template', 'shell', '--preset', 'none']);
  assert.equal(code, 2);
  assert.match(stderr, /no word on --dockerfile or --no-dockerfile/);
});

/** Types each line when its question is there. */
async function type(lines: readonly (readonly [question: string, keys: string])[]) {
  const child = spawn('script', ['-qfec', `'${process.execPath}' '${init}'`, '/dev/null'], {
    cwd: repository,
    env: { ...process.env, HOME: home, SHELL: '/bin/sh' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const waiting = [...lines];
  let shown = '';
  let seen = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
    for (const [question, keys] of lines.slice(lines.length - waiting.length)) {
      const at = shown.indexOf(question, seen);
      if (at < 0) return;
      seen = at + question.length;
      waiting.shift();
      child.stdin.write(keys);
    }
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, shown, unasked: waiting.map(([question]) => question) };
}

test('at a terminal it asks, and asks again what cannot be', async () => {
  await fresh(true);
  const { code, shown, unasked } = await type([
    ['[my-project]: ', 'No Name\r'],
    ['please', ''],
    ['[my-project]: ', 'mine\r'],
    ['[claude]: ', '9\r'],
    ['from the list', ''],
    ['[claude]: ', '2\r'],
    ['[openai]: ', 'npm everything\r'],
    ['there is no everything', ''],
    ['[openai]: ', 'openai npm\r'],
    ['[Y/n] ', 'n\r'],
  ]);
  assert.deepEqual([code, unasked], [0, []], shown);
  const { agent, bottle } = await load('mine');
  assert.deepEqual(
    [agent.template, bottle.presets, bottle.image],
    ['codex', ['openai', 'npm'], { buildArgs: {} }],
  );
});

test('Ctrl-C and Ctrl-D end it, and nothing is written', async () => {
  for (const key of ['\x03', '\x04']) {
    await fresh();
    const { code, shown } = await type([
      ['[my-project]: ', '\r'],
      ['[claude]: ', key],
    ]);
    assert.equal(code, 130, shown);
    assert.deepEqual(await readdir(home), []);
  }
});
