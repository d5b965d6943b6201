import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { House } from '../bottles/house.ts';
import { type Behaviour, line } from './behaviour.ts';

const commit = 'git -c user.name=a -c user.email=a@b commit -qm';
const branches = (house: House) =>
  house.git('for-each-ref', '--format=%(refname:short)', 'refs/heads/bottle');

/** A tree of what a copy can get wrong, and how it looks inside. */
const fidelity = `find . -path ./.git -prune -o -printf '%M %U %s %p -> %l\\n' | grep -v ' \\.$\\| \\. ->' | sed 's/ -> $//' | sort -k 4`;

/** What becomes of files and of work. */
export const behavioursOfWork: readonly Behaviour[] = [
  {
    name: 'the copy has the files as they are: modes, links, odd names, owner',
    expected: [
      '-rw-r--r-- 1000 14 ./README.md',
      'drwxr-xr-x 1000 4096 ./a b',
      '-rw-r--r-- 1000 0 ./a b/nöthing',
      'lrwxrwxrwx 1000 6 ./link -> run.sh',
      '-rwxr-xr-x 1000 10 ./run.sh',
    ].join(' | '),
    observe: async ({ another }) => {
      const house = await another();
      await house.write('a b/nöthing', '');
      await house.write('run.sh', '#!/bin/sh\n');
      await house.git('add', '.');
      await house.git('update-index', '--chmod=+x', 'run.sh');
      const { symlink } = await import('node:fs/promises');
      await symlink('run.sh', join(house.repository, 'link'));
      await house.git('add', 'link');
      await house.git('commit', '-qm', 'More');
      const { stdout, stderr } = await house.start(['--', 'sh', '-c', fidelity]);
      return stdout === '' ? stderr : stdout.trim().replaceAll('\n', ' | ');
    },
  },
  {
    name: 'git finds the copy clean, at the commit it was made from',
    expected: '0: clean | main | First',
    observe: async ({ another }) => {
      const house = await another();
      return line(
        await house.start([
          '--',
          'sh',
          '-c',
          '[ -z "$(git status --porcelain)" ] && echo clean; git branch --show-current; git log -1 --format=%s',
        ]),
      );
    },
  },
  {
    name: 'commits come out as a branch, and nothing else is left',
    expected: 'Work, new, 0 left',
    observe: async ({ another }) => {
      const house = await another();
      await house.start(['--', 'sh', '-c', `echo new >new.txt; git add .; ${commit} Work`]);
      const branch = await branches(house);
      const subject = await house.git('log', '-1', '--format=%s', branch);
      const text = await house.git('show', `${branch}:new.txt`);
      return `${subject}, ${text}, ${(await house.list()).length} left`;
    },
  },
  {
    name: 'what is not committed keeps the bottle, and collect brings it',
    expected: 'exited, precious, 0 left',
    observe: async ({ another }) => {
      const house = await another();
      await house.start(['--', 'sh', '-c', 'echo precious >notes']);
      const [kept] = await house.list();
      const slug = String(kept?.['slug']);
      await house.bottle(['collect', slug, '--uncommitted']);
      const text = await house.git('show', `bottle/${slug}:notes`);
      return `${String(kept?.['status'])}, ${text}, ${(await house.list()).length} left`;
    },
  },
  {
    name: 'a supervisor that is killed: the next command saves the work and removes the rest',
    expected: 'Work, 0 left',
    observe: async ({ another }) => {
      const house = await another();
      const script = `${commit} Work --allow-empty; touch /tmp/done; exec sleep 600`;
      const started = await house.start(['--detach', '--', 'sh', '-c', script]);
      const slug = started.stdout.trim();
      while ((await house.bottle(['exec', slug, '--', 'test', '-e', '/tmp/done'])).code !== 0)
        await sleep(100);
      const record = JSON.parse(
        await readFile(join(house.path, 'state/claude-bottle/bottles', slug, 'bottle.json'), 'utf8'),
      ) as { owner: { pid: number } };
      process.kill(record.owner.pid, 'SIGKILL');
      while (record.owner.pid > 0 && isThere(record.owner.pid)) await sleep(20);
      const left = await house.list();
      return `${await house.git('log', '-1', '--format=%s', `bottle/${slug}`)}, ${left.length} left`;
    },
  },
  {
    name: 'five at once from one repository do not meet',
    expected: '1 1, 2 1, 3 1, 4 1, 5 1; 5 branches',
    observe: async ({ another }) => {
      const house = await another();
      const runs = [1, 2, 3, 4, 5].map(async (number) => {
        const script = `echo ${number} >file; sleep 1; git add .; ${commit} N${number}; echo $(cat file) $(ls | grep -c file)`;
        const ran = await house.start(['--', 'sh', '-c', script], { deadlineMs: 180_000 });
        return ran.stdout.trim() === '' ? ran.stderr : ran.stdout.trim();
      });
      const told = await Promise.all(runs);
      return `${told.join(', ')}; ${(await branches(house)).split('\n').length} branches`;
    },
  },
];

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
