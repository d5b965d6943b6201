/** A release of smolvm. Releases are plain `X.Y.Z`; nothing else was ever tagged. */
export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/** The version in what `smolvm --version` prints (`smolvm X.Y.Z`); `undefined` when it is something else. */
export function parseVersionLine(output: string): Version | undefined {
  const found = /^smolvm (\d{1,5}\.\d{1,5}\.\d{1,5})(?![\d.])/.exec(output)?.[1];
  return found === undefined ? undefined : parseVersion(found);
}

/** Reads `X.Y.Z`. @throws TypeError for anything else, which in our own tables is a mistake of ours. */
export function parseVersion(text: string): Version {
  const parts = /^(\d{1,5})\.(\d{1,5})\.(\d{1,5})$/.exec(text);
  if (parts === null) throw new TypeError(`not a version: ${text}`);
  return { major: Number(parts[1]), minor: Number(parts[2]), patch: Number(parts[3]) };
}

/** Negative when `a` is older than `b`, 0 when equal, positive when newer. */
export function compareVersions(a: Version, b: Version): number {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch;
}

export function formatVersion(version: Version): string {
  return `${version.major}.${version.minor}.${version.patch}`;
}
