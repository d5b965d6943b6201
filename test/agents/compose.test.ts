import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { composeAgent, type AgentRequest } from '../../src/agents/compose.ts';
import {
  CommandUnsaid,
  HeadlessUnsupported,
  PromptUnusable,
  TemplateUnknown,
} from '../../src/agents/errors.ts';
import { template, templateNames } from '../../src/agents/templates.ts';
import type { AgentDefinition } from '../../src/definitions/definition.ts';

const definition: AgentDefinition = {
  name: 'reviewer',
  source: 'home',
  prompt: '',
  skills: [],
  gitUser: {},
  bottles: [],
};

function request(name: string | undefined, more: Partial<AgentRequest> = {}): AgentRequest {
  return {
    definition,
    ...(name === undefined ? {} : { template: template(name) }),
    isRoot: false,
    systemPromptPath: '/run/prompt.md',
    workspace: '/workspace',
    bypass: true,
    ...more,
  };
}

const withPrompt: AgentDefinition = { ...definition, prompt: 'Be brief.\n' };
const skill = { path: 'sing/SKILL.md', mode: 0o644, content: 'la' };

describe('templates', () => {
  test('each has a Dockerfile in its directory, and a .dockerignore', () => {
    assert.deepEqual(templateNames, ['claude', 'codex', 'shell', 'demo']);
    for (const name of templateNames) {
      assert.ok(existsSync(join(template(name).directory, 'Dockerfile')), name);
      assert.ok(existsSync(join(template(name).directory, '.dockerignore')), name);
    }
  });

  test('a name that is none says which there are, names of every object included', () => {
    for (const name of ['gemini', 'toString', '__proto__', '']) {
      assert.throws(
        () => template(name),
        (error) => error instanceof TemplateUnknown && error.fields.known.length === 4,
      );
    }
  });
});

describe('composing an agent', () => {
  test('claude: flags, prompt file and headless prompt, in an order that no prompt can break', () => {
    const { command, files } = composeAgent(
      request('claude', {
        definition: withPrompt,
        headlessPrompt: '--version',
        extraArgs: ['--model', 'opus'],
        skills: [skill],
      }),
    );
    assert.deepEqual(command, [
      'claude',
      '--dangerously-skip-permissions',
      '--append-system-prompt-file',
      '/run/prompt.md',
      '--model',
      'opus',
      '-p',
      '--',
      '--version',
    ]);
    assert.deepEqual(
      files.map(({ path }) => path),
      ['.claude.json', '.claude/skills/sing/SKILL.md'],
    );
  });

  test('claude: without a prompt there is neither a flag nor a file for one', () => {
    for (const prompt of ['', ' \n']) {
      const { command, files } = composeAgent(request('claude', { definition: { ...definition, prompt } }));
      assert.deepEqual(command, ['claude', '--dangerously-skip-permissions']);
      assert.deepEqual(
        files.map(({ path }) => path),
        ['.claude.json'],
      );
    }
  });

  test('codex: exec comes first, and the system prompt goes into the configuration', () => {
    const { command, files } = composeAgent(
      request('codex', {
        definition: withPrompt,
        headlessPrompt: 'fix it',
        extraArgs: ['-m', 'x'],
        skills: [skill],
      }),
    );
    assert.deepEqual(command, [
      'codex',
      'exec',
      '--dangerously-bypass-approvals-and-sandbox',
      '-m',
      'x',
      '--',
      'fix it',
    ]);
    assert.deepEqual(
      files.map(({ path }) => path),
      ['.codex/config.toml', '.agents/skills/sing/SKILL.md'],
    );
    assert.match(String(files[0]?.content), /^developer_instructions = "Be brief\.\\n"$/m);
  });

  test('codex: no prompt can leave its string in the configuration', () => {
    const prompt = 'a"\n[projects."/"]\ntrust_level = "trusted"\n\u007f\ud800';
    const { files } = composeAgent(request('codex', { definition: { ...definition, prompt } }));
    const lines = String(files[0]?.content).split('\n');
    assert.deepEqual(
      lines.filter((line) => line.startsWith('[projects')),
      ['[projects."/workspace"]'],
    );
    assert.match(lines.join('\n'), /\\u007F\ufffd"$/m);
  });

  test('codex takes its key out of the environment only where the bottle has one', () => {
    const keyed = composeAgent(request('codex', { variables: ['OPENAI_API_KEY'] }));
    assert.match(String(keyed.files[0]?.content), /env_key = "OPENAI_API_KEY"/);
    const plain = composeAgent(request('codex', { variables: ['PATH'] }));
    assert.doesNotMatch(String(plain.files[0]?.content), /model_provider/);
  });

  test('without bypass no flag and no file says that everything is allowed', () => {
    for (const name of ['claude', 'codex']) {
      const { command, files, env } = composeAgent(request(name, { bypass: false, isRoot: true }));
      assert.doesNotMatch(JSON.stringify([command, files, env]), /bypass|dangerous|sandbox/i, name);
    }
  });

  test('a flag that the user gave is not given twice', () => {
    for (const name of ['claude', 'codex']) {
      const [, flag] = composeAgent(request(name)).command;
      assert.ok(flag);
      assert.deepEqual(composeAgent(request(name, { extraArgs: [flag] })).command, [name, flag]);
    }
  });

  test("the definition's command replaces the template's, and still gets its flags", () => {
    const command = ['/opt/claude', '--debug'];
    const composed = composeAgent(request('claude', { definition: { ...definition, command } }));
    assert.deepEqual(composed.command, ['/opt/claude', '--debug', '--dangerously-skip-permissions']);
  });

  test('a shell takes arguments and no prompt, and says what is left out', () => {
    const composed = composeAgent(
      request('shell', { definition: { ...withPrompt, skills: ['sing'] }, extraArgs: ['-c', 'id'] }),
    );
    assert.deepEqual(composed.command, ['bash', '-l', '-c', 'id']);
    assert.deepEqual(composed.files, []);
    assert.deepEqual(composed.warnings, [
      'the system prompt is left out: the template shell takes none',
      'the skills are left out: the template shell takes none',
    ]);
    assert.throws(() => composeAgent(request('shell', { headlessPrompt: 'x' })), HeadlessUnsupported);
  });

  test('a command of its own needs no template; neither is a failure', () => {
    const command = ['make', 'agent'];
    assert.deepEqual(
      composeAgent(request(undefined, { definition: { ...definition, command } })).command,
      command,
    );
    assert.throws(() => composeAgent(request(undefined)), CommandUnsaid);
  });

  test('a prompt that cannot be an argument is refused before anything starts', () => {
    const compose = (headlessPrompt: string) => composeAgent(request('claude', { headlessPrompt }));
    for (const prompt of ['', ' \n', 'a\0b', 'x'.repeat(128 * 1024), 'ü'.repeat(64 * 1024)]) {
      assert.throws(() => compose(prompt), PromptUnusable);
    }
    assert.equal(compose('x'.repeat(128 * 1024 - 1)).command.at(-1)?.length, 128 * 1024 - 1);
  });

  test('what is composed holds no value of a variable', () => {
    const composed = composeAgent(request('codex', { variables: ['OPENAI_API_KEY'] }));
    assert.deepEqual(composed.env, {});
    assert.deepEqual(Object.values(composeAgent(request('claude')).env), ['1', '1', '1']);
  });
});
