import { realpathSync, statSync } from 'node:fs';
import { SmolvmError } from './release.ts';
import type { MountedSocket, Volume } from './store.ts';

/** Of `--mount-socket` and `--expose-socket` together (smolvm-protocol `PUBLISH_SOCKET_MAX`). */
const mostSockets = 64;

/** The rule for names (src/data/mod.rs `validate_vm_name`). */
export function validateName(name: string): void {
  const refuse = (words: string) => {
    throw new SmolvmError(`config operation failed: create machine: machine name ${words}`);
  };
  if (name === '') refuse('cannot be empty');
  if (Buffer.byteLength(name) > 128) refuse(`too long: ${Buffer.byteLength(name)} characters (max 128)`);
  if (!/^[A-Za-z0-9]/.test(name)) refuse(`must start with a letter or digit (got: ${JSON.stringify(name)})`);
  if (name.endsWith('-')) refuse(`cannot end with a hyphen (got: ${JSON.stringify(name)})`);
  for (const [at, letter] of [...name].entries()) {
    if (letter === '-' && name[at - 1] === '-') refuse('cannot contain consecutive hyphens');
    if (letter === '/' || letter === '\\') refuse('cannot contain path separators');
    if (!/[A-Za-z0-9_-]/.test(letter)) refuse(`contains invalid character: '${letter}'`);
  }
}

/** `KEY=VALUE`; a later one of the same name wins, and what is not of this form is dropped (src/util.rs). */
export function parseEnv(specs: readonly string[]): string[] {
  const env = new Map<string, string>();
  for (const spec of specs) {
    const at = spec.indexOf('=');
    if (at > 0) env.set(spec.slice(0, at), spec.slice(at + 1));
  }
  return [...env].map(([name, value]) => `${name}=${value}`);
}

/** src/util.rs `parse_labels`: sorted, a later one of the same key wins. */
export function parseLabels(specs: readonly string[]): Record<string, string> {
  const labels = new Map<string, string>();
  for (const spec of specs) {
    const at = spec.indexOf('=');
    if (at < 0) throw new SmolvmError(`config operation failed: --label: expected KEY=VALUE, got '${spec}'`);
    if (at === 0) {
      throw new SmolvmError(`config operation failed: --label: label key cannot be empty (in '${spec}')`);
    }
    labels.set(spec.slice(0, at), spec.slice(at + 1));
  }
  return Object.fromEntries([...labels].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** src/cli/machine.rs `parse_published_sockets`. */
export function parseSockets(specs: readonly string[]): MountedSocket[] {
  const refuse = (operation: string, words: string) => {
    throw new SmolvmError(`config operation failed: ${operation}: ${words}`);
  };
  const sockets = specs.map((spec) => {
    const at = spec.indexOf(':');
    if (at < 0) refuse('mount-socket', `expected HOST_PATH:GUEST_PATH, got '${spec}'`);
    const [host, guest] = [spec.slice(0, at), spec.slice(at + 1)];
    if (host === '' || guest === '') {
      refuse('mount-socket', `both HOST_PATH and GUEST_PATH are required in '${spec}'`);
    }
    return { host, guest };
  });
  if (sockets.length > mostSockets) {
    refuse('publish-socket', `too many published sockets (${sockets.length}); max is ${mostSockets}`);
  }
  for (const { guest } of sockets) {
    if (/[;|]/.test(guest)) {
      refuse('publish-socket', `guest path '${guest}' contains an unsupported character (';' or '|')`);
    }
    if (!guest.startsWith('/')) refuse('publish-socket', `guest path '${guest}' must be absolute`);
    if (sockets.filter((other) => other.guest === guest).length > 1) {
      refuse('mount-socket', `guest path '${guest}' is mounted more than once`);
    }
  }
  return sockets;
}

/** Of these the directory itself may not be mounted; of those with `true` nothing below it either. */
const protectedPaths = [
  ['/', false],
  ['/var', false],
  ['/var/run', true],
  ['/var/log', true],
  ['/etc', true],
  ['/boot', true],
  ['/usr', true],
  ['/bin', true],
  ['/sbin', true],
  ['/lib', true],
  ['/proc', true],
  ['/sys', true],
  ['/dev', true],
  ['/run', true],
] as const;

/** src/data/storage.rs `HostMount::parse`: directories only, none of the system's. */
export function parseVolumes(specs: readonly string[]): Volume[] {
  const refuse = (operation: string, words: string) => {
    throw new SmolvmError(`mount operation failed: ${operation}: ${words}`);
  };
  const volumes = specs.map((spec) => {
    const mode = /:(ro|rw)$/.exec(spec)?.[1];
    const rest = mode === undefined ? spec : spec.slice(0, -3);
    const at = rest.lastIndexOf(':');
    const [given, target] = [rest.slice(0, Math.max(at, 0)), rest.slice(at + 1)];
    if (given === '' || target === '') {
      throw new SmolvmError(`invalid mount path: invalid format '${spec}' (expected host:guest[:ro|:rw])`);
    }
    const stat = statSync(given, { throwIfNoEntry: false });
    if (stat === undefined) throw new SmolvmError(`mount source not found: ${given}`);
    if (!stat.isDirectory()) {
      refuse('validate host path', `source path on host must be a directory (virtiofs limitation): ${given}`);
    }
    const source = realpathSync(given);
    if (protectedPaths.some(([path, below]) => source === path || (below && source.startsWith(`${path}/`)))) {
      refuse(
        'validate host path',
        `source path on host is a protected system path and cannot be mounted: ${source}`,
      );
    }
    if (!target.startsWith('/')) {
      refuse('validate guest path', `target path on guest should be an absolute directory: ${target}`);
    }
    return { source, target, readOnly: mode === 'ro' };
  });
  const twice = volumes.find(({ target }, at) => volumes.findIndex((other) => other.target === target) < at);
  if (twice !== undefined) {
    refuse('validate mounts', `duplicate mount target: ${twice.target} is specified more than once`);
  }
  return volumes;
}
