import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explain } from '../../../src/commands/failures.ts';
import { stagingNote } from '../../../src/commands/words/workspace.ts';
import { ArchiveRefused } from '../../../src/tar/errors.ts';
import { WorkRefused, WorkspaceUnusable } from '../../../src/workspace/errors.ts';

test('what is left out is said with its count and the first names', () => {
  const first = Array.from({ length: 10 }, (_, number) => `f${number}`);
  assert.equal(
    stagingNote({
      kind: 'changes-left-out',
      modified: { count: 1, first: ['a'] },
      untracked: { count: 12, first },
    }),
    'not committed, and left out without --dirty: changes to 1 file (a); 12 untracked files (f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, …)',
  );
  assert.equal(
    stagingNote({ kind: 'repositories-left-out', paths: { count: 1, first: ['x/'] } }),
    'left out: 1 repository (x/) inside this one',
  );
});

test('failures say what to do, with the exit code of their kind', () => {
  const unusable = explain(new WorkspaceUnusable({ reason: 'not-a-repository', directory: '/x' }));
  assert.match(`${unusable.what} ${unusable.hint ?? ''}`, /not in a git repository.*--copy/);
  assert.equal(unusable.exitCode, 2);
  const refused = explain(new WorkRefused({ reason: 'damaged', slug: 'demo', detail: 'hasDotgit' }));
  assert.match(refused.why ?? '', /hasDotgit\n.*your repository is as it was/);
  assert.equal(explain(new ArchiveRefused({ reason: 'path-climbs', path: '../x' })).why, 'at ../x');
});
