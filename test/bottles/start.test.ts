import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { buildImage, House } from './house.ts';

before(buildImage);

/** A command for `start`: what a shell is to do in the bottle. */
const shell = (script: string) => ['--', 'bash', '-c', script];
const commit = 'git add -A && git -c user.name=a -c user.email=a@b commit -qm';

test('the agent’s commits come out as a branch, and nothing else is left', async () => {
  await using house = await House.build();
  const head = await house.git('rev-parse', 'HEAD');
  const { code, stdout, stderr } = await house.start(
    shell(`echo hi >new.txt; ${commit} "Say hi"; echo done`),
  );
  assert.equal(code, 0, stderr);
  assert.equal(stdout, 'done\n');
  assert.match(stderr, /gate sealed: 6 checks, \d+ ms/);
  const [branch = ''] = (
    await house.git('for-each-ref', '--format=%(refname:short)', 'refs/heads/bottle')
  ).split('\n');
  assert.match(branch, /^bottle\/agent-[0-9a-z]{5}$/);
  assert.equal(await house.git('show', `${branch}:new.txt`), 'hi');
  assert.equal(await house.git('rev-parse', `${branch}~1`), head);
  assert.equal(await house.git('status', '--porcelain'), '');
  assert.equal(await house.git('symbolic-ref', '--short', 'HEAD'), 'main');
  assert.match(stderr, new RegExp(`merge ${branch}`));
  assert.deepEqual(await house.containers(), []);
  assert.deepEqual(await readdir(join(house.path, 'run', 'claude-bottle')), []);
});

test('the exit code is the agent’s own', async () => {
  await using house = await House.build();
  assert.equal((await house.start(shell('exit 7'))).code, 7);
  assert.equal((await house.start(shell('kill -9 $$'))).code, 137);
});

test('the streams are the agent’s own, and standard input reaches it', async () => {
  await using house = await House.build();
  const { stdout, stderr } = await house.start(shell('read line; echo "got $line"; echo aside >&2'), {
    input: 'a line\n',
  });
  assert.equal(stdout, 'got a line\n');
  assert.match(stderr, /^aside$/m);
});

test('the agent is the image’s user, in a workspace that is its own', async () => {
  await using house = await House.build();
  const { stdout, stderr } = await house.start(
    shell(
      'id -un; echo "$HOME"; pwd; stat -c %U . README.md .git; git status --porcelain; git log --oneline | wc -l',
    ),
  );
  assert.equal(stdout, 'agent\n/home/agent\n/workspace\nagent\nagent\nagent\n1\n', stderr);
});

test('the system prompt is in the bottle, for its user to read and not to change', async () => {
  await using house = await House.build();
  await house.define('agents', 'told', '---\ntemplate: shell\n---\nBe brief, größer.\n');
  const { stdout, stderr } = await house.start([
    'told',
    ...shell(
      'cd /etc/claude-bottle && cat system-prompt.md && echo && stat -c "%U:%G %a" . system-prompt.md; echo x >>system-prompt.md || echo refused',
    ),
  ]);
  assert.equal(stdout, 'Be brief, größer.\nroot:root 755\nroot:root 644\nrefused\n', stderr);
});

test('variables of a definition reach the agent, and no other variable of this host does', async () => {
  await using house = await House.build();
  await house.define('bottles', 'dev', '---\nenv:\n  TOKEN: ${HOST_TOKEN}\n  PLAIN: text\n---\n');
  const secret = 'a-very-secret-value';
  const { stdout, stderr, code } = await house.start(
    ['--bottle=dev', '--env=NAMED', ...shell('echo "$TOKEN $PLAIN $NAMED"; env | grep -c STRAY')],
    { env: { HOST_TOKEN: secret, NAMED: 'named', STRAY: 'stray' } },
  );
  assert.equal(stdout, `${secret} text named\n0\n`, stderr);
  assert.equal(code, 1);
  assert.ok(!stderr.includes(secret));
  assert.ok(!JSON.stringify(await house.list('--all')).includes(secret));
  for (const { slug } of await house.list('--all')) {
    const record = await readFile(
      join(house.path, 'state/claude-bottle/bottles', String(slug), 'bottle.json'),
      'utf8',
    );
    assert.ok(!record.includes(secret));
  }
});

test('uncommitted changes stay out unless asked for, and the plan says which', async () => {
  await using house = await House.build();
  await house.write('README.md', 'Changed.\n');
  await house.write('untracked.txt', 'new\n');
  const show = shell('cat README.md; ls');
  const clean = await house.start(show);
  assert.equal(clean.stdout, 'A repository.\nREADME.md\n');
  assert.match(clean.stderr, /without 1 changed and 1 untracked \(README\.md, untracked\.txt\): --dirty/);
  const dirty = await house.start(['--dirty', ...show]);
  assert.equal(dirty.stdout, 'Changed.\nREADME.md\nuntracked.txt\n');
});

test('a bottle with work that is not committed is kept, and collect takes all of it', async () => {
  await using house = await House.build();
  const first = await house.start(shell('echo precious >notes.txt'));
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stderr, /is kept: 1 file/);
  const [kept] = await house.list();
  assert.equal(kept?.['status'], 'exited');
  const slug = String(kept['slug']);
  const { code, stderr } = await house.bottle(['collect', slug, '--uncommitted']);
  assert.equal(code, 0, stderr);
  assert.equal(await house.git('show', `bottle/${slug}:notes.txt`), 'precious');
  assert.deepEqual(await house.list(), []);
  assert.deepEqual(await house.containers(), []);
});

test('--uncommitted takes it out at the end, and --no-workspace and --copy take what they say', async () => {
  await using house = await House.build();
  const { code, stderr } = await house.start(['--uncommitted', ...shell('echo x >loose.txt')]);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /bottle\/agent-\w{5}.*1 commit, 1 file/);
  const none = await house.start(['--no-workspace', ...shell('pwd; ls -A /workspace | wc -l')]);
  assert.equal(none.stdout, '/\n0\n');
});

test('a command that the image does not have is told, with exit code 4', async () => {
  await using house = await House.build();
  const { code, stderr } = await house.start(['--', 'no-such-program']);
  assert.equal(code, 4);
  assert.match(stderr, /error: there is no "no-such-program" in the image/);
  assert.deepEqual(await house.list(), []);
});

test('in the background a bottle goes on: list, exec, logs, attach by name, stop', async () => {
  await using house = await House.build();
  const { code, stdout, stderr } = await house.start(
    ['--detach', '--env=NAMED', ...shell('echo started; while :; do sleep 0.1; done')],
    { env: { NAMED: 'value' } },
  );
  assert.equal(code, 0, stderr);
  const slug = stdout.trim();
  const [row] = await house.list();
  assert.equal(row?.['slug'], slug);
  assert.equal(row['status'], 'running');
  const inside = await house.bottle([
    'exec',
    slug,
    '--',
    'bash',
    '-c',
    'echo "$NAMED $(id -un) $PWD"; exit 3',
  ]);
  assert.equal(inside.stdout, 'value agent /workspace\n', inside.stderr);
  assert.equal(inside.code, 3);
  assert.match((await house.bottle(['logs', slug])).stdout, /started/);
  const stopped = await house.bottle(['stop', slug, '--grace=1s']);
  assert.equal(stopped.code, 0, stopped.stderr);
  assert.deepEqual(await house.list(), []);
  assert.deepEqual(await house.containers(), []);
});

test('the gate answers for what is allowed, refuses the rest readably, and changes while it runs', async () => {
  await using house = await House.build();
  const server = createServer((_, answer) => answer.end('from outside\n')).listen(0, '127.0.0.2');
  await using _server = { [Symbol.asyncDispose]: async () => void server.close() };
  await once(server, 'listening');
  const port = (server.address() as { port: number }).port;
  const started = await house.start(['--detach', ...shell('sleep 300')]);
  const slug = started.stdout.trim();
  const fetch = () => house.bottle(['exec', slug, '--', 'curl', '-sS', `http://127.0.0.2:${port}/`]);
  const refused = await fetch();
  assert.match(refused.stdout, /policy/);
  assert.match(refused.stdout, /claude-bottle allow/);
  const allowed = await house.bottle(['allow', slug, `127.0.0.2:${port}`]);
  assert.equal(allowed.code, 0, allowed.stderr);
  assert.equal((await fetch()).stdout, 'from outside\n');
  await house.bottle(['deny', slug, `127.0.0.2:${port}`]);
  assert.match((await fetch()).stdout, /policy/);
  const log = await house.bottle(['logs', slug, '--gate', '--json']);
  const decisions = log.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string; decision: string })
    .filter(({ event }) => event === 'request')
    .map(({ decision }) => decision);
  assert.deepEqual(decisions.slice(-3), ['deny', 'allow', 'deny']);
  await house.bottle(['stop', slug, '--grace=1s']);
});

test('a repository that lets no question about it be answered holds the end for seconds, and the work is kept', async () => {
  await using house = await House.build();
  const began = performance.now();
  const { code, stderr } = await house.start(shell('echo work >new.txt; rm .git/HEAD; mkfifo .git/HEAD'));
  assert.equal(code, 4, stderr);
  assert.match(stderr, /is kept: its work could not be taken out/);
  assert.match(stderr, /git did not end within 15(?:\.0)? s/);
  assert.ok(performance.now() - began < 60_000);
});

test('work that is too large is refused with the way to take it, and stays in the bottle', async () => {
  await using house = await House.build();
  const started = await house.start([
    '--detach',
    ...shell(`head -c 3000000 /dev/urandom >large; ${commit} Large; touch /tmp/done; sleep 300`),
  ]);
  const slug = started.stdout.trim();
  await house.bottle(['exec', slug, '--', 'bash', '-c', 'until [ -e /tmp/done ]; do sleep 0.1; done']);
  const bad = await house.bottle(['collect', slug, '--max-size=lots']);
  assert.equal(bad.code, 2, bad.stderr);
  const refused = await house.bottle(['collect', slug, '--max-size=1M']);
  assert.equal(refused.code, 4, refused.stderr);
  assert.match(refused.stderr, /larger than the 1 MB that are taken/);
  assert.match(refused.stderr, new RegExp(`claude-bottle collect ${slug} --max-size 10G`));
  assert.equal(await house.git('for-each-ref', 'refs/heads/bottle'), '');
  const taken = await house.bottle(['collect', slug, '--max-size=10M']);
  assert.equal(taken.code, 0, taken.stderr);
  assert.equal((await house.git('cat-file', '-s', `bottle/${slug}:large`)).trim(), '3000000');
});
