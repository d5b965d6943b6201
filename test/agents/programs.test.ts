import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type AgentRequest, composeAgent, type ComposedAgent } from '../../src/agents/compose.ts';
import { template } from '../../src/agents/templates.ts';
import { apiDouble, container, screenOf } from './container.ts';
import { exampleImage, type TestImage } from './example-image.ts';

// The real programs, from the registry, in the images that the examples make.

const systemPrompt =
  'Say "aye" to \\everything\\.\nThe second line, with a tab\there, an ümlaut and a \u007f.\n';
const task = '-this begins with a dash\nand has "two" lines, $HOME and `date` in it';
const skill = {
  path: 'greet-people/SKILL.md',
  mode: 0o644,
  content:
    '---\nname: greet-people\ndescription: Greets whoever comes by, in the language of birds.\n---\nSing.\n',
};

const promptFile = 'prompt.md';

function compose(name: string, more: Partial<AgentRequest> = {}): ComposedAgent {
  const home = more.isRoot === true ? '/root' : '/home/agent';
  const composed = composeAgent({
    definition: {
      name,
      source: 'home',
      prompt: systemPrompt,
      skills: ['greet-people'],
      gitUser: {},
      bottles: [],
    },
    template: template(name),
    isRoot: false,
    systemPromptPath: `${home}/${promptFile}`,
    workspace: '/workspace',
    bypass: true,
    skills: [skill],
    ...more,
  });
  // Where a bottle has it mounted, the container of the test has a file.
  return {
    ...composed,
    files: [...composed.files, { path: promptFile, mode: 0o644, content: systemPrompt }],
  };
}

const versions: Record<string, RegExp> = {
  claude: /^\d+\.\d+\.\d+ \(Claude Code\)$/m,
  codex: /^codex-cli \d+\.\d+\.\d+$/m,
};

for (const name of ['claude', 'codex']) {
  describe(`the example ${name}`, () => {
    let image: TestImage;
    before(async () => {
      image = await exampleImage(name);
    });
    after(() => image[Symbol.asyncDispose]());

    test('answers --version without a network, as a user who is not root', async () => {
      const agent = compose(name, { extraArgs: ['--version'] });
      await using bottle = await container({ image: image.name, agent });
      const { code, stdout, stderr } = await bottle.run();
      assert.equal(code, 0, stderr);
      assert.match(stdout, versions[name] as RegExp);

      const whoami = { command: ['id', '-u'], files: [], env: {} };
      await using asked = await container({ image: image.name, agent: whoami });
      assert.equal((await asked.run()).stdout.trim(), '1000');
    });

    test('refuses a flag that it does not know, so that accepting ours means something', async () => {
      const agent = compose(name, { headlessPrompt: task, extraArgs: ['--no-such-flag'] });
      await using bottle = await container({ image: image.name, agent });
      const { code, stderr } = await bottle.run();
      assert.notEqual(code, 0);
      assert.match(stderr, /unknown option|unexpected argument/);
    });
  });
}

describe('Claude Code', () => {
  let image: TestImage;
  before(async () => {
    image = await exampleImage('claude');
  });
  after(() => image[Symbol.asyncDispose]());

  for (const root of [false, true]) {
    test(`headless${root ? ' as root' : ''}: prompt, system prompt and skills arrive as they were given`, async () => {
      await using api = await apiDouble();
      await using bottle = await container({
        image: image.name,
        agent: compose('claude', { headlessPrompt: task, isRoot: root }),
        env: { ANTHROPIC_API_KEY: 'key-of-the-test', ANTHROPIC_BASE_URL: api.url },
        network: 'bridge',
        root,
      });
      const { code, stdout, stderr } = await bottle.run();
      assert.equal(code, 1);
      assert.match(stdout + stderr, /the double declines/);
      const [asked] = api.requests.filter(({ path }) => path.startsWith('POST /v1/messages'));
      assert.ok(asked);
      assert.equal(asked.authorization, 'key-of-the-test');
      assert.ok(asked.body.includes(JSON.stringify(task)), 'the prompt is whole');
      assert.ok(
        asked.body.includes(JSON.stringify(systemPrompt.trim()).slice(1, -1)),
        'the system prompt is whole',
      );
      assert.match(asked.body, /greet-people: Greets whoever comes by/);
      // Nothing went anywhere but to the model.
      assert.deepEqual(new Set(api.requests.map(({ path }) => path)), new Set([asked.path]));
    });
  }

  test('on a terminal: no question about onboarding, trust or bypassing before it waits for work', async () => {
    await using bottle = await container({ image: image.name, agent: compose('claude'), terminal: true });
    await using screen = await screenOf(bottle);
    await screen.until(/bypass permissions on/);
    assert.doesNotMatch(screen.seen(), /trust|accept|theme|Do you want|Press Enter/i);
  });

  test('on a terminal: what the files do not answer is asked, so that not asking means something', async () => {
    const asked = { '/elsewhere': /Yes, I trust this folder/, '/workspace': /Yes, I accept/ };
    for (const [workspace, question] of Object.entries(asked)) {
      const { files, env } = compose('claude', { workspace, bypass: false });
      const agent = { files, env, command: ['claude', '--dangerously-skip-permissions'] };
      await using bottle = await container({ image: image.name, agent, terminal: true });
      await using screen = await screenOf(bottle);
      await screen.until(question);
    }
  });

  test('on a terminal with an API key: asks once whether to use it, and then goes on', async () => {
    const env = { ANTHROPIC_API_KEY: 'key-of-the-test-0123456789' };
    await using bottle = await container({
      image: image.name,
      agent: compose('claude'),
      env,
      terminal: true,
    });
    await using screen = await screenOf(bottle);
    await screen.until(/Do you want to use this API key/);
    await screen.press('Up');
    await screen.until(/❯ Yes/);
    await screen.press('Enter');
    await screen.until(/bypass permissions on/);
    assert.doesNotMatch(screen.seen(), /trust|accept|theme/i);
  });

  test('on a terminal without bypassing: it says so, and asks nothing at its start', async () => {
    const agent = compose('claude', { bypass: false });
    await using bottle = await container({ image: image.name, agent, terminal: true });
    await using screen = await screenOf(bottle);
    await screen.until(/shift\+tab to cycle|\? for shortcuts/);
    assert.doesNotMatch(screen.seen(), /bypass|trust|accept|theme/i);
  });
});

describe('Codex', () => {
  let image: TestImage;
  before(async () => {
    image = await exampleImage('codex');
  });
  after(() => image[Symbol.asyncDispose]());
  const key = { OPENAI_API_KEY: 'key-of-the-test' };
  /** Makes the workspace a repository that brings configuration for the agent. */
  const withOwnConfig = `git init -q . && mkdir .codex && echo 'model_reasoning_effort = "low"' > .codex/config.toml`;

  test('headless: prompt, system prompt and skills arrive as they were given', async () => {
    await using api = await apiDouble();
    await using bottle = await container({
      image: image.name,
      agent: compose('codex', {
        headlessPrompt: task,
        variables: ['OPENAI_API_KEY'],
        extraArgs: [
          '--strict-config',
          '--skip-git-repo-check',
          '-c',
          `model_providers.bottle.base_url="${api.url}/v1"`,
        ],
      }),
      env: key,
      network: 'bridge',
    });
    const { code, stdout, stderr } = await bottle.run();
    assert.equal(code, 1);
    assert.match(stdout + stderr, /the double declines/);
    assert.match(stdout + stderr, /approval: never\nsandbox: danger-full-access/);
    const [asked] = api.requests.filter(({ path }) => path === 'POST /v1/responses');
    assert.ok(asked);
    assert.equal(asked.authorization, 'Bearer key-of-the-test');
    assert.ok(asked.body.includes(JSON.stringify(task)), 'the prompt is whole');
    assert.ok(asked.body.includes(JSON.stringify(systemPrompt)), 'the system prompt is whole');
    assert.match(asked.body, /greet-people: Greets whoever comes by/);
  });

  test('on a terminal with a key in the environment: no question before it waits for work', async () => {
    const { command, ...placed } = compose('codex', { variables: ['OPENAI_API_KEY'] });
    const agent = { ...placed, command: ['sh', '-c', `${withOwnConfig} && exec "$@"`, 'sh', ...command] };
    await using bottle = await container({ image: image.name, agent, env: key, terminal: true });
    await using screen = await screenOf(bottle);
    await screen.until(/permissions: YOLO mode[^]*Ask Codex to do anything/);
    assert.doesNotMatch(screen.seen(), /trust|sign in|continue/i);
  });

  test('on a terminal: a folder that the files do not name is asked about, so that not asking means something', async () => {
    const { files, env } = compose('codex', { variables: ['OPENAI_API_KEY'], workspace: '/elsewhere' });
    const agent = { files, env, command: ['sh', '-c', `${withOwnConfig} && exec codex`] };
    await using bottle = await container({ image: image.name, agent, env: key, terminal: true });
    await using screen = await screenOf(bottle);
    await screen.until(/trust/i);
  });

  test('on a terminal without a key: nothing comes before the question how to sign in', async () => {
    await using bottle = await container({ image: image.name, agent: compose('codex'), terminal: true });
    await using screen = await screenOf(bottle);
    await screen.until(/Sign in with ChatGPT/);
    assert.doesNotMatch(screen.seen(), /trust/i);
  });
});
