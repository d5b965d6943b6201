import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explain } from '../../src/commands/failures.ts';
import type { EnvValue } from '../../src/definitions/definition.ts';
import { resolveEnv } from '../../src/definitions/env.ts';
import {
  type EnvUnusable,
  HostVariableMissing,
  type PromptImpossible,
} from '../../src/definitions/errors.ts';

const literal = (value: string): EnvValue => ({ kind: 'literal', value });
const host = (variable: string): EnvValue => ({ kind: 'host', variable });
const prompt = (message: string): EnvValue => ({ kind: 'prompt', message });

test('each form gives its value', async () => {
  const asked: string[] = [];
  const env = await resolveEnv(
    { A: literal('a ${B}'), B: host('HOST_B'), C: prompt(''), D: prompt('the d'), E: host('EMPTY') },
    {
      hostEnv: { HOST_B: 'b', EMPTY: '' },
      ask: async (name, message) => {
        asked.push(`${name}:${message}`);
        return name.toLowerCase();
      },
    },
  );
  assert.deepEqual(env, { A: 'a ${B}', B: 'b', C: 'c', D: 'd', E: '' });
  assert.deepEqual(asked, ['C:', 'D:the d']);
});

test('all that is missing on the host is said at once, before anything is asked', async () => {
  const env = { A: host('ONE'), B: host('TWO'), C: host('constructor'), D: prompt('') };
  const ask = () => assert.fail('asked');
  await assert.rejects(resolveEnv(env, { hostEnv: { OTHER: 'x' }, ask }), (error: HostVariableMissing) => {
    assert.ok(error instanceof HostVariableMissing);
    assert.deepEqual(error.fields.missing, [
      { name: 'A', variable: 'ONE' },
      { name: 'B', variable: 'TWO' },
      { name: 'C', variable: 'constructor' },
    ]);
    assert.match(explain(error).why ?? '', /^A is taken from ONE\nB is taken from TWO\n/);
    return true;
  });
});

test('without somebody to ask, the flag is named', async () => {
  await assert.rejects(
    resolveEnv({ A: prompt('x'), B: prompt('') }, { hostEnv: {} }),
    (error: PromptImpossible) => {
      assert.match(explain(error).hint ?? '', /--env A --env B$/);
      return true;
    },
  );
});

test('what no process can be given is refused, and not shown', async () => {
  for (const [env, problem] of [
    [{ 'A B': literal('') }, 'name'],
    [{ 'A=B': literal('') }, 'name'],
    [{ '': literal('') }, 'name'],
    [{ A: prompt('') }, 'nul'],
  ] as const) {
    await assert.rejects(
      resolveEnv(env, { hostEnv: {}, ask: async () => 'secret\0' }),
      (error: EnvUnusable) => error.fields.problem === problem && !error.message.includes('secret'),
    );
  }
});
