import type { UnpackedFile } from '../oci/tar-unpack.ts';
import type { ListedEngine } from './engines.ts';

/**
 * What an export of the matrix image has that the image has not, and the other way round: all of it, so that an engine
 * that starts to do otherwise is noticed.
 */
export function exportDifferences(engine: ListedEngine): string[] {
  // Podman mounts the layers and writes what it finds.
  if (engine.store === 'podman') return [];
  return [
    // Mount points that Docker makes in every container, where the image has none (moby, daemon/initlayer).
    '+ dev/console',
    '+ dev/pts',
    '+ dev/shm',
    '+ etc/hostname',
    '+ etc/mtab',
    '+ etc/resolv.conf',
    '+ proc',
    '+ sys',
    // Making them changes their directories.
    '~ dev mtime',
    '~ etc mtime',
    // It makes this one too, over the image's own, which is lost; hostname and resolv.conf fare alike.
    '~ etc/hosts content',
    '~ etc/hosts mode',
    '~ etc/hosts mtime',
    // Of extended attributes Docker exports security.capability alone (moby, pkg/archive, ReadSecurityXattrToTarHeader).
    '~ home/user/notes extra',
  ];
}

/** `+ path` for what only `actual` has, `- path` for what only `expected` has, `~ path property` for what differs. */
export function differences(
  expected: ReadonlyMap<string, UnpackedFile>,
  actual: ReadonlyMap<string, UnpackedFile>,
): string[] {
  const found: string[] = [];
  for (const [path, file] of expected) {
    const other = actual.get(path);
    if (other === undefined) found.push(`- ${path}`);
    else found.push(...propertiesThatDiffer(file, other).map((property) => `~ ${path} ${property}`));
    if (other !== undefined && namesOf(expected, file) !== namesOf(actual, other))
      found.push(`~ ${path} hard links`);
  }
  for (const path of actual.keys()) if (!expected.has(path)) found.push(`+ ${path}`);
  return found.sort();
}

function propertiesThatDiffer(a: UnpackedFile, b: UnpackedFile): string[] {
  const names = Object.keys(a) as (keyof UnpackedFile)[];
  return names.filter((name) => comparable(a, name) !== comparable(b, name));
}

function comparable(file: UnpackedFile, name: keyof UnpackedFile): string | number {
  // Docker before 26 and Podman write the kind of file into the mode, where the tar format has no place for it.
  if (name === 'mode') return file.mode & 0o7777;
  if (name === 'content') return file.content.toString('base64');
  if (name === 'extra') return JSON.stringify(Object.entries(file.extra).sort());
  return file[name];
}

/** All names of one file. */
function namesOf(files: ReadonlyMap<string, UnpackedFile>, file: UnpackedFile): string {
  return [...files]
    .flatMap(([path, other]) => (other === file ? [path] : []))
    .sort()
    .join(' ');
}
