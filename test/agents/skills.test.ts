import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { SkillMissing, SkillNameInvalid, SkillTooLarge, SkillUnreadable } from '../../src/agents/errors.ts';
import { stageSkills } from '../../src/agents/skills.ts';

const secret = 'SECRET-THAT-STAYS';
let root: string;
let skillsRoot: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'claude-bottle-skills-'));
  skillsRoot = join(root, 'skills');
  await put('outside/key', secret);
  await put('skills/sing/SKILL.md', '---\nname: sing\n---\n');
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function put(path: string, content: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), content);
}

/** The staged paths, and all that was said. Nothing staged may hold the secret. */
async function stage(...names: string[]) {
  const { files, warnings } = await stageSkills(names, { skillsRoot });
  for (const { path, content } of files) assert.ok(!content.includes(secret), `${path} is the secret`);
  return { files, warnings, paths: files.map(({ path }) => path) };
}

describe('staging skills', () => {
  test('files arrive with their paths, modes and contents, each skill once', async () => {
    await put('skills/sing/scripts/run.sh', '#!/bin/sh\n');
    await chmod(join(skillsRoot, 'sing/scripts/run.sh'), 0o4755);
    await chmod(join(skillsRoot, 'sing/SKILL.md'), 0o640);
    await put('skills/dance/SKILL.md', 'dance');
    const { files, paths, warnings } = await stage('sing', 'dance', 'sing');
    assert.deepEqual(paths, ['sing/SKILL.md', 'sing/scripts/run.sh', 'dance/SKILL.md']);
    assert.deepEqual(
      files.map(({ mode }) => mode),
      [0o640, 0o755, 0o644],
    );
    assert.equal(String(files[1]?.content), '#!/bin/sh\n');
    assert.deepEqual(warnings, []);
  });

  test('one that is missing is named with its path and those that are there', async () => {
    await mkdir(join(skillsRoot, 'no-skill'));
    await assert.rejects(stage('sing', 'dance'), (error) => {
      assert.ok(error instanceof SkillMissing);
      assert.deepEqual(error.fields, { skill: 'dance', path: join(skillsRoot, 'dance'), known: ['sing'] });
      return true;
    });
  });

  test('a name that is a path is refused', async () => {
    for (const name of [
      '..',
      '.',
      '',
      '../outside',
      '/etc',
      'sing/..',
      'Sing',
      'sing-',
      'a--b',
      'a b',
      'sing\n',
    ]) {
      await assert.rejects(stage(name), SkillNameInvalid, JSON.stringify(name));
    }
  });

  test('what is no skill is refused: a file, a directory without SKILL.md, one whose SKILL.md leads out', async () => {
    await put('skills/file', 'x');
    await put('skills/empty/README.md', 'x');
    await put('skills/thief/README.md', 'x');
    await symlink(join(root, 'outside/key'), join(skillsRoot, 'thief/SKILL.md'));
    for (const name of ['file', 'empty', 'thief']) await assert.rejects(stage(name), SkillUnreadable, name);
  });

  test("a skill's own entry may be a link, since its user put it there", async () => {
    await rename(join(skillsRoot, 'sing'), join(root, 'elsewhere'));
    await symlink('../elsewhere', join(skillsRoot, 'sing'));
    assert.deepEqual((await stage('sing')).paths, ['sing/SKILL.md']);
  });

  test('links that stay inside are followed: to files, to directories, through each other', async () => {
    await put('skills/sing/songs/a.txt', 'la');
    await symlink('songs/a.txt', join(skillsRoot, 'sing/first.txt'));
    await symlink('first.txt', join(skillsRoot, 'sing/second.txt'));
    await symlink(join(skillsRoot, 'sing/songs'), join(skillsRoot, 'sing/more'));
    const { files, paths, warnings } = await stage('sing');
    assert.deepEqual(paths, [
      'sing/SKILL.md',
      'sing/first.txt',
      'sing/more/a.txt',
      'sing/second.txt',
      'sing/songs/a.txt',
    ]);
    assert.ok(files.slice(1).every(({ content }) => String(content) === 'la'));
    assert.deepEqual(warnings, []);
  });

  test('links that lead out are left out and said: relative, absolute, to directories, to another skill, in two steps', async () => {
    await put('skills/other/SKILL.md', secret);
    const at = (name: string) => join(skillsRoot, 'sing', name);
    await symlink('../../outside/key', at('a'));
    await symlink(join(root, 'outside/key'), at('b'));
    await symlink('../../outside', at('c'));
    await symlink('../other', at('d'));
    await symlink('c/key', at('e'));
    await symlink('/proc/self/environ', at('f'));
    await symlink('nowhere', at('g'));
    // A sibling whose path begins with the skill's own.
    await put('skills/sing-secret/key', secret);
    await symlink('../sing-secret/key', at('h'));
    const { paths, warnings } = await stage('sing');
    assert.deepEqual(paths, ['sing/SKILL.md']);
    assert.equal(warnings.length, 8);
    for (const warning of warnings) assert.match(warning, /^skill sing: "[a-h]" is left out: it is a link/);
  });

  test('links that lead round are left out, and end', async () => {
    const at = (name: string) => join(skillsRoot, 'sing', name);
    await mkdir(at('deep/er'), { recursive: true });
    await symlink('.', at('self'));
    await symlink('loop', at('loop'));
    await symlink('..', at('deep/up'));
    await symlink('../../deep', at('deep/er/round'));
    const { paths, warnings } = await stage('sing');
    assert.deepEqual(paths, ['sing/SKILL.md']);
    assert.equal(warnings.length, 4);
  });

  test('what tools keep secrets in stays here, also by way of a link with a harmless name', async () => {
    const secrets = [
      '.env',
      '.env.local',
      '.envrc',
      'server.pem',
      'server.KEY',
      'id_ed25519',
      'id_rsa_work',
      '.netrc',
      'credentials.json',
      '.credentials.json',
      'auth.json',
      '.ssh/config',
      '.aws/config',
      '.git-credentials',
    ];
    for (const path of secrets) await put(`skills/sing/${path}`, secret);
    await put('skills/sing/.npmrc', `//registry.npmjs.org/:_authToken=${secret}\n`);
    await put('skills/sing/web/.npmrc', 'registry=https://registry.npmjs.org/\n');
    await put('skills/sing/id_rsa.pub', 'public');
    await symlink('.env', join(skillsRoot, 'sing/notes.txt'));
    await symlink('.ssh', join(skillsRoot, 'sing/notes'));
    const { paths, warnings } = await stage('sing');
    assert.deepEqual(paths, ['sing/SKILL.md', 'sing/id_rsa.pub', 'sing/web/.npmrc']);
    assert.equal(warnings.length, secrets.length + 3);
    assert.ok(!warnings.join().includes(secret));
  });

  test('version control is left out without a word', async () => {
    await put('skills/sing/.git/config', secret);
    await put('skills/sing/sub/.git', secret);
    assert.deepEqual(await stage('sing').then(({ paths, warnings }) => [paths, warnings]), [
      ['sing/SKILL.md'],
      [],
    ]);
  });

  test('fifos, sockets and devices are left out, and none is waited for', async (t) => {
    execFileSync('mkfifo', [join(skillsRoot, 'sing/fifo')]);
    await symlink('fifo', join(skillsRoot, 'sing/link-to-fifo'));
    const server = createServer().listen(join(skillsRoot, 'sing/socket'));
    t.after(() => server.close());
    const { paths, warnings } = await stage('sing');
    assert.deepEqual(paths, ['sing/SKILL.md']);
    assert.equal(warnings.length, 3);
  });

  test('names are quoted in what is said, so that none can draw on the terminal', async () => {
    await symlink('nowhere', join(skillsRoot, 'sing', '\u001b[2Jgone\n'));
    const { warnings } = await stage('sing');
    assert.equal(warnings.length, 1);
    assert.doesNotMatch(warnings[0] as string, /[\u0000-\u001f]/);
  });

  test('one that is too large is refused as a whole: bytes, a sparse file, files, levels, links that multiply', async () => {
    await put('skills/bytes/SKILL.md', 'x');
    for (const part of ['a', 'b', 'c']) await put(`skills/bytes/${part}`, 'x'.repeat(6 * 1024 * 1024));
    await put('skills/sparse/SKILL.md', 'x');
    await truncate(join(skillsRoot, 'sparse/SKILL.md'), 2 ** 40);
    await put('skills/files/SKILL.md', 'x');
    for (let index = 0; index < 2_001; index++) await put(`skills/files/${index}`, '');
    await put(`skills/levels/${'d/'.repeat(20)}f`, 'x');
    // Every level names the next one twice: 2^14 files if nobody counts.
    for (let level = 0; level < 14; level++) {
      await put(`skills/bomb/${level}/f`, 'x');
      if (level === 13) continue;
      await symlink(`../${level + 1}`, join(skillsRoot, `bomb/${level}/left`));
      await symlink(`../${level + 1}`, join(skillsRoot, `bomb/${level}/right`));
    }
    for (const [name, unit] of Object.entries({
      bytes: 'bytes',
      sparse: 'bytes',
      files: 'files',
      levels: 'levels',
      bomb: 'files',
    })) {
      await assert.rejects(
        stage(name),
        (error) => error instanceof SkillTooLarge && error.fields.unit === unit,
        name,
      );
    }
  });

  const elsewhere = process.platform !== 'linux' && 'Node can hold on to a directory on Linux only';
  test(
    'a directory that is exchanged for a link while it is read leads nowhere',
    { skip: elsewhere },
    async () => {
      await mkdir(join(root, 'trap'));
      for (let index = 0; index < 50; index++) {
        await put(`skills/sing/dir/${index}`, 'fine');
        await put(`trap/${index}`, secret);
      }
      const dir = join(skillsRoot, 'sing/dir');
      const aside = join(skillsRoot, 'sing/.git');
      let over = false;
      let turns = 0;
      const exchange = (async () => {
        while (!over) {
          await rename(dir, aside);
          await symlink('../../trap', dir);
          await new Promise((resolve) => setImmediate(resolve));
          await rm(dir);
          await rename(aside, dir);
          turns++;
        }
      })();
      try {
        for (let tries = 0; tries < 300; tries++) await stage('sing');
      } finally {
        over = true;
        await exchange;
      }
      assert.ok(turns > 0);
    },
  );
});
