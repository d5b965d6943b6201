import type { AgentFailure } from '../../agents/errors.ts';
import { formatBytes } from '../../terminal/units.ts';
import { usage, type Words } from './words.ts';

export const agentWords: Words<AgentFailure> = {
  TemplateUnknown: ({ template, known }) => ({
    what: `there is no template ${JSON.stringify(template)}`,
    why: `There are ${known.join(', ')}.`,
    hint: 'any other program: name an image or a Dockerfile, and the command (docs/agents.md)',
    exitCode: usage,
  }),
  CommandUnsaid: ({ agent }) => ({
    what: `nothing says what the agent ${agent} runs`,
    why: 'It has neither a template nor a command.',
    hint: 'add "command" or "template" to the agent or the bottle, or give the command after --',
    exitCode: usage,
  }),
  HeadlessUnsupported: ({ agent, template, able }) => ({
    what: `the agent ${agent} cannot be given a prompt to work on without a terminal`,
    why: `${template === undefined ? 'It has no template' : `Its template is ${template}`}, and only ${able.join(' and ')} know how to pass one on.`,
    hint: 'leave out --headless and put what it should do into the command itself, after --',
    exitCode: usage,
  }),
  PromptUnusable: ({ problem, bytes, limit }) => ({
    what: {
      empty: 'the prompt is empty',
      nul: 'the prompt has a NUL character in it',
      'too-long': `the prompt is ${bytes} bytes long, where an argument of a program may have ${limit}`,
    }[problem],
    hint: 'put the long part into a file of the repository, and let the prompt name it',
    exitCode: usage,
  }),
  SkillNameInvalid: ({ skill }) => ({
    what: `${JSON.stringify(skill)} is no name of a skill`,
    why: 'A skill is named by lower-case letters, digits and single dashes.',
    exitCode: usage,
  }),
  SkillMissing: ({ skill, path, known }) => ({
    what: `there is no skill ${skill}`,
    why: `${path} is not there. ${known.length === 0 ? 'There are no skills beside it.' : `There are ${known.join(', ')}.`}`,
    exitCode: usage,
  }),
  SkillUnreadable: ({ skill, path, reason }) => ({
    what: `the skill ${skill} cannot be read`,
    why: `${path}: ${reason}`,
    exitCode: usage,
  }),
  SkillTooLarge: ({ skill, path, unit, limit }) => ({
    what: `the skill ${skill} is too large to be one`,
    why: `${path} has more than ${unit === 'bytes' ? formatBytes(limit) : `${limit} ${unit}`}. It is copied into every bottle that asks for it.`,
    hint: 'move what is no part of the skill out of its directory',
    exitCode: usage,
  }),
};
