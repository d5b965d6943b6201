import type { Ending } from '../bottles/messages.ts';
import { paint, type Terminal, withoutControls } from '../terminal/terminal.ts';
import type { Collected } from '../workspace/collect.ts';
import { reviewCommands } from '../workspace/review.ts';
import type { Workspace } from '../workspace/workspace.ts';

/** As many lines of each kind are shown. */
const shown = 8;

/** What came out of a bottle, and what to look at before it is trusted. Every name in it is already printable. */
export function describeWork(work: Collected, workspace: Workspace, terminal: Terminal): void {
  const say = (line: string) => terminal.stderr.write(`${line}\n`);
  const mark = paint(terminal, 'yellow', '!');
  const list = (lines: readonly string[]) => {
    for (const line of lines.slice(0, shown)) say(`    ${line}`);
    if (lines.length > shown) say(`    and ${lines.length - shown} more`);
  };
  const warn = (what: string, lines: readonly string[]) => {
    if (lines.length === 0) return;
    say(`${mark} ${what}`);
    list(lines);
  };
  const { branch } = work;
  if (branch === undefined) {
    say('· no commits came out');
    warn('commits on other branches in it stay there:', work.otherBranches);
    return;
  }
  const { commits, totals, executes = [], linksOut = [] } = work;
  const changes = `${count(commits?.count ?? 0, 'commit')}, ${count(totals?.files ?? 0, 'file')}, +${totals?.added ?? 0} -${totals?.removed ?? 0}`;
  say(`${paint(terminal, 'green', '✓')} ${paint(terminal, 'bold', branch)}: ${changes}`);
  list(commits?.subjects ?? []);
  if (work.rewritten) say(`${mark} its history does not contain the commit that it started from`);
  if (work.via === 'files')
    say(`${mark} ${filesBecause[work.filesBecause ?? 'no-git']}, so it is one commit made of the files`);
  warn(
    'these run on this host once you trust them, so look at them first:',
    executes.map(({ path, reason }) => `${path}  ${paint(terminal, 'dim', reason)}`),
  );
  warn(
    'symbolic links lead out of the repository:',
    linksOut.map(({ path, target }) => `${path} → ${target}`),
  );
  warn('repositories of others are referred to:', work.submodules ?? []);
  warn('made executable:', work.madeExecutable ?? []);
  warn('commits on other branches in it are not on this one:', work.otherBranches);
  warn('left out, since they are no files:', work.leftOut);
  const { review, merge } = reviewCommands(workspace, { ...work, branch });
  say(`  ${paint(terminal, 'cyan', '→')} review: ${withoutControls(review)}`);
  say(`  ${paint(terminal, 'cyan', '→')} take:   ${withoutControls(merge)}`);
}

const filesBecause = {
  'no-git': 'there is no git in the image',
  'no-repository': 'there is no repository in the bottle any more',
  unrelated: 'the repository in the bottle is another one now',
} as const;

/** The last words about a bottle that ended. */
export function describeEnding(ending: Ending, slug: string, terminal: Terminal): void {
  const say = (line: string) => terminal.stderr.write(`${line}\n`);
  const mark = paint(terminal, 'yellow', '!');
  const { egress } = ending;
  if (ending.outOfMemory) say(`${mark} the kernel ended it: its memory ran out (--memory gives it more)`);
  if (egress.denied > 0) {
    say(`· the gate refused ${count(egress.denied, 'request')}:`);
    for (const { host, port, reason, allow } of egress.refused.slice(0, shown)) {
      say(`    ${host}:${port}  ${paint(terminal, 'dim', allow ?? reason)}`);
    }
    say(`  ${paint(terminal, 'cyan', '→')} what and why: claude-bottle logs --gate ${slug}`);
  }
  if (ending.keptBecause !== undefined) {
    say(`${mark} ${slug} is kept: ${ending.keptBecause}`);
    say(`  ${paint(terminal, 'cyan', '→')} take all of it: claude-bottle collect ${slug} --uncommitted`);
    say(`  ${paint(terminal, 'cyan', '→')} give it up:     claude-bottle stop ${slug} --discard`);
  }
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
