import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadDefinitions } from '../../src/definitions/load.ts';
import { saveRule, withRule } from '../../src/definitions/save-rule.ts';
import { formatRule } from '../../src/gate/rule.ts';

async function home(files: Readonly<Record<string, string>>) {
  const path = await mkdtemp(join(tmpdir(), 'cb-save-'));
  await mkdir(join(path, '.claude-bottle', 'bottles'), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(path, '.claude-bottle', 'bottles', `${name}.md`), text, { mode: 0o640 });
  }
  return {
    path,
    file: (name: string) => join(path, '.claude-bottle', 'bottles', `${name}.md`),
    async rules(bottle: string) {
      const { bottle: merged } = await loadDefinitions({
        home: path,
        directory: path,
        bottles: [bottle],
        iKnow: false,
        builtIn: [],
        backends: [],
      });
      return merged.rules.map(formatRule);
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
}

test('a saved rule is there the next time, and comments, body and mode of the file stay', async () => {
  const text = '---\n# mine\negress:\n  allow:\n    - a.example # first\n---\nNotes.\n';
  await using place = await home({ dev: text });
  const path = await saveRule(place.path, ['dev'], { action: 'allow', text: 'b.example:8443', reach: [] });
  assert.equal(path, place.file('dev'));
  assert.deepEqual(await place.rules('dev'), ['allow a.example', 'allow b.example:8443']);
  const saved = await readFile(path, 'utf8');
  assert.match(saved, /# mine/);
  assert.match(saved, /a\.example # first/);
  assert.ok(saved.endsWith('---\nNotes.\n'));
  assert.equal((await stat(path)).mode & 0o777, 0o640);
});

test('a bottle that has its egress from its parent keeps it: the rule goes to the parent', async () => {
  await using place = await home({
    base: '---\negress: { allow: [a.example] }\n---\n',
    child: '---\nextends: base\n---\n',
  });
  await saveRule(place.path, ['base', 'child'], { action: 'deny', text: 'b.example', reach: [] });
  assert.deepEqual(await place.rules('child'), ['allow a.example', 'deny b.example']);
  assert.equal(await readFile(place.file('child'), 'utf8'), '---\nextends: base\n---\n');
});

test('a rule with a reach is written with its parts, and reads back as the same rule', async () => {
  await using place = await home({ dev: '---\n---\n' });
  await saveRule(place.path, ['dev'], { action: 'allow', text: 'db.example:5432', reach: ['private'] });
  assert.deepEqual(await place.rules('dev'), ['allow db.example:5432 reach private']);
});

test('the same rule twice is one', () => {
  const once = withRule('---\negress:\n  allow: []\n---\n', {
    action: 'allow',
    text: 'a.example',
    reach: [],
  });
  assert.equal(withRule(once, { action: 'allow', text: 'a.example', reach: [] }), once);
});
