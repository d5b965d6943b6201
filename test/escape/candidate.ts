import { fileURLToPath } from 'node:url';
import assert from 'node:assert/strict';
import type { House } from '../bottles/house.ts';
import { run } from '../../src/process/run.ts';

/** Debian with what an agent that wants out would like to have. */
export const image = 'claude-bottle-test:escape';

/** What the suite runs over. */
export interface Candidate {
  readonly name: string;
  /** Of `start`. */
  readonly flags: readonly string[];
  /** Puts the suite's image where it is started from. */
  prepare(): Promise<void>;
  /** Makes a user's machine one whose bottles are of this kind. */
  furnish(house: House): Promise<void>;
  /** Everything that whatever runs this bottle tells of it, and keeps of it, as text in any encoding. */
  known(house: House, slug: string): AsyncIterable<string>;
  /** The same of the image that bottles are made from. */
  knownImage(house: House): AsyncIterable<string>;
  /** The files in which a bottle's output is kept. */
  logFiles(house: House, slug: string): Promise<readonly string[]>;
  /** Bottles that were made from this house and are still there. */
  left(house: House): Promise<readonly string[]>;
  /** A program in the same image with nothing around it: shows that an attempt would work if nobody stopped it. */
  readonly unconfined?: readonly string[];
  readonly facts: Facts;
  /** Why it cannot be tried here; `undefined` when it can. */
  readonly missing: string | undefined;
}

/** In what bottles of one kind differ from those of another where an agent can see it, and why that is no way out. */
export interface Facts {
  /** What the bottle calls itself. */
  hostname(slug: string): string;
  /** What is mounted from the host beside what a user asks for: path in the bottle to whether it may be written. */
  readonly mounts: Readonly<Record<string, 'read-only' | 'writable'>>;
  /** Paths that whoever makes the bottle mounts for itself. */
  readonly ownMounts: RegExp;
  /** Where bottle-init lies in it. */
  readonly init: string;
  /**
   * Whether bottle-init is the first process of the bottle, which the kernel lets nobody inside signal, and the sockets'
   * directory is mounted read-only as one.
   */
  readonly isContainer: boolean;
  /**
   * Attempts, by their property, that nothing stops when the bottle's user is root, and that reach nothing of the host;
   * why. Everything else is stopped.
   */
  readonly harmlessAsRoot: Readonly<Record<string, string>>;
  /** Of processes that a fork bomb comes to. */
  readonly mostProcesses: number;
  /** What the bottle's user may be told when memory ran out. */
  readonly tellsOutOfMemory: boolean;
  /** A file with a hole of 1 TiB: what becomes of it. */
  readonly hugeFile: string;
  /** Why a disk that is full cannot be tried, if it cannot. */
  readonly diskUntried?: string;
}

const context = fileURLToPath(new URL('image', import.meta.url));

/** Builds the suite's image in Docker. @returns its id */
export async function build(): Promise<string> {
  const built = await run('docker', ['build', '--quiet', `--tag=${image}`, context], {
    env: { DOCKER_BUILDKIT: '0' },
  });
  assert.equal(built.code, 0, built.stderr);
  return built.stdout.trim();
}

/** What a program prints; its failure fails the test. */
export async function said(...[command, args, options]: Parameters<typeof run>): Promise<string> {
  const ran = await run(command, args, { captureBytes: 8 << 20, ...options });
  assert.equal(ran.code, 0, `${command} ${args.join(' ')}: ${ran.stderr}`);
  return ran.stdout;
}
