import type { Stats } from 'node:fs';
import { lstat, readdir, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { skillName } from '../definitions/definition.ts';
import { SkillMissing, SkillNameInvalid, SkillUnreadable } from './errors.ts';
import type { HomeFile } from './home-file.ts';
import { holdDirectory } from './open-inside.ts';
import { SkillWalk } from './skill-walk.ts';

export interface StagedSkills {
  /** `<skill>/<path>`: relative to wherever the agent looks for skills. */
  readonly files: readonly HomeFile[];
  /** A sentence each, for the user: what was left out and why. */
  readonly warnings: readonly string[];
}

export interface SkillOptions {
  /** Where skills are on this host. `~/.claude/skills` by default. */
  readonly skillsRoot?: string;
  readonly signal?: AbortSignal;
}

const describing = 'SKILL.md';

/**
 * Reads skills of this host for a bottle. A skill's own entry may be a link, since it was its user who put it there;
 * a link inside is followed only if it ends inside the same skill. What looks like a secret, what is no file, and `.git`
 * stay here.
 * @throws SkillNameInvalid, SkillMissing, SkillUnreadable, SkillTooLarge
 */
export async function stageSkills(
  names: readonly string[],
  options: SkillOptions = {},
): Promise<StagedSkills> {
  const root = options.skillsRoot ?? join(homedir(), '.claude', 'skills');
  const files: HomeFile[] = [];
  const warnings: string[] = [];
  for (const skill of new Set(names)) {
    options.signal?.throwIfAborted();
    if (!skillName.test(skill)) throw new SkillNameInvalid({ skill });
    const walk = await stageSkill(skill, root, options.signal);
    files.push(...walk.files);
    warnings.push(...walk.warnings);
  }
  return { files, warnings };
}

async function stageSkill(skill: string, root: string, signal: AbortSignal | undefined) {
  const path = join(root, skill);
  const real = await realpath(path).catch((error: NodeJS.ErrnoException) => error);
  if (typeof real !== 'string') {
    if (real.code === 'ENOENT') throw new SkillMissing({ skill, path, known: await skillsIn(root) });
    throw new SkillUnreadable({ skill, path, reason: real.code ?? real.message });
  }
  const held = await holdDirectory(real).catch((error: NodeJS.ErrnoException) => {
    const reason = error.code === 'ENOTDIR' ? 'it is no directory' : (error.code ?? error.message);
    throw new SkillUnreadable({ skill, path, reason }, { cause: error });
  });
  await using directory = held;
  const walk = new SkillWalk(skill, path, directory, signal);
  await walk.run();
  if (!walk.files.some((file) => file.path === `${skill}/${describing}`)) {
    throw new SkillUnreadable({ skill, path, reason: `there is no readable ${describing} in it` });
  }
  return walk;
}

/** The names of the skills that are there. */
async function skillsIn(root: string): Promise<string[]> {
  const names = await readdir(root).catch(() => []);
  const isThere = async (name: string) => {
    const stats: Stats | undefined = await lstat(join(root, name, describing)).catch(() => undefined);
    return stats !== undefined && skillName.test(name);
  };
  const there = await Promise.all(names.map(isThere));
  return names.filter((_, index) => there[index]).sort();
}
