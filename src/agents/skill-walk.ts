import type { Stats } from 'node:fs';
import { type FileHandle, lstat, readdir, realpath } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { SkillTooLarge, SkillUnreadable } from './errors.ts';
import type { HomeFile } from './home-file.ts';
import { type HeldDirectory, openBelow, openIn, pathIn } from './open-inside.ts';
import { holdsToken, isSecretName } from './secret-names.ts';

/** A skill is text and scripts. What is more than this is a mistake or an attack. */
const limits = { bytes: 16 * 1024 * 1024, files: 2_000, levels: 16 } as const;

/** So many things left out are said one by one; the rest is counted. */
const warningLimit = 20;

/** Version control: of no use to an agent, and full of what was deleted once. Left out without a word. */
const silent: ReadonlySet<string> = new Set(['.git', '.hg', '.svn', '.DS_Store']);

/** A directory on the walk: where it really is below the skill, and under which names it is staged. */
interface Place {
  readonly real: readonly string[];
  readonly staged: readonly string[];
  /** Device and inode of this directory and of those that lead to it. */
  readonly chain: readonly string[];
}

/** One walk through the directory of a skill. Reads each file through a descriptor that no link led to. */
export class SkillWalk {
  readonly files: HomeFile[] = [];
  private readonly skill: string;
  private readonly path: string;
  private readonly root: HeldDirectory;
  private readonly signal: AbortSignal | undefined;
  private readonly said: string[] = [];
  private entries = 0;
  private bytes = 0;

  constructor(skill: string, path: string, root: HeldDirectory, signal: AbortSignal | undefined) {
    this.skill = skill;
    this.path = path;
    this.root = root;
    this.signal = signal;
  }

  get warnings(): readonly string[] {
    const rest = this.said.length - warningLimit;
    if (rest <= 0) return this.said;
    return [...this.said.slice(0, warningLimit), `skill ${this.skill}: ${rest} more left out`];
  }

  /** @throws SkillTooLarge, SkillUnreadable */
  async run(): Promise<void> {
    const stats = await this.root.handle.stat();
    await this.list(this.root, { real: [], staged: [], chain: [identity(stats)] });
  }

  private async list(directory: HeldDirectory, place: Place): Promise<void> {
    if (place.staged.length > limits.levels) throw this.tooLarge('levels');
    const names = await readdir(pathIn(directory)).catch((error: NodeJS.ErrnoException) => {
      const path = join(this.path, ...place.staged);
      throw new SkillUnreadable({ skill: this.skill, path, reason: error.code ?? '' }, { cause: error });
    });
    for (const name of names.sort()) {
      this.signal?.throwIfAborted();
      if (++this.entries > limits.files) throw this.tooLarge('files');
      if (silent.has(name)) continue;
      const staged = [...place.staged, name];
      if (isSecretName(name)) {
        this.leaveOut(staged, 'its name is that of a file with secrets');
        continue;
      }
      const found = await this.find(directory, place, name);
      if (typeof found === 'string') {
        this.leaveOut(staged, found);
        continue;
      }
      await using handle = found.handle;
      await this.take(handle, { ...place, real: found.real, staged });
    }
  }

  /** Opens an entry, or says why it is left out. */
  private async find(
    directory: HeldDirectory,
    { real }: Place,
    name: string,
  ): Promise<{ readonly handle: FileHandle; readonly real: readonly string[] } | string> {
    try {
      const stats = await lstat(pathIn(directory, name));
      if (stats.isSymbolicLink()) return await this.follow([...real, name]);
      // Looked at before it is opened, because opening a device can do something.
      if (!stats.isFile() && !stats.isDirectory()) return 'it is neither a file nor a directory';
      return { handle: await openIn(directory, name), real: [...real, name] };
    } catch (error) {
      return `it cannot be read (${codeOf(error)})`;
    }
  }

  /** Where a link ends is found out first, and then gone to without following any. */
  private async follow(link: readonly string[]) {
    const end = await realpath(join(this.root.path, ...link)).catch(codeOf);
    if (!isAbsolute(end)) return `it is a link that leads nowhere (${end})`;
    const way = relative(this.root.path, end);
    if (way === '' || isAbsolute(way) || way === '..' || way.startsWith(`..${sep}`)) {
      return 'it is a link that leads out of the skill or back to it';
    }
    const real = way.split(sep);
    if (real.some((name) => silent.has(name) || isSecretName(name))) {
      return 'it is a link to a file with secrets, by the name of that';
    }
    const handle = await openBelow(this.root, real);
    const stats = await handle.stat();
    if (stats.isFile() || stats.isDirectory()) return { handle, real };
    await handle.close();
    return 'it is a link to what is neither a file nor a directory';
  }

  private async take(handle: FileHandle, place: Place): Promise<void> {
    const stats = await handle.stat();
    if (stats.isDirectory()) {
      if (place.chain.includes(identity(stats))) {
        this.leaveOut(place.staged, 'it is a link that leads back to a directory that it is in');
        return;
      }
      const path = join(this.root.path, ...place.real);
      await this.list({ handle, path }, { ...place, chain: [...place.chain, identity(stats)] });
    } else if (stats.isFile()) {
      const content = await this.read(handle, stats);
      if (holdsToken(place.staged.at(-1) ?? '', content) || holdsToken(place.real.at(-1) ?? '', content)) {
        this.leaveOut(place.staged, 'there is a token in it');
        return;
      }
      this.files.push({ path: [this.skill, ...place.staged].join('/'), mode: stats.mode & 0o777, content });
    } else {
      this.leaveOut(place.staged, 'it is neither a file nor a directory');
    }
  }

  /** Reads to the end, whatever size was announced, and no further than the limit. */
  private async read(handle: FileHandle, stats: Stats): Promise<Buffer> {
    const parts: Buffer[] = [];
    const piece = Math.min(Math.max(stats.size + 1, 1024), 1024 * 1024);
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(piece), 0, piece, null);
      if (bytesRead === 0) return Buffer.concat(parts);
      this.bytes += bytesRead;
      if (this.bytes > limits.bytes) throw this.tooLarge('bytes');
      parts.push(buffer.subarray(0, bytesRead));
    }
  }

  private leaveOut(staged: readonly string[], why: string): void {
    // Quoted: a name can hold anything, control sequences for a terminal included.
    this.said.push(`skill ${this.skill}: ${JSON.stringify(staged.join('/'))} is left out: ${why}`);
  }

  private tooLarge(unit: keyof typeof limits): SkillTooLarge {
    return new SkillTooLarge({ skill: this.skill, path: this.path, unit, limit: limits[unit] });
  }
}

function identity(stats: Stats): string {
  return `${stats.dev}:${stats.ino}`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}
