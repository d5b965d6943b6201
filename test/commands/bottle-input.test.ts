import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run, type RunOptions } from '../../src/process/run.ts';
import { buildImage, House, image } from '../bottles/house.ts';

/** One static program and nothing else. */
const bare = 'claude-bottle-test:bare';
const init = fileURLToPath(new URL('../../guest/dist/bottle-init-amd64', import.meta.url));
let house: House;

before(async () => {
  await buildImage();
  const context = await mkdtemp(join(tmpdir(), 'cb-'));
  await copyFile(init, join(context, 'prog'));
  await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY prog /prog\n');
  const built = await run('docker', ['build', '--quiet', `--tag=${bare}`, context], {
    env: { DOCKER_BUILDKIT: '0' },
  });
  await rm(context, { recursive: true });
  assert.equal(built.code, 0, built.stderr);
  house = await House.build();
  await house.define('bottles', 'node', '---\negress:\n  allow: [registry.example]\n---\n');
});
after(() => house[Symbol.asyncDispose]());

interface Case {
  readonly args: readonly string[];
  readonly code: number;
  readonly says: readonly RegExp[];
  readonly options?: RunOptions;
  readonly neverSays?: RegExp;
}

/** What cannot work ends with its exit code and its words, and leaves nothing. */
async function refuses(at: House, { args, code, says, options, neverSays }: Case): Promise<void> {
  const result = await at.bottle(args, { input: '', ...options });
  assert.equal(result.code, code, result.stderr);
  assert.equal(result.stdout, '');
  for (const text of says) assert.match(result.stderr, text);
  assert.doesNotMatch(result.stderr, /a bug in claude-bottle|\n\s+at .*\.ts:/);
  if (neverSays !== undefined) assert.doesNotMatch(result.stderr, neverSays);
  await leftNothing(at);
}

async function leftNothing(at: House): Promise<void> {
  assert.deepEqual(await at.containers(), []);
  assert.deepEqual(await readdir(join(at.path, 'run/claude-bottle')).catch(() => []), []);
  // One that came as far as its command is remembered as ended, with its gate's log; no other is.
  const bottles = join(at.path, 'state/claude-bottle/bottles');
  for (const slug of await readdir(bottles).catch(() => [])) {
    const record = await readFile(join(bottles, slug, 'bottle.json'), 'utf8');
    assert.match(record, /"phase": "ended"/);
  }
}

const start = (...args: string[]) => ['start', '--yes', `--image=${image}`, ...args];
const sh = ['--', 'bash', '-c', 'true'];

describe('what a command line says wrong is told with the way out, and nothing is left', () => {
  const table: Record<string, Case> = {
    'an unknown agent': {
      args: start('claud', ...sh),
      code: 2,
      says: [/no agent claud \(did you mean claude\?\)/, /claude-bottle init --name claud/],
    },
    'an unknown bottle': {
      args: start('--bottle=nod', ...sh),
      code: 2,
      says: [/no bottle nod \(did you mean node\?\)/, /There are node\./, /claude-bottle init --name nod/],
    },
    'an unknown command': {
      args: ['strat'],
      code: 2,
      says: [/did you mean start\?/, /claude-bottle --help/],
    },
    'an unknown flag': {
      args: start('--dirt', ...sh),
      code: 2,
      says: [/unknown option '--dirt'.*--dirty/, /claude-bottle start --help/],
    },
    'a command without --': {
      args: start('claude', 'bash'),
      code: 2,
      says: [/"bash" is one word too many; a command goes after --/],
    },
    '--prompt without --headless': {
      args: start('--prompt', 'a prompt', ...sh),
      code: 2,
      says: [/--prompt goes with --headless/],
      neverSays: /a prompt/,
    },
    '--headless without anything to do': {
      args: start('claude', '--headless'),
      code: 2,
      says: [/--prompt TEXT/],
    },
    '--image with --dockerfile': {
      args: start('--dockerfile=Dockerfile', ...sh),
      code: 2,
      says: [/--image names an image that exists, so --dockerfile has nothing to build/],
    },
    '--copy with --no-workspace': {
      args: start('--copy', '--no-workspace', ...sh),
      code: 2,
      says: [/exclude/],
    },
    '--json without what it goes with': {
      args: start('--json', ...sh),
      code: 2,
      says: [/--dry-run or --detach/],
    },
    'a rule for everything': {
      args: start('--allow=*', ...sh),
      code: 2,
      says: [/"?\*"?/, /--i-know/],
    },
    'a host that is none': { args: start('--allow=ht tp://x', ...sh), code: 2, says: [/ht tp/] },
    'a preset that is none': { args: start('--preset=nmp', ...sh), code: 2, says: [/nmp/, /npm/] },
    'no memory': { args: start('--memory=lots', ...sh), code: 2, says: [/--memory/, /512M or 4G/] },
    'negative cores': { args: start('--cpus=-1', ...sh), code: 2, says: [/--cpus/, /above zero/] },
    'half a process': { args: start('--pids=1.5', ...sh), code: 2, says: [/--pids/, /whole number/] },
    'a mount without a path': {
      args: start('--mount=:/x', ...sh),
      code: 2,
      says: [/--mount/, /PATH\[:TARGET\]/],
    },
    'a mount of nothing': {
      args: start('--mount=/no/such/path', ...sh),
      code: 2,
      says: [/\/no\/such\/path/],
    },
    'a value on the command line': {
      args: start('--env=TOKEN=hunter2', ...sh),
      code: 2,
      says: [/--env cannot be "TOKEN"/, /others/],
      neverSays: /hunter2/,
    },
    'a variable that is not set here': {
      args: start('--env=NOT_SET_ANYWHERE', ...sh),
      code: 3,
      says: [/NOT_SET_ANYWHERE/],
    },
    'a build argument that is not set': {
      args: start('--build-arg=NOT_SET_ANYWHERE', ...sh),
      code: 2,
      says: [/NAME=VALUE/],
    },
    'a runtime that the engine has not': {
      args: start('--runtime=rumsc', ...sh),
      code: 3,
      says: [/no runtime rumsc/, /It has: .*runc/],
    },
    'an image that the engine has not': {
      args: ['start', '--yes', '--image=no-such-image:1', ...sh],
      code: 2,
      says: [/no image no-such-image:1/, /docker pull no-such-image:1/],
    },
    'an image that cannot be named so': {
      args: ['start', '--yes', '--image=NOT AN IMAGE', ...sh],
      code: 2,
      says: [/NOT AN IMAGE/],
    },
    'no terminal and no --yes': {
      args: ['start', `--image=${image}`, ...sh],
      code: 2,
      says: [/no terminal to ask on: start\?/, /--yes/],
    },
    'no Dockerfile and no agent': {
      args: ['start', '--yes', '--', 'bash'],
      code: 2,
      says: [/no Dockerfile at/, /--dockerfile/, /--image/],
    },
    'a Dockerfile that is not there': {
      args: ['start', '--yes', '--dockerfile=Nowhere', ...sh],
      code: 2,
      says: [/no Dockerfile at .*Nowhere/],
    },
    'a command that is no program': {
      args: start('--', '/etc/passwd'),
      code: 4,
      says: [/"\/etc\/passwd" cannot be executed in the image/],
    },
    'a user that the image has not': {
      args: start('--user=nobody-here', ...sh),
      code: 2,
      says: [/nobody can run as "nobody-here"/, /useradd/],
    },
    'an image without a shell': {
      args: ['start', '--yes', `--image=${bare}`, '--', 'sh'],
      code: 4,
      says: [/there is no "sh" in the image claude-bottle-test:bare/],
    },
    'an engine that is not there': {
      args: start(...sh),
      code: 3,
      says: [/no no-such-engine on this host/, /install Docker Engine/],
      options: { env: { CLAUDE_BOTTLE_ENGINE: 'no-such-engine' } },
    },
    'an engine that does not answer': {
      args: start(...sh),
      code: 3,
      says: [/no engine answers at unix:\/\/\/nonexistent/, /systemctl start docker/],
      options: { env: { DOCKER_HOST: 'unix:///nonexistent' } },
    },
  };
  for (const [name, each] of Object.entries(table)) test(name, () => refuses(house, each));
});

describe('a definition that cannot be used is told by its line', () => {
  const table: Record<string, { text: string; code: number; says: RegExp[]; neverSays?: RegExp }> = {
    'broken YAML': {
      text: '---\nenv: [\n---\n',
      code: 2,
      says: [/broken\.md cannot be used/, /broken\.md:[23]: /],
    },
    'an unknown key': {
      text: '---\nenv: {}\negres: {}\n---\n',
      code: 2,
      says: [/broken\.md:3: .*egres.*egress/],
    },
    'variables that are not set': {
      text: '---\nenv:\n  A: ${MISSING_ONE}\n  B: ${MISSING_TWO}\n  C: literal-value\n---\n',
      code: 3,
      says: [/A is taken from MISSING_ONE\n.*B is taken from MISSING_TWO/, /set MISSING_ONE, MISSING_TWO/],
      neverSays: /literal-value/,
    },
    'a variable to be asked for, and nobody to ask': {
      text: '---\nenv:\n  PASS: "?the passphrase"\n---\n',
      code: 2,
      says: [/no terminal to ask on: the passphrase/, /--env PASS/],
    },
  };
  for (const [name, { text, ...rest }] of Object.entries(table)) {
    test(name, async () => {
      await house.define('bottles', 'broken', text);
      await refuses(house, { args: start('--bottle=broken', ...sh), ...rest });
      await rm(join(house.home, '.claude-bottle/bottles/broken.md'));
    });
  }
});

describe('where no work could come back to, that is told before anything is made', () => {
  test('a folder that is no repository', async () => {
    const cwd = join(house.path, 'folder');
    await mkdir(cwd, { recursive: true });
    await refuses(house, {
      args: start(...sh),
      code: 2,
      says: [/not in a git repository/, /--copy/],
      options: { cwd },
    });
  });

  test('a repository without a commit', async () => {
    const cwd = join(house.path, 'unborn');
    await house.git('init', '--quiet', cwd);
    await refuses(house, {
      args: start(...sh),
      code: 2,
      says: [/has no commit yet/, /--copy/],
      options: { cwd },
    });
  });

  test('a Dockerfile that does not build', async () => {
    await house.write('Broken', `FROM ${image}\nRUN echo the words of the step && exit 3\n`);
    await refuses(house, {
      args: ['start', '--yes', '--dockerfile=Broken', ...sh],
      code: 2,
      says: [/building .*Broken failed at step 2.*: .*RUN/, /the words of the step/, /--verbose/],
    });
    await rm(join(house.repository, 'Broken'));
  });
});

describe('places that cannot be used are named, with the variable that chooses others', () => {
  const places = (name: string, path: string, says: RegExp[], code = 3) =>
    refuses(house, { args: start(...sh), code, says, options: { env: { [name]: path } } });

  test('state that others may write to', async () => {
    const path = join(house.path, 'open');
    await mkdir(join(path, 'claude-bottle'), { recursive: true });
    await chmod(join(path, 'claude-bottle'), 0o777);
    await places('XDG_STATE_HOME', path, [/others may write to it/, /XDG_STATE_HOME=/]);
  });

  test('a place that is a file', async () => {
    const path = join(house.path, 'file');
    await writeFile(path, '');
    await places('XDG_STATE_HOME', path, [/ENOTDIR/, /XDG_STATE_HOME=/]);
    await places('XDG_RUNTIME_DIR', path, [/ENOTDIR/, /XDG_RUNTIME_DIR=/]);
  });

  test('a place where nothing can be made', async () => {
    await places('XDG_STATE_HOME', '/proc/self', [/ENOENT|EACCES|EPERM/, /XDG_STATE_HOME=/]);
  });

  test('a path that is too long for a socket', async () => {
    const path = join(house.path, 'x'.repeat(120));
    await mkdir(path);
    await places(
      'XDG_RUNTIME_DIR',
      path,
      [/no socket can be made|bottles cannot be kept/, /107 bytes/, /XDG_RUNTIME_DIR=/],
      4,
    );
    assert.deepEqual(await readdir(join(path, 'claude-bottle')).catch(() => []), []);
  });
});

describe('a bottle that is not there is told by every command, with those that are', () => {
  const commands: Record<string, readonly string[]> = {
    attach: ['gone-aaaaa'],
    exec: ['gone-aaaaa', '--', 'true'],
    logs: ['gone-aaaaa'],
    'logs --gate': ['gone-aaaaa'],
    collect: ['gone-aaaaa'],
    stop: ['gone-aaaaa'],
    allow: ['gone-aaaaa', 'a.example'],
    deny: ['gone-aaaaa', 'a.example'],
  };
  for (const [name, args] of Object.entries(commands)) {
    test(name, () =>
      refuses(house, {
        args: [...name.split(' '), ...args],
        code: 2,
        says: [/there is no bottle gone-aaaaa/, /claude-bottle list/],
      }),
    );
  }
  for (const name of ['attach', 'logs', 'collect', 'allow a.example']) {
    test(`${name} without a name, and nothing runs`, () =>
      refuses(house, {
        args: name.split(' '),
        code: 2,
        says: [/no bottle is running/, /claude-bottle list/],
      }));
  }
  test('stop without a name', () => refuses(house, { args: ['stop'], code: 2, says: [/--all/] }));
});

test('an image without a shell or git runs its own program', async () => {
  const args = ['start', '--yes', `--image=${bare}`, '--', '/prog', '--version'];
  const { code, stdout, stderr } = await house.bottle(args);
  assert.equal(stdout, 'bottle-init 3\n', stderr);
  assert.equal(code, 0, stderr);
  assert.deepEqual(await house.containers(), []);
});
