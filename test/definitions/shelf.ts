import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { backendNames } from '../../src/backends/names.ts';
import { DefinitionInvalid } from '../../src/definitions/errors.ts';
import { type DefinitionsRequest, loadDefinitions } from '../../src/definitions/load.ts';

/** A home and a repository of their own, gone at the end. */
export class Shelf implements AsyncDisposable {
  readonly root: string;
  readonly home: string;
  readonly repository: string;

  private constructor(root: string) {
    this.root = root;
    this.home = join(root, 'home');
    this.repository = join(root, 'repo');
  }

  static async make(files: Readonly<Record<string, string>> = {}): Promise<Shelf> {
    const shelf = new Shelf(await mkdtemp(join(tmpdir(), 'definitions-')));
    await mkdir(shelf.home);
    await mkdir(shelf.repository);
    await shelf.write(files);
    return shelf;
  }

  /** `agents/x`, `bottles/x` in the home; `repo:agents/x` in the repository. Front matter, and a body after a blank line. */
  async write(files: Readonly<Record<string, string>>): Promise<void> {
    for (const [name, text] of Object.entries(files)) {
      const path = this.path(name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, text);
    }
  }

  path(name: string): string {
    const [place, file] = name.startsWith('repo:') ? [this.repository, name.slice(5)] : [this.home, name];
    return join(place, '.claude-bottle', `${file}.md`);
  }

  load(request: Partial<DefinitionsRequest> = {}) {
    return loadDefinitions({
      home: this.home,
      repository: this.repository,
      directory: this.repository,
      bottles: [],
      iKnow: false,
      builtIn: ['claude', 'codex', 'shell', 'demo'],
      backends: backendNames,
      ...request,
    });
  }

  /** One bottle of this front matter, loaded. */
  static async bottle(front: string, request: Partial<DefinitionsRequest> = {}) {
    await using shelf = await Shelf.make({ 'bottles/b': matter(front) });
    return await shelf.load({ bottles: ['b'], ...request });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }
}

export function matter(front: string, body = ''): string {
  return `---\n${front}\n---\n${body}`;
}

/** What is wrong with a file that is loaded as a bottle or an agent: `line problem` each; nothing if it loads. */
export async function problemsOf(kind: 'bottles' | 'agents', text: string): Promise<string[]> {
  await using shelf = await Shelf.make({ [`${kind}/b`]: text });
  try {
    await shelf.load(kind === 'agents' ? { agent: 'b' } : { bottles: ['b'] });
    return [];
  } catch (error) {
    assert.ok(error instanceof DefinitionInvalid, String(error));
    assert.equal(error.fields.path, `~/.claude-bottle/${kind}/b.md`);
    return error.fields.problems.map(({ line, problem }) => `${line} ${problem}`);
  }
}
