import type { WorkspaceFailure } from '../../workspace/errors.ts';
import type { StagingNote } from '../../workspace/notes.ts';
import type { PathCount } from '../../workspace/workspace.ts';
import { formatBytes } from '../../terminal/units.ts';
import { failed, missing, usage, type Words } from './words.ts';

export const workspaceWords: Words<WorkspaceFailure> = {
  GitMissing: ({ command }) => ({
    what: `there is no ${command} on this host`,
    why: 'A repository is copied into a bottle, and its work brought back, by git.',
    hint: 'install it (Debian: sudo apt-get install git)',
    exitCode: missing,
  }),
  GitFailed: ({ doing, code, words }) => ({
    what: `git ${doing} failed${code === 0 ? '' : ` with exit code ${code}`}`,
    why: words === '' ? 'It said nothing on standard error.' : words,
    exitCode: failed,
  }),
  InnerGitKilled: ({ doing, signal }) => ({
    what: `in the bottle, git ${doing} was ended by signal ${signal}`,
    why: 'So it is not known what is committed there. Nothing was taken; your repository is as it was.',
    exitCode: failed,
  }),
  WorkspaceUnusable: ({ reason, directory, detail }) => ({
    ...{
      'no-directory': { what: `there is no directory ${directory}`, hint: 'name one that exists' },
      'not-a-repository': {
        what: `${directory} is not in a git repository`,
        hint: 'copy the folder as it is: add --copy; or make it one: git init && git add . && git commit',
      },
      bare: {
        what: `${directory} is a bare repository: it has no working tree`,
        hint: 'start from a working tree of it: git worktree add',
      },
      'no-commit': {
        what: `the repository at ${directory} has no commit yet`,
        why: 'The copy starts from a commit, and its work comes back on top of it.',
        hint: 'make one (git commit), or copy the folder as it is: add --copy',
      },
      foreign: {
        what: `the repository at ${directory} belongs to somebody else (${detail ?? 'another user'})`,
        why: 'Git does not use such a repository either, because what is configured in it could run programs.',
        hint: `if you trust it: git config --global --add safe.directory '${directory}'`,
      },
      incomplete: {
        what: `the repository at ${directory} lacks objects of its own history`,
        why: ['A partial clone fetches them when they are needed; here nothing is fetched.', detail]
          .filter(Boolean)
          .join('\n'),
        hint: `get all of them: git -C '${directory}' fetch --refetch --no-filter`,
      },
      broken: {
        what: `git cannot read the repository at ${directory}`,
        why: detail ?? '',
        hint: `see what it says: git -C '${directory}' status`,
      },
    }[reason],
    exitCode: usage,
  }),
  WorkRefused: ({ reason, slug, detail }) => ({
    what: {
      unreadable: `the work in bottle ${slug} cannot be read`,
      'too-large': `bottle ${slug} sends more than is taken: ${detail}`,
      damaged: `what bottle ${slug} sends as its work does not pass git's checks`,
      'no-base': `the commit that bottle ${slug} started from is not in the repository any more`,
      'no-commit': `what bottle ${slug} sends as its work is no commit`,
    }[reason],
    why: `${detail}\nNothing of it was taken; your repository is as it was.`,
    hint: {
      unreadable: `look inside: claude-bottle exec ${slug} -- git -C /workspace status`,
      'too-large': `see what is large: claude-bottle exec ${slug} -- du -sh /workspace/.git`,
      damaged: `look inside, with care: claude-bottle exec ${slug} -- git -C /workspace fsck --strict`,
      'no-base': 'fetch that commit again, from wherever the repository came from',
      'no-commit': `look inside: claude-bottle exec ${slug} -- git -C /workspace log`,
    }[reason],
    exitCode: failed,
  }),
  WorkTooLarge: ({ slug, limitBytes, by, directory }) => ({
    what: `the work in bottle ${slug} is larger than the ${formatBytes(limitBytes)} that ${by === 'size' ? 'are taken' : 'there is room for'}`,
    why: `${by === 'size' ? '' : `It takes three times its size in ${directory} on its way.\n`}Nothing of it was taken; your repository is as it was.`,
    hint: `see what is large: claude-bottle exec ${slug} -- du -sh /workspace/.git\n${
      by === 'size'
        ? `take it nevertheless: claude-bottle collect ${slug} --max-size 10G`
        : `make room, then: claude-bottle collect ${slug}`
    }`,
    exitCode: failed,
  }),
  BranchUnmakeable: ({ branch, repository, words }) => ({
    what: `the branch ${branch} cannot be made in ${repository}`,
    why: words,
    exitCode: failed,
  }),
  ArchiveRefused: ({ reason, path }) => ({
    what: `an archive was refused: ${
      {
        malformed: 'it is no well-formed tar',
        truncated: 'it ends too early',
        'path-absolute': 'it names an absolute path',
        'path-climbs': 'it names a path outside of where it is unpacked',
        'path-unusable': 'it holds a name that cannot be one',
        'path-too-long': 'it holds a name that is longer or deeper than is taken',
        'link-outside': 'it holds a link that leads out of where it is unpacked',
        'link-broken': 'it holds a hard link to nothing',
        'too-many-entries': 'it holds too many files',
        'too-many-bytes': 'it unpacks to too many bytes',
        'header-too-large': 'it holds headers that are too large',
        sparse: 'it holds sparse files, which are not taken',
      }[reason]
    }`,
    ...(path === '' ? {} : { why: `at ${path}` }),
    exitCode: failed,
  }),
};

/** What a person should know about the tree that goes in, as one sentence without a full stop. */
export function stagingNote(note: StagingNote): string {
  switch (note.kind) {
    case 'changes-left-out': {
      const parts = [
        note.modified.count === 0 ? undefined : `changes to ${named(note.modified, 'file')}`,
        note.untracked.count === 0 ? undefined : named(note.untracked, 'untracked file'),
      ];
      return `not committed, and left out without --dirty: ${parts.filter(Boolean).join('; ')}`;
    }
    case 'submodules-left-out':
      return `left out, as a directory without files: ${named(note.paths, 'submodule')}`;
    case 'repositories-left-out':
      return `left out: ${named(note.paths, 'repository', 'repositories')} inside this one`;
    case 'unfiltered':
      return note.filter === 'lfs'
        ? `${note.count} ${note.count === 1 ? 'file' : 'files'} of Git LFS stay pointers`
        : `${note.count} ${note.count === 1 ? 'file is' : 'files are'} as committed: filter ${JSON.stringify(note.filter)} is not run`;
    case 'shallow':
      return 'the history is as short as in this shallow clone';
    case 'sparse':
      return 'this is a sparse checkout; the copy has all files';
    case 'in-progress':
      return `a ${note.what} is in progress; the copy knows nothing of it`;
  }
}

function named({ count, first }: PathCount, one: string, many = `${one}s`): string {
  const more = count > first.length ? ', …' : '';
  return `${count} ${count === 1 ? one : many} (${first.join(', ')}${more})`;
}
