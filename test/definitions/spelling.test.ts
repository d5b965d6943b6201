import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unknownCommand } from '../../src/commands/command-line.ts';
import { commandNames } from '../../src/commands/names.ts';
import { nearest } from '../../src/definitions/spelling.ts';

test('the word that was meant is one slip away, or a third of its letters', () => {
  const known = ['egress', 'resources', 'env', 'list'];
  const meant: Record<string, string | undefined> = {
    egres: 'egress',
    Egress: 'egress',
    gerses: 'egress',
    resuorces: 'resources',
    ressource: 'resources',
    evn: 'env',
    lsit: 'list',
    e: undefined,
    anything: undefined,
    [`egress${'s'.repeat(1_000)}`]: undefined,
  };
  for (const [typed, word] of Object.entries(meant)) assert.equal(nearest(typed, known), word, typed);
  assert.equal(nearest('env', []), undefined);
});

test('a command is meant by how it begins, or by the same rule', () => {
  const suggested = (typed: string) =>
    /did you mean (\w+)\?/.exec(unknownCommand(typed, commandNames).fields.problem)?.[1];
  assert.equal(suggested('comp'), 'completion');
  assert.equal(suggested('strat'), 'start');
  assert.equal(suggested('lsit'), 'list');
  assert.equal(suggested('collcet'), 'collect');
  // Two changes of four letters are another word.
  assert.equal(suggested('mast'), undefined);
  assert.equal(suggested('wxyz'), undefined);
});
