import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { deflateSync } from 'node:zlib';
import { WorkRefused } from '../../src/workspace/errors.ts';
import { Quarantine } from '../../src/workspace/quarantine.ts';
import { put, repository, temporary } from './repository.ts';

/**
 * What git may have of this host, in KiB: enough for what the quarantine lets it do, and far too little for a bomb. It
 * is also what keeps this host alive should a bound be missing.
 */
const allowance = 1.5 * 1024 * 1024;

const surroundings = temporary();
const path = process.env['PATH'] ?? '';
before(() => {
  put(surroundings.path, {
    git: `#!/bin/sh\nulimit -v ${allowance}\nPATH='${path.replaceAll("'", "'\\''")}' exec git "$@"\n`,
  });
  chmodSync(join(surroundings.path, 'git'), 0o755);
  process.env['PATH'] = `${surroundings.path}:${path}`;
});
after(() => {
  process.env['PATH'] = path;
  surroundings[Symbol.dispose]();
});

const types = { commit: 1, tree: 2, blob: 3, 'ref-delta': 7 } as const;

interface Packed {
  readonly type: keyof typeof types;
  readonly content: Buffer;
  /** What it says of its size; the truth otherwise. */
  readonly claims?: number;
  /** Of a delta: what it changes. */
  readonly of?: string;
}

function oidOf({ type, content }: Packed): string {
  return createHash('sha1').update(`${type} ${content.length}\0`).update(content).digest('hex');
}

/** One entry of a pack (git's gitformat-pack): its type and size, what it is a delta of, and its deflated content. */
function entry({ type, content, claims, of }: Packed): Buffer {
  let rest = claims ?? content.length;
  const head = [(types[type] << 4) | (rest % 16)];
  rest = Math.floor(rest / 16);
  while (rest > 0) {
    head.push((head.pop() ?? 0) | 0x80, rest % 128);
    rest = Math.floor(rest / 128);
  }
  return Buffer.concat([Buffer.from(head), Buffer.from(of ?? '', 'hex'), deflateSync(content)]);
}

/** A number as a delta has it, seven bits a byte. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    bytes.push(rest >= 128 ? (rest % 128) | 0x80 : rest);
    if (rest < 128) return Buffer.from(bytes);
  }
}

function tree(entries: readonly (readonly [mode: string, name: string, oid: string])[]): Packed {
  const parts = entries.map(([mode, name, oid]) =>
    Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(oid, 'hex')]),
  );
  return { type: 'tree', content: Buffer.concat(parts) };
}

function commit(base: string, treeOid: string): Packed {
  const who = 'a <a@example.org> 1700000000 +0000';
  const head = `tree ${treeOid}\nparent ${base}\nauthor ${who}\ncommitter ${who}\n\nwork\n`;
  return { type: 'commit', content: Buffer.from(head) };
}

/** Trees that each name the one before, from a last one upwards; no git ever walks them before the quarantine does. */
function storey(bottom: Packed, levels: number, names: readonly string[]): Packed[] {
  const trees = [bottom];
  for (let level = 0; level < levels; level += 1) {
    const below = oidOf(trees.at(-1) ?? bottom);
    const mode = trees.at(-1)?.type === 'blob' ? '100644' : '40000';
    trees.push(tree(names.map((name) => [mode, name, below])));
  }
  return trees;
}

const digits = [...'0123456789'];
const content: Packed = { type: 'blob', content: Buffer.from('x') };

interface Scene extends Disposable {
  readonly base: string;
  readonly quarantine: Quarantine;
  /** Has the quarantine take these in as work whose last commit is `tip`. */
  fetch(objects: readonly Packed[], tip: string): Promise<string>;
}

async function scene(): Promise<Scene> {
  const directory = temporary();
  const source = join(directory.path, 'source');
  const base = repository(source);
  const gitDir = join(source, '.git');
  const receiver = { gitDir, commonDir: gitDir, objectFormat: 'sha1', shallow: false } as const;
  const quarantine = await Quarantine.create(join(directory.path, 'quarantine'), receiver, base, 'demo');
  return {
    base,
    quarantine,
    fetch: async (objects, tip) => {
      const count = Buffer.alloc(4);
      count.writeUInt32BE(objects.length);
      const body = Buffer.concat([Buffer.from('PACK\0\0\0\u0002', 'latin1'), count, ...objects.map(entry)]);
      const header = `# v2 git bundle\n-${base} base\n${tip} HEAD\n\n`;
      const bundle = join(directory.path, 'work.bundle');
      const sum = createHash('sha1').update(body).digest();
      writeFileSync(bundle, Buffer.concat([Buffer.from(header), body, sum]));
      return await quarantine.fetch(bundle, 'HEAD');
    },
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

const refusal = (reason: string, detail: RegExp) => (error: unknown) => {
  assert.ok(error instanceof WorkRefused, inspect(error));
  assert.equal(error.fields.reason, reason, error.fields.detail);
  assert.match(error.fields.detail, detail);
  return true;
};

describe('a commit whose trees multiply is refused before anything holds its paths', () => {
  const long = 'n'.repeat(60_000);
  const bombs: readonly (readonly [string, readonly Packed[], RegExp])[] = [
    ['ten billion files in ten trees', storey(content, 10, digits), /more than 2000000 paths/],
    ['ten billion empty directories and no file', storey(tree([]), 10, digits), /more than 2000000 paths/],
    [
      'few paths, each of them long',
      storey(
        content,
        4,
        digits.map((digit) => long + digit),
      ),
      /more than 268435456 bytes of paths/,
    ],
    [
      'one path that goes down without end',
      storey(content, 30_000, ['d']),
      /more than 268435456 bytes of paths/,
    ],
  ];
  for (const [what, objects, detail] of bombs) {
    test(what, async (t) => {
      using stage = await scene();
      const top = commit(stage.base, oidOf(objects.at(-1) ?? content));
      const tip = await stage.fetch([...objects, top], oidOf(top));
      const started = performance.now();
      await assert.rejects(stage.quarantine.boundPaths(tip), refusal('too-large', detail));
      t.diagnostic(
        `tried: ${what}; stopped by: the bound on paths, ${Math.round(performance.now() - started)} ms`,
      );
    });
  }

  test('a hundred thousand paths are work like any other', async () => {
    using stage = await scene();
    const objects = storey(content, 5, digits);
    const top = commit(stage.base, oidOf(objects.at(-1) ?? content));
    const tip = await stage.fetch([...objects, top], oidOf(top));
    assert.equal(tip, oidOf(top));
    await stage.quarantine.boundPaths(tip);
  });

  test('a commit that is not there is no work', async () => {
    using stage = await scene();
    await assert.rejects(stage.quarantine.boundPaths('a'.repeat(40)), refusal('damaged', /./));
  });
});

describe('an object that claims more memory than any has is refused before it gets it', () => {
  const size = 3 * 1024 ** 3;
  const limit = new RegExp(`attempting to allocate 322122547[0-9] over limit ${640 * 1024 ** 2}`);
  for (const type of ['commit', 'tree'] as const) {
    test(`a ${type} of 3 GiB`, async (t) => {
      using stage = await scene();
      const top = commit(stage.base, oidOf(tree([])));
      const huge: Packed = { type, content: Buffer.from('x'.repeat(1000)), claims: size };
      await assert.rejects(stage.fetch([tree([]), top, huge], oidOf(top)), refusal('damaged', limit));
      t.diagnostic('tried: a header that says 3 GiB; stopped by: GIT_ALLOC_LIMIT');
    });
  }

  test('a delta whose result has 3 GiB', async (t) => {
    using stage = await scene();
    const top = commit(stage.base, oidOf(tree([])));
    // Source size, result size, and one instruction: one byte that it brings itself.
    const delta = Buffer.concat([varint(top.content.length), varint(size), Buffer.from([1, 0x78])]);
    const objects = [tree([]), top, { type: 'ref-delta', content: delta, of: oidOf(top) } as const];
    await assert.rejects(stage.fetch(objects, oidOf(top)), refusal('damaged', limit));
    t.diagnostic('tried: a delta that says 3 GiB; stopped by: GIT_ALLOC_LIMIT');
  });

  test('a file of 3 GiB that is not there is read in pieces, and is damaged', async () => {
    using stage = await scene();
    const top = commit(stage.base, oidOf(tree([])));
    const huge: Packed = { type: 'blob', content: Buffer.from('x'.repeat(1000)), claims: size };
    await assert.rejects(
      stage.fetch([tree([]), top, huge], oidOf(top)),
      refusal('damaged', /inflate|disagrees|serious/),
    );
  });
});
