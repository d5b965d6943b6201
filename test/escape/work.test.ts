import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { Cage, onEvery, startOf } from './cage.ts';

const commit = 'git add -A && git -c user.name=a -c user.email=a@b commit -q -m';
const escape = '\u001b';

/** Everything that would tell of a program of the bottle's having run on the host, or of a file of the host's having come along. */
interface Aftermath {
  readonly code: number;
  readonly stderr: string;
  readonly branches: string;
  readonly house: Awaited<ReturnType<typeof Cage.house>>;
}

onEvery('hostile work', (candidate) => {
  async function work(
    script: string,
    check: (after: Aftermath) => Promise<void> | void,
    flags: readonly string[] = [],
  ) {
    await using house = await Cage.house(candidate);
    const before = await readFile(join(house.repository, '.git/config'), 'utf8');
    const args = startOf(candidate, flags, ['bash', '-c', script]);
    const { code, stderr } = await house.bottle(args, { deadlineMs: 100_000 });
    const branches = await house.git('for-each-ref', '--format=%(refname)');
    assert.ok(!stderr.includes(escape), 'no escape sequence reaches the terminal');
    assert.equal(await readFile(join(house.repository, '.git/config'), 'utf8'), before);
    assert.equal(await house.git('status', '--porcelain'), '');
    assert.deepEqual(
      (await readdir(join(house.path))).filter((name) => name.startsWith('pwned')),
      [],
    );
    await house.git('fsck', '--strict');
    await check({ code, stderr, branches, house });
  }
  const branch = (branches: string) => /refs\/heads\/bottle\/\S+/.exec(branches)?.[0];

  test('configuration, hooks, attributes and a worktree of the bottle’s run and lead nowhere on the host', async (t) => {
    await work(
      `
cd /workspace
git config core.fsmonitor 'touch /pwned; false'; git config core.sshCommand 'touch /pwned'
git config uploadpack.packObjectsHook 'touch /pwned'; git config filter.x.clean 'touch /pwned'; git config filter.x.smudge 'touch /pwned'
git config core.worktree /etc; git config --unset core.worktree
git config include.path /etc/shadow
for hook in post-checkout post-merge pre-commit reference-transaction post-update; do printf '#!/bin/sh\\ntouch /pwned-$0\\n' >.git/hooks/$hook; chmod +x .git/hooks/$hook; done
echo '* filter=x' >.gitattributes; echo hi >new; ${commit} hostile --no-verify`,
      async ({ branches, house, stderr }) => {
        const name = branch(branches);
        assert.ok(name !== undefined, stderr);
        assert.equal(await house.git('show', `${name}:new`), 'hi');
      },
    );
    t.diagnostic(
      'tried: hooks, filters, fsmonitor and paths in the configuration; stopped by: only a checked bundle comes out',
    );
  });

  for (const [what, script] of [
    ['a link to /etc', 'mv .git /tmp/g; ln -s /etc .git'],
    ['a pipe', 'rm -rf .git; mkfifo .git'],
    ['a huge sparse file', 'rm -rf .git; truncate -s 900M .git'],
    ['a pointer to /etc', 'rm -rf .git; echo "gitdir: /etc" >.git'],
    [
      'another repository',
      'rm -rf .git; git init -q; echo x >x; git add x; git -c user.name=a -c user.email=a@b commit -qm other',
    ],
    [
      'alternates that name the host',
      'echo /root/.git/objects >.git/objects/info/alternates; echo x >x; git add x; git -c user.name=a -c user.email=a@b commit -qm alt',
    ],
  ] as const) {
    test(`a .git that is ${what} brings nothing of the host along, and the files or commits come out`, async (t) => {
      await work(`cd /workspace; echo work >work.txt; ${script}`, async ({ branches, house, stderr }) => {
        const name = branch(branches);
        if (name === undefined) assert.match(stderr, /is kept|refused|no commits/, stderr);
        else {
          const names = await house.git('ls-tree', '-r', '--name-only', name);
          assert.doesNotMatch(names, /passwd|shadow|hostname/);
        }
        t.diagnostic(`tried: .git as ${what}; stopped by: ${name ?? stderr.trim().split('\n').at(-3)}`);
      });
    });
  }

  for (const [what, body] of [
    ['garbage', 'head -c 100000 /dev/urandom'],
    ['a bundle of something else', "printf '# v2 git bundle\\n%040d refs/heads/main\\n\\nPACKxxxx' 1"],
    ['errors with escape sequences', "printf '\\033]0;owned\\007\\033[2J' >&2; exit 3"],
  ] as const) {
    test(`a git of the agent’s own that answers ${what} makes no branch, and the work is kept`, async (t) => {
      // The image's own program cannot be replaced by its user, so root does it.
      await work(
        `cd /workspace; echo x >x; ${commit} x; printf '#!/bin/sh\\nfor a; do [ "$a" = bundle ] && { %s; exit; }; done\\nexec /usr/bin/git.real "$@"\\n' ${JSON.stringify(body).replaceAll('\\\\', '\\\\\\\\').replaceAll('%', '%%').replaceAll('$', '\\$')} >/tmp/git; cp -a /usr/bin/git /usr/bin/git.real; cp /tmp/git /usr/bin/git.new; chmod +x /usr/bin/git.new; mv /usr/bin/git.new /usr/bin/git`,
        ({ branches, stderr }) => {
          assert.equal(branch(branches), undefined, stderr);
          assert.match(stderr, /is kept|error:/);
          t.diagnostic(
            `tried: a git that answers ${what}; stopped by: ${
              stderr
                .trim()
                .split('\n')
                .find((line) => line.startsWith('error')) ?? 'kept'
            }`,
          );
        },
        ['--user=root'],
      );
    });
  }

  test('escape sequences in subjects, branches and paths reach no terminal', async () => {
    await work(
      `cd /workspace; printf x >$'a\\033[31mred'; printf x >$'b\\033]0;title\\007'; mkdir -p .github/workflows .husky; echo x >.github/workflows/ci.yml; echo x >.husky/pre-commit; echo '{"scripts":{"postinstall":"id"}}' >package.json; ${commit} $'subject \\033[2J\\033]52;c;AAAA\\007 end \\u202e'; git branch $'other\\u202ebranch'`,
      ({ branches, stderr }) => {
        assert.ok(branch(branches) !== undefined, stderr);

        assert.doesNotMatch(stderr, /[\u0000-\u0008\u000e-\u001f\u007f\u202a-\u202e]/);
        assert.match(stderr, /run on this host once you trust them/);
        for (const path of ['.github/workflows/ci.yml', '.husky/pre-commit', 'package.json']) {
          assert.ok(stderr.includes(path), `${path} in ${stderr}`);
        }
      },
    );
  });

  test('thousands of branches bring one branch out', async () => {
    await work(
      `cd /workspace; echo x >x; ${commit} x; for i in $(seq 5000); do echo "create refs/heads/b$i HEAD"; done | git update-ref --stdin`,
      ({ branches, stderr }) => {
        assert.ok(branch(branches) !== undefined, stderr);
        assert.equal(branches.split('\n').length, 2);
        assert.ok(stderr.split('\n').length < 60);
      },
    );
  });

  test('files that turn into links while they are taken lead to nothing of the host', async (t) => {
    await work(
      `cd /workspace; rm -rf .git; mkdir d; echo x >d/passwd; ln -s /etc/passwd link; (while :; do rm -rf d; ln -s /etc d 2>/dev/null; rm -f d; mkdir d 2>/dev/null; echo x >d/passwd; done) & sleep 0.2`,
      async ({ branches, house }) => {
        const name = branch(branches);
        if (name === undefined) return;
        const { stdout } = await run('git', ['-C', house.repository, 'grep', '-c', 'root:x:0', name], {
          env: house.env,
        });
        assert.equal(stdout, '');
      },
    );
    t.diagnostic(
      'tried: a directory that is a link every other moment; stopped by: files are taken as a tar, and links as links',
    );
  });

  test('what an agent prints reaches a terminal of logs without control, as it came through a pipe', async () => {
    await using cage = await Cage.start(candidate, ['--no-workspace'], {
      command: ['bash', '-c', "printf 'plain \\033]0;owned\\007\\033[2J\\033[31mred\\n'; exec sleep 300"],
    });
    const args = [
      '-qec',
      `${join(import.meta.dirname, '../../bin/claude-bottle')} logs ${cage.slug}`,
      '/dev/null',
    ];
    const { stdout } = await run('script', args, {
      env: cage.house.env,
      cwd: cage.house.repository,
      deadlineMs: 60_000,
    });
    assert.match(stdout, /plain/);
    assert.ok(!stdout.includes(escape), JSON.stringify(stdout));
  });
});
