import type { PathCount, Workspace } from '../workspace/workspace.ts';

/** What would be copied in, for the plan. */
export function describeWorkspace(workspace: Workspace, dirty: boolean): string[] {
  if (workspace.kind === 'folder') {
    return [`a copy of ${workspace.root}, which is no git repository`];
  }
  const { root, head, branch, modified, untracked } = workspace;
  const at = branch === undefined ? 'detached HEAD' : branch;
  const changes = modified.count + untracked.count;
  const lines = [`a copy of ${root} at ${head.slice(0, 12)} (${at})`];
  if (changes > 0 && dirty) lines.push(`with ${described(modified, untracked)}`);
  if (changes > 0 && !dirty)
    lines.push(`without ${described(modified, untracked)}: --dirty takes them along`);
  return lines;
}

function described(modified: PathCount, untracked: PathCount): string {
  const parts = [
    ...(modified.count === 0 ? [] : [`${modified.count} changed`]),
    ...(untracked.count === 0 ? [] : [`${untracked.count} untracked`]),
  ];
  const paths = [...modified.first, ...untracked.first];
  const named = paths.slice(0, 4).join(', ');
  const more = modified.count + untracked.count > 4 ? ', …' : '';
  return `${parts.join(' and ')} (${named}${more})`;
}
