const prefix = 'claude-bottle-';

/** Where bottle-init is in a machine: mounted as a directory, since machines know no mounts of files. */
export const initDirectory = '/run/claude-bottle-init';
export const initPath = `${initDirectory}/bottle-init`;

/**
 * The name of a bottle's machine. smolvm refuses names with two dashes in a row (v0.8.0 to v1.9.3, src/data/mod.rs), which
 * a slug may have; a slug has no underscore.
 */
export function machineName(slug: string): string {
  return `${prefix}${slug.replaceAll('--', '-_')}`;
}
