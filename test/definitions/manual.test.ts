import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { formatRule } from '../../src/gate/rule.ts';
import { presetNames } from '../../src/gate/presets/presets.ts';
import { matter, problemsOf, Shelf } from './shelf.ts';

const manual = await readFile(new URL('../../docs/definitions.md', import.meta.url), 'utf8');

test('the examples of the manual load as they stand', async () => {
  const [agent = '', bottle = ''] = [...manual.matchAll(/```markdown\n([^]*?)```/g)].map(
    ([, text]) => text ?? '',
  );
  await using shelf = await Shelf.make({
    'agents/reviewer': agent,
    'bottles/node': bottle,
    'bottles/base': matter(''),
    'bottles/work': matter(''),
  });
  const loaded = await shelf.load({ agent: 'reviewer' });
  assert.deepEqual(loaded.warnings, []);
  assert.deepEqual(loaded.bottle.names, ['base', 'node', 'work']);
  assert.match(loaded.agent.prompt, /^Review the last commit/);
  assert.deepEqual(loaded.bottle.rules.map(formatRule), [
    'allow docs.example.com',
    'allow *.build.example.com:443',
    'allow api.example.com GET /v1/*',
    'deny admin.build.example.com',
  ]);
});

test('the manual names every key and every preset', async () => {
  for (const preset of presetNames) assert.ok(manual.includes(`\`${preset}\``), preset);
  for (const [kind, fronts] of [
    [
      'bottles',
      [
        'x: 1',
        'image: { x: 1 }',
        'resources: { x: 1 }',
        'agent_provider: { x: 1 }',
        'egress: { x: 1 }',
        'egress: { routes: [{ host: a.example, x: 1 }] }',
        'egress: { allow: [{ host: a.example, x: 1 }] }',
      ],
    ],
    ['agents', ['x: 1']],
  ] as const) {
    for (const front of fronts) {
      const [problem = ''] = await problemsOf(kind, matter(front));
      const keys = /there are (.*)$/.exec(problem)?.[1]?.split(', ') ?? [];
      assert.ok(keys.length > 0, problem);
      for (const key of keys) assert.match(manual, new RegExp(`[\`.]${key}[\`.[:]`), `${key} of ${front}`);
    }
  }
});
