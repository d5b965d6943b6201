import { copyFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { WorkRefused } from './errors.ts';
import { Git, wordsOf } from './git.ts';
import { makeRepository } from './mirror.ts';

/** The repository that work comes back to. */
export interface Receiver {
  readonly gitDir: string;
  /** What its objects lie in. */
  readonly commonDir: string;
  readonly objectFormat: 'sha1' | 'sha256';
  readonly shallow: boolean;
}

/**
 * The largest single piece of memory that git may ask for (git's wrapper.c): it takes the size of a commit or a tree from
 * the pack before it has seen the object. Git makes no deltas of files over 512 MiB, and all others are read in pieces.
 */
const bounded = { GIT_ALLOC_LIMIT: '640m' };

/** Of one commit, directories included. */
const pathLimit = 2_000_000;
const pathBytesLimit = 256 * 1024 * 1024;

/** A repository of ours, in which what came out of a bottle is looked at before any of it reaches the user's. */
export class Quarantine {
  readonly gitDir: string;
  readonly base: string;
  readonly #slug: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(gitDir: string, base: string, slug: string, signal: AbortSignal | undefined) {
    this.gitDir = gitDir;
    this.base = base;
    this.#slug = slug;
    this.#signal = signal;
  }

  /**
   * @param gitDir does not exist yet.
   * @throws WorkRefused when the receiver has lost `base`.
   */
  static async create(
    gitDir: string,
    receiver: Receiver,
    base: string,
    slug: string,
    signal?: AbortSignal,
  ): Promise<Quarantine> {
    await makeRepository(gitDir, {
      objectFormat: receiver.objectFormat,
      bare: true,
      head: 'ref: refs/heads/none',
      objects: join(receiver.commonDir, 'objects'),
    });
    if (receiver.shallow) await copyFile(join(receiver.commonDir, 'shallow'), join(gitDir, 'shallow'));
    const quarantine = new Quarantine(gitDir, base, slug, signal);
    const kept = await quarantine.git().try(['update-ref', 'refs/claude-bottle/base', base]);
    if (kept.code !== 0) throw new WorkRefused({ reason: 'no-base', slug, detail: base });
    return quarantine;
  }

  git(place: { readonly workTree?: string; readonly index?: string } = {}): Git {
    return new Git({ gitDir: this.gitDir, ...place }, this.#signal);
  }

  /**
   * Takes a bundle in, with every check that git has, and returns the commit it brings.
   * @throws WorkRefused
   */
  async fetch(bundle: string, ref: string): Promise<string> {
    const git = this.git();
    const verified = await git.try(['bundle', 'verify', '--quiet', bundle], { env: bounded });
    if (verified.code !== 0) throw this.#damaged(verified.stderr);
    const work = 'refs/claude-bottle/work';
    const flags = ['--quiet', '--no-tags', '--no-write-fetch-head', '--no-auto-maintenance'];
    const fetched = await git.try(['fetch', ...flags, bundle, `${ref}:${work}`], {
      fetches: true,
      env: bounded,
    });
    if (fetched.code !== 0) throw this.#damaged(fetched.stderr);
    await this.#check();
    const type = await git.text(['cat-file', '-t', work]);
    if (type !== 'commit') {
      throw new WorkRefused({ reason: 'no-commit', slug: this.#slug, detail: `it is a ${type}` });
    }
    return git.text(['rev-parse', '--verify', work]);
  }

  /**
   * Checks every object that came, as `git fsck --strict` would: broken ones, links to what is not there, and names and
   * submodules that lead out of a working tree. `fetch.fsckObjects` does not do it: git before 2.46 checks nothing that
   * comes by a bundle (git's bundle.c, unbundle).
   */
  async #check(): Promise<void> {
    const packs = join(this.gitDir, 'objects/pack');
    for (const name of (await readdir(packs)).filter((one) => one.endsWith('.pack'))) {
      const args = ['index-pack', '--strict', '-o', join(this.gitDir, 'checked.idx'), join(packs, name)];
      const checked = await this.git().try(args, { env: bounded });
      if (checked.code !== 0) throw this.#damaged(checked.stderr);
    }
  }

  /**
   * Refuses a commit that has more paths than anybody works on. A few small trees that name each other are enough for
   * billions of them, and git holds each one that differs in memory.
   * @throws WorkRefused
   */
  async boundPaths(tip: string): Promise<void> {
    await using child = this.git().open(['ls-tree', '-r', '-t', '-z', '--name-only', tip]);
    let paths = 0;
    let bytes = 0;
    for await (const part of child.stdout as AsyncIterable<Buffer>) {
      bytes += part.length;
      for (const byte of part) if (byte === 0) paths += 1;
      if (paths <= pathLimit && bytes <= pathBytesLimit) continue;
      throw new WorkRefused({
        reason: 'too-large',
        slug: this.#slug,
        detail: `its last commit has more than ${paths > pathLimit ? `${pathLimit} paths` : `${pathBytesLimit} bytes of paths`}`,
      });
    }
    const { code, stderr } = await child.done;
    if (code !== 0) throw this.#damaged(stderr);
  }

  /** How a commit stands to the base. */
  async relation(tip: string): Promise<'on-top' | 'rewritten' | 'unrelated'> {
    const git = this.git();
    if ((await git.try(['merge-base', '--is-ancestor', this.base, tip])).code === 0) return 'on-top';
    return (await git.try(['merge-base', this.base, tip])).code === 0 ? 'rewritten' : 'unrelated';
  }

  #damaged(stderr: string): WorkRefused {
    return new WorkRefused({ reason: 'damaged', slug: this.#slug, detail: wordsOf(stderr) });
  }
}
