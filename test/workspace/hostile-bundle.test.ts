import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { type Bottle, bottle, forging } from './bottle.ts';
import { git, gitBytes, put, repository, snapshot, temporary, untouched } from './repository.ts';

type Entry = readonly [mode: string, name: string | Buffer, oid: string];

/** A tree object as it is given, whatever git thinks of it. */
function tree(inside: string, entries: readonly Entry[]): string {
  const bytes = Buffer.concat(
    entries.flatMap(([mode, name, oid]) => [
      Buffer.from(`${mode} `),
      Buffer.from(name),
      Buffer.from([0]),
      Buffer.from(oid, 'hex'),
    ]),
  );
  return object(inside, 'tree', bytes);
}

function object(inside: string, type: string, content: string | Buffer): string {
  return gitBytes(inside, ['hash-object', '-w', '-t', type, '--literally', '--stdin'], content)
    .toString()
    .trim();
}

function commitOf(inside: string, treeOid: string): string {
  return git(inside, 'commit-tree', '-p', 'HEAD', '-m', 'hostile', treeOid);
}

/** Points HEAD at it, so that the honest git inside bundles it. */
function moveTo(inside: string, commit: string): void {
  git(inside, 'update-ref', 'HEAD', commit);
}

async function refused(one: Bottle, source: string, place = one.place, reason?: string): Promise<void> {
  const before = snapshot(source);
  await assert.rejects(
    one.collect({}, place),
    (error: { tag?: string; fields?: { reason: string; detail: string } }) => {
      assert.equal(error.tag, 'WorkRefused', inspect(error));
      if (reason !== undefined) assert.equal(error.fields?.reason, reason, error.fields?.detail);
      return true;
    },
  );
  assert.deepEqual(snapshot(source), before);
}

describe('a bundle with objects that no honest git makes is refused, and nothing of the repository changes', () => {
  const names: readonly (readonly [string, string | Buffer])[] = [
    ['.git', '.git'],
    ['.GIT', '.GIT'],
    ['the short name of .git on NTFS', 'git~1'],
    ['.git with a stream of NTFS', '.git::$INDEX_ALLOCATION'],
    ['.git with a character that HFS+ ignores', '.g\u200cit'],
    ['..', '..'],
    ['.', '.'],
    ['a name with a slash', 'a/b'],
    ['a name with a climb in it', '../../outside'],
    ['an empty name', ''],
  ];
  for (const [what, name] of names) {
    test(`a tree with ${what}`, async () => {
      using directory = temporary();
      const source = join(directory.path, 'source');
      repository(source);
      using one = await bottle(source);
      const blob = object(one.inside, 'blob', '#!/bin/sh\n');
      const hooks = tree(one.inside, [['100755', 'post-checkout', blob]]);
      moveTo(one.inside, commitOf(one.inside, tree(one.inside, [['40000', name, hooks]])));
      await refused(one, source);
      moveTo(one.inside, git(one.inside, 'rev-parse', one.staged.base));
      const below = tree(one.inside, [['100644', name, blob]]);
      moveTo(one.inside, commitOf(one.inside, tree(one.inside, [['40000', 'deep', below]])));
      await refused(one, source);
    });
  }

  test('.gitmodules that is a link, or that names a command, an option or a path outside', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    using one = await bottle(source);
    const target = object(one.inside, 'blob', '/etc/passwd');
    const modules = [
      '[submodule "../../.git/hooks"]\n\tpath = x\n\turl = https://example.org/x\n',
      '[submodule "x"]\n\tpath = x\n\turl = -u./payload\n',
      '[submodule "x"]\n\tpath = -x\n\turl = https://example.org/x\n',
      '[submodule "x"]\n\tpath = x\n\turl = https://example.org/x\n\tupdate = !touch /tmp/x\n',
    ].map((content) => object(one.inside, 'blob', content));
    const entries: Entry[] = [
      ['120000', '.gitmodules', target],
      ...modules.map((oid): Entry => ['100644', '.gitmodules', oid]),
    ];
    for (const entry of entries) {
      moveTo(
        one.inside,
        git(one.inside, 'commit-tree', '-p', one.staged.base, '-m', 'x', tree(one.inside, [entry])),
      );
      await refused(one, source, one.place, 'damaged');
    }
  });

  test('.gitmodules of the history pass, now and of before; one that lies about elsewhere in the repository does not', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    const modules = (name: string) =>
      `[submodule "${name}"]\n\tpath = ${name}\n\turl = https://example.org/x\n`;
    repository(source, { '.gitmodules': modules('before') });
    put(source, { '.gitmodules': modules('now') });
    git(source, 'commit', '-qam', 'now');
    // Nobody has looked at this one: it came with a branch that was never checked out.
    const planted = object(source, 'blob', '[submodule "x"]\n\tpath = x\n\turl = -u./payload\n');
    using one = await bottle(source);
    put(one.inside, { b: 'b' });
    git(one.inside, 'add', '-A');
    git(one.inside, 'commit', '-qm', 'work');
    git(one.inside, 'checkout', '-q', 'HEAD~2', '--', '.gitmodules');
    git(one.inside, 'commit', '-qm', 'back');
    assert.equal((await one.collect()).branch, 'bottle/demo-x1y2z');
    const forged = tree(one.inside, [['100644', '.gitmodules', planted]]);
    moveTo(one.inside, git(one.inside, 'commit-tree', '-p', one.staged.base, '-m', 'x', forged));
    const pack = gitBytes(
      one.inside,
      ['pack-objects', '--stdout', '-q'],
      `${git(one.inside, 'rev-parse', 'HEAD')}\n${forged}\n`,
    );
    const header = `# v2 git bundle\n-${one.staged.base} x\n${git(one.inside, 'rev-parse', 'HEAD')} HEAD\n\n`;
    const bundle = Buffer.concat([Buffer.from(header), pack]);
    await assert.rejects(
      one.collect(
        {},
        forging(one.place, () => bundle),
      ),
      /gitmodulesUrl/,
    );
  });

  test('a file twice, a wrong order, a mode that is none, a commit without author', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    using one = await bottle(source);
    const blob = object(one.inside, 'blob', 'x');
    const trees: (readonly Entry[])[] = [
      [
        ['100644', 'a', blob],
        ['100644', 'a', blob],
      ],
      [
        ['100644', 'b', blob],
        ['100644', 'a', blob],
      ],
      [['0100644', 'a', blob]],
      [['40000', 'a', '0'.repeat(40)]],
    ];
    for (const entries of trees) {
      moveTo(
        one.inside,
        git(one.inside, 'commit-tree', '-p', one.staged.base, '-m', 'x', tree(one.inside, entries)),
      );
      await refused(one, source);
    }
    const empty = tree(one.inside, []);
    moveTo(
      one.inside,
      object(one.inside, 'commit', `tree ${empty}\nparent ${one.staged.base}\n\nno author\n`),
    );
    await refused(one, source);
  });
});

describe('a bundle that is not what was asked for is refused', () => {
  /** A bottle with honest work, and the bundle of it. */
  async function honest(source: string): Promise<{ one: Bottle; bundle: Buffer }> {
    repository(source);
    const one = await bottle(source);
    put(one.inside, { b: 'b'.repeat(5000) });
    git(one.inside, 'add', '-A');
    git(one.inside, 'commit', '-qm', 'work');
    const bundle = gitBytes(
      one.inside,
      ['bundle', 'create', '-q', '-', 'HEAD', `^${one.staged.base}`],
      undefined,
    );
    return { one, bundle };
  }

  test('none, half of one, damaged in its pack, with something behind it', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    const { one, bundle } = await honest(source);
    using _one = one;
    const send = (bytes: Buffer) => forging(one.place, () => bytes);
    await refused(one, source, send(Buffer.alloc(0)), 'damaged');
    await refused(one, source, send(Buffer.from('hello\n\u001b[2J')), 'damaged');
    for (const part of [10, 60, bundle.length - 21, bundle.length - 1]) {
      await refused(one, source, send(bundle.subarray(0, part)), 'damaged');
    }
    const damaged = Buffer.from(bundle);
    damaged[bundle.length - 30] = (damaged[bundle.length - 30] ?? 0) ^ 1;
    await refused(one, source, send(damaged), 'damaged');
    await refused(one, source, send(Buffer.concat([bundle, Buffer.from('more')])), 'damaged').catch(
      () => undefined,
    );
    await refused(one, source, send(Buffer.from(`# v2 git bundle\n${'x'.repeat(100_000)}`)), 'damaged');
    await refused(
      one,
      source,
      send(Buffer.from(`# v2 git bundle\n${`-${'0'.repeat(40)}\n`.repeat(100_000)}`)),
      'damaged',
    );
  });

  test('another name, thousands of names, a name that climbs, a filter, a commit that is not in the pack', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    const { one, bundle } = await honest(source);
    using _one = one;
    const tip = git(one.inside, 'rev-parse', 'HEAD');
    const text = bundle.toString('latin1');
    const withRefs = (refs: string) => Buffer.from(text.replace(`${tip} HEAD\n`, refs), 'latin1');
    const wrong = [
      `${tip} refs/heads/main\n`,
      `${tip} refs/heads/../../config\n`,
      Array.from({ length: 5000 }, (_, number) => `${tip} refs/heads/x${number}\n`).join(''),
      `${tip} HEAD\n${tip} refs/heads/main\n`,
      `${'a'.repeat(40)} HEAD\n`,
      `${one.staged.base} HEAD\nx\n`,
      '',
    ];
    for (const refs of wrong)
      await refused(
        one,
        source,
        forging(one.place, () => withRefs(refs)),
        'damaged',
      );
    const filtered = Buffer.from(
      text.replace('# v2 git bundle\n', '# v3 git bundle\n@filter=blob:none\n'),
      'latin1',
    );
    await refused(
      one,
      source,
      forging(one.place, () => filtered),
      'damaged',
    );
  });

  test('HEAD is a tag, a tree or a blob', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    const { one } = await honest(source);
    using _one = one;
    git(one.inside, 'tag', '-a', '-m', 'tag', 'v1');
    const bundle = gitBytes(
      one.inside,
      ['bundle', 'create', '-q', '-', 'v1', `^${one.staged.base}`],
      undefined,
    );
    const tag = git(one.inside, 'rev-parse', 'v1');
    const forged = Buffer.from(
      bundle.toString('latin1').replace(`${tag} refs/tags/v1\n`, `${tag} HEAD\n`),
      'latin1',
    );
    await refused(
      one,
      source,
      forging(one.place, () => forged),
      'no-commit',
    );
    const treeOid = git(one.inside, 'rev-parse', 'HEAD^{tree}');
    const ofTree = Buffer.from(
      bundle.toString('latin1').replace(`${tag} refs/tags/v1\n`, `${treeOid} HEAD\n`),
      'latin1',
    );
    await refused(
      one,
      source,
      forging(one.place, () => ofTree),
    );
  });

  test('the sender fails in the middle', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    const { one, bundle } = await honest(source);
    using _one = one;
    const failing = forging(one.place, () => bundle);
    const place = {
      ...failing,
      stream: (argv: readonly string[]) => ({
        ...failing.stream(argv),
        done: Promise.resolve({ code: 1, stdout: '', stderr: 'fatal: \u001b[31mno' }),
      }),
    };
    await refused(one, source, place, 'unreadable');
  });

  test('a bundle with any byte changed brings the same commit or none', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    const { one, bundle } = await honest(source);
    using _one = one;
    const tip = git(one.inside, 'rev-parse', 'HEAD');
    let number = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(bundle.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const changed = Buffer.from(bundle);
        changed[at] = (changed[at] ?? 0) ^ change;
        const slug = `f${number++}`;
        const collected = await one
          .collect(
            { slug },
            forging(one.place, () => changed),
          )
          .catch((error: unknown) => {
            assert.equal((error as { tag?: string }).tag, 'WorkRefused', inspect(error));
            return undefined;
          });
        if (collected !== undefined && collected.via === 'commits') assert.equal(collected.tip, tip);
      }),
      { numRuns: 40 },
    );
    git(source, 'fsck', '--strict');
  });
});

test('a collection that is interrupted leaves neither branch nor scratch', async () => {
  using directory = temporary();
  const source = join(directory.path, 'source');
  repository(source);
  using one = await bottle(source);
  const controller = new AbortController();
  const reason = new Error('stop');
  const slow = Readable.from(
    (async function* () {
      for (let sent = 0; ; sent++) {
        if (sent === 3) controller.abort(reason);
        await Promise.resolve();
        yield Buffer.alloc(1000);
      }
    })(),
  );
  const scratchDirectory = join(directory.path, 'scratch');
  mkdirSync(scratchDirectory);
  const before = snapshot(source);
  await assert.rejects(
    one.collect(
      { signal: controller.signal, scratchDirectory },
      forging(one.place, () => slow),
    ),
    reason,
  );
  assert.deepEqual(readdirSync(scratchDirectory), []);
  assert.deepEqual(snapshot(source), before);
});

test('answers from inside that make no sense refuse the work or fall back, and change nothing', async () => {
  using directory = temporary();
  const source = join(directory.path, 'source');
  repository(source);
  using one = await bottle(source);
  const answers = [
    '',
    '--upload-pack=x',
    `${'a'.repeat(40)}\n`,
    '\u001b]0;title\u0007',
    '../../../etc/passwd',
    '9'.repeat(400),
  ];
  for (const stdout of answers) {
    const place = { ...one.place, exec: async () => ({ code: 0, stdout, stderr: '' }) };
    const before = untouched(source);
    const collected = await one
      .collect({ uncommitted: true }, place)
      .catch((error: { tag?: string }) => error);
    if (!('base' in collected)) assert.equal(collected.tag, 'WorkRefused', inspect(collected));
    else assert.equal(collected.branch, undefined);
    assert.deepEqual(untouched(source), before);
  }
});
