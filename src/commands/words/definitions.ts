import type { DefinitionFailure } from '../../definitions/errors.ts';
import { failed, missing, usage, type Words } from './words.ts';

const manual = 'every key is explained in docs/definitions.md';

function oneOf(known: readonly string[]): string {
  return known.length === 0 ? 'There is none.' : `There are ${known.join(', ')}.`;
}

function meant(suggestion: string | undefined): string {
  return suggestion === undefined ? '' : ` (did you mean ${suggestion}?)`;
}

export const definitionWords: Words<DefinitionFailure> = {
  DefinitionInvalid: ({ path, problems }) => ({
    what: `${path} cannot be used`,
    why: problems.map(({ line, problem }) => `${path}:${line}: ${problem}`).join('\n'),
    hint: manual,
    exitCode: usage,
  }),
  DefinitionUnreadable: ({ path, reason, code }) => ({
    what: `${path} cannot be read: ${
      {
        'no-permission': 'you may not read it',
        'not-a-file': 'it is not a file',
        'too-large': 'it is larger than 256 KiB',
        'not-text': 'it is not UTF-8 text',
        'outside-repository': 'it is a symbolic link that leads out of the repository',
        'io-error': 'the system failed',
      }[reason]
    }${code === undefined ? '' : ` (${code})`}`,
    ...(reason === 'outside-repository'
      ? { why: 'What comes with a repository may use only what comes with it too.' }
      : {}),
    exitCode: usage,
  }),
  DefinitionNameInvalid: ({ kind, name }) => ({
    what: `no ${kind} can be called ${JSON.stringify(name)}`,
    why: 'A name has lower-case letters, digits and -, begins with a letter, and is 63 characters long at most.',
    exitCode: usage,
  }),
  AgentUnknown: ({ name, known, suggestion, places }) => ({
    what: `there is no agent ${name}${meant(suggestion)}`,
    why: `${oneOf(known)}\nLooked for ${name}.md in ${places.join(' and ')}.`,
    hint: `write one: claude-bottle init --name ${name}`,
    exitCode: usage,
  }),
  BottleUnknown: ({ name, known, suggestion, place }) => ({
    what: `there is no bottle ${name}${meant(suggestion)}`,
    why: `${oneOf(known)}\nLooked for ${name}.md in ${place}.`,
    hint: `write one: claude-bottle init --name ${name}`,
    exitCode: usage,
  }),
  BottleCycle: ({ chain }) => ({
    what: `bottles extend each other in a circle: ${chain.join(' -> ')}`,
    hint: 'take one of them out of `extends`',
    exitCode: usage,
  }),
  HostVariableMissing: ({ missing: absent }) => ({
    what:
      absent.length === 1
        ? 'a variable of the bottle comes from a variable that is not set here'
        : `${absent.length} variables of the bottle come from variables that are not set here`,
    why: absent.map(({ name, variable }) => `${name} is taken from ${variable}`).join('\n'),
    hint: `set ${[...new Set(absent.map(({ variable }) => variable))].join(', ')}, and run the command again`,
    exitCode: missing,
  }),
  PromptImpossible: ({ names }) => ({
    what: `${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} to be asked for, and there is no terminal`,
    hint: `set ${names.length === 1 ? 'it' : 'them'} in the environment, and say ${names.map((name) => `--env ${name}`).join(' ')}`,
    exitCode: usage,
  }),
  EnvUnusable: ({ name, problem }) => ({
    what:
      problem === 'name'
        ? `${JSON.stringify(name)} cannot be the name of a variable`
        : `the value of ${name} holds a NUL character, which no process can be given`,
    exitCode: usage,
  }),
  DefinitionExists: ({ paths }) => ({
    what: `${paths.join(' and ')} ${paths.length === 1 ? 'exists' : 'exist'} already`,
    hint: 'choose another --name, or overwrite with --force',
    exitCode: usage,
  }),
  DefinitionUnwritable: ({ path, code }) => ({
    what: `${path} cannot be written (${code})`,
    hint: 'print it instead, and put it where it belongs: claude-bottle init --print',
    exitCode: failed,
  }),
};
