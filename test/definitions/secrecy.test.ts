import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { explain } from '../../src/commands/failures.ts';
import { AnyFailure } from '../../src/failure.ts';
import { matter, Shelf } from './shelf.ts';

test('no failure holds a value of the file', async () => {
  // Values that stand nowhere in our words; some look like what is expected, most do not.
  const secret = fc
    .stringMatching(/^[a-z0-9]{12}$/)
    .chain((text) =>
      fc
        .constantFrom(
          text,
          `/${text}`,
          `https://${text}.example`,
          `*.${text}`,
          `\${${text}`,
          `?${text}\\x`,
          `!${text}`,
          `*${text}`,
          `&${text} x`,
          `"${text}`,
          `[${text}`,
          `{${text}`,
          `"${text}\\q"`,
          `${text}: ${text}: x`,
          `<${text}>`,
          `"\\0${text}"`,
          `a\t${text}`,
          `|${text}`,
          `%${text}`,
        )
        .map((value) => ({ text, value })),
    );
  const key = fc.constantFrom(
    'extends',
    'env',
    'env.A',
    'env.A-',
    'agent_provider',
    'agent_provider.template',
    'agent_provider.dockerfile',
    'agent_provider.auth_token',
    'git-gate',
    'git-gate.user',
    'git-gate.user.name',
    'egress',
    'egress.log',
    'egress.allow',
    'egress.presets',
    'egress.routes',
    'supervise',
    'image',
    'image.dockerfile',
    'image.build_args',
    'image.build_args.x',
    'resources.cpus',
    'resources.memory',
    'command',
    'user',
    'unknown',
    'skills',
    'bottle',
    'template',
    'egress.deny',
    'resources.pids',
    'image.target',
  );
  const form = fc.constantFrom('plain', 'list', 'mapping', 'host', 'route');
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(key, form, secret), { minLength: 1, maxLength: 4 }),
      async (entries) => {
        const lines = entries.map(([path, how, { value }]) => {
          const written = {
            plain: value,
            list: `[${value}, [${value}]]`,
            mapping: `{ x: ${value} }`,
            host: `[{ host: ${value}, ports: [${value}], paths: [${value}] }]`,
            route: `[{ host: ${value}, matches: [{ paths: [{ type: ${value}, value: ${value} }] }] }]`,
          }[how];
          return (
            path
              .split('.')
              .map((part, depth) => `${' '.repeat(depth)}${part}:`)
              .join('\n') + ` ${written}`
          );
        });
        const text = matter(lines.join('\n'), 'body');
        await using shelf = await Shelf.make({ 'bottles/b': text, 'agents/b': text, 'repo:agents/c': text });
        for (const request of [{ bottles: ['b'] }, { agent: 'b' }, { agent: 'c' }]) {
          try {
            const { warnings } = await shelf.load(request);
            if (request.agent === 'c')
              assert.ok(entries.every(([, , { text: one }]) => !warnings.join().includes(one)));
          } catch (error) {
            assert.ok(error instanceof AnyFailure, String(error));
            const shown = [
              error.message,
              JSON.stringify(error.fields),
              JSON.stringify(explain(error)),
              error.stack,
            ].join();
            for (const [, , { text: one }] of entries)
              assert.ok(!shown.includes(one), `${one} in ${shown}\n${text}`);
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});
