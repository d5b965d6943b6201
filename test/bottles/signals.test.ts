import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { openTerminal } from '../process/tmux.ts';
import { buildImage, House, image } from './house.ts';

before(buildImage);

const commit = 'git -c user.name=a -c user.email=a@b commit -q --allow-empty -m';
const works = `${commit} Work; echo ready; sleep 300`;
const branches = (house: House) =>
  house.git('for-each-ref', '--format=%(refname:short)', 'refs/heads/bottle');

/** Resolves once the program has said it; what it has said so far is in the error when it ends without. */
function said(child: ChildProcess, text: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let all = '';
    const hear = (chunk: Buffer) => {
      all += chunk.toString();
      if (text.test(all)) resolve();
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
    child.once('close', () => reject(new Error(`it never said ${text}:\n${all}`)));
  });
}

async function endsBy(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  const ended = once(child, 'close');
  child.kill(signal);
  const [code] = (await ended) as [number | null];
  return code;
}

async function nothingIsLeft(house: House): Promise<void> {
  assert.deepEqual(await house.containers(), []);
  assert.deepEqual(await readdir(join(house.path, 'run/claude-bottle')), []);
  assert.deepEqual(await house.list(), []);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} ends a bottle that runs in good order: 130, its work is a branch, nothing is left`, async () => {
    await using house = await House.build();
    const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'bash', '-c', works]);
    let told = '';
    child.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()));
    await said(child, /^ready$/m);
    assert.equal(await endsBy(child, signal), 130);
    assert.match(
      told,
      /; its work is the branch bottle\/agent-\w{5}, and nothing else of the bottle is left\n$/,
    );
    assert.match(await branches(house), /^bottle\/agent-\w{5}$/);
    await nothingIsLeft(house);
  });
}

test('the command hears of a signal once, and its last words arrive', async () => {
  await using house = await House.build();
  const script =
    'trap "sleep 0.5; echo bye; exit 3" TERM; trap "echo hung up" HUP; echo ready; while :; do sleep 0.1; done';
  const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script]);
  let out = '';
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()));
  await said(child, /^ready$/m);
  assert.equal(await endsBy(child, 'SIGHUP'), 130);
  assert.equal(out, 'ready\nbye\n');
});

test('SIGINT while the bottle is being made leaves nothing', async () => {
  await using house = await House.build();
  const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'bash', '-c', `sleep 10; ${works}`]);
  await said(child, /variables/);
  assert.equal(await endsBy(child, 'SIGINT'), 130);
  assert.equal(await branches(house), '');
  await nothingIsLeft(house);
});

test('SIGTERM while the image is built leaves nothing', async () => {
  await using house = await House.build();
  await house.write('Dockerfile', `FROM ${image}\nRUN echo building ${Date.now()} && sleep 60\n`);
  const child = house.spawn(['start', '--yes', '--verbose', '--', 'bash']);
  await said(child, /RUN echo building/);
  assert.equal(await endsBy(child, 'SIGTERM'), 130);
  await nothingIsLeft(house);
});

test('on a terminal: Ctrl-C is the program’s, a new size reaches it, and a closed terminal ends it with its work saved', async () => {
  await using house = await House.build();
  const script = `trap 'echo caught it' INT; trap 'stty size' WINCH; ${commit} Work; echo re''ady; while :; do sleep 0.1; done`;
  {
    const args = ['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script];
    await using terminal = await openTerminal(house.line(args));
    await terminal.shows(/^ready/m);
    await terminal.type('C-c');
    await terminal.shows(/caught it/);
    assert.equal((await house.list()).length, 1);
    await terminal.tmux('resize-window', '-x', '77', '-y', '22');
    await terminal.shows(/^22 77/m);
  }
  for (;;) {
    const all = await house.list('--all');
    if (all.every(({ status }) => status === 'ended')) break;
  }
  assert.match(await branches(house), /^bottle\/agent-\w{5}$/);
  await nothingIsLeft(house);
});

test('on a terminal: Ctrl-C at the question is a no', async () => {
  await using house = await House.build();
  const line = house.line(['start', `--image=${image}`, '--', 'true']);
  await using terminal = await openTerminal(`${line}; echo "code $?"`);
  await terminal.shows(/start\?/);
  await terminal.type('C-c');
  await terminal.shows(/code 130/);
  await nothingIsLeft(house);
});

test('a bottle that a signal ended and that is kept is said to be kept, and how to get its work', async () => {
  await using house = await House.build();
  const script = 'echo precious >notes.txt; echo ready; sleep 300';
  const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script]);
  let told = '';
  child.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  await said(child, /^ready$/m);
  assert.equal(await endsBy(child, 'SIGTERM'), 130);
  const [kept] = await house.list();
  const slug = String(kept?.['slug']);
  assert.match(told, new RegExp(`error: stopped by SIGTERM; ${slug} is kept\\n.*1 file in it differs`));
  assert.match(told, new RegExp(`→ claude-bottle collect ${slug} --uncommitted\\n$`));
  assert.doesNotMatch(told, /nothing (?:else )?(?:of the bottle )?is left/);
  const { code, stderr } = await house.bottle(['collect', slug, '--uncommitted']);
  assert.equal(code, 0, stderr);
  assert.equal(await house.git('show', `bottle/${slug}:notes.txt`), 'precious');
});

test('a second signal, while the work is taken out, loses no commit', async () => {
  await using house = await House.build();
  // Git that takes its time leaves room for the signal.
  const slow = 'claude-bottle-test:slow-git';
  const made = await run('docker', ['build', '--quiet', `--tag=${slow}`, '-'], {
    input: [
      `FROM ${image}`,
      'USER root',
      String.raw`RUN printf '#!/bin/sh\nsleep 1\nexec /usr/bin/git "$@"\n' >/usr/local/bin/git && chmod 755 /usr/local/bin/git`,
      'USER agent',
    ].join('\n'),
    env: { DOCKER_BUILDKIT: '0' },
  });
  assert.equal(made.code, 0, made.stderr);
  const child = house.spawn([
    'start',
    '--yes',
    `--image=${slow}`,
    '--',
    'bash',
    '-c',
    `${commit} Work; exit 7`,
  ]);
  let told = '';
  child.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  const ended = once(child, 'close');
  const collecting = async () => {
    const [name = ''] = (await house.containers()).map((line) => line.split(' ')[0]);
    const { stdout } = await run('docker', ['top', name, '-eo', 'pid,args']);
    return stdout.includes('/usr/local/bin/git -C /workspace') ? name : undefined;
  };
  let name: string | undefined;
  while ((name = await collecting()) === undefined) assert.equal(child.exitCode, null, told);
  assert.equal((await run('docker', ['kill', '--signal=TERM', name])).code, 0);
  const [code] = (await ended) as [number | null];
  assert.equal(code, 7, told);
  assert.match(told, /bottle\/agent-\w{5}/);
  assert.equal(await house.git('log', '-1', '--format=%s', await branches(house)), 'Work');
  await nothingIsLeft(house);
});
