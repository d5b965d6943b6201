import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { definitionName } from '../definitions/fields.ts';
import { type Starter, starterFiles } from '../definitions/starter.ts';
import { writeStarter } from '../definitions/write.ts';
import { presetNames } from '../gate/presets/presets.ts';
import { openQuestions, type Questions } from '../terminal/ask.ts';
import { BadUsage, commandLine, parse } from './command-line.ts';
import { BadValue } from './errors.ts';
import { nonEmpty, type World } from './world.ts';

/** What a starting pair can be for, and the preset that this needs. */
const templates = {
  claude: { about: 'Claude Code', preset: 'anthropic' },
  codex: { about: 'Codex', preset: 'openai' },
  shell: { about: 'a shell, for you to look around', preset: 'none' },
  demo: { about: 'a scripted agent that shows what a bottle does', preset: 'none' },
} as const;
type Template = keyof typeof templates;

interface InitFlags {
  name?: string;
  template?: Template;
  preset: string[];
  /** False for `--no-dockerfile`. */
  dockerfile?: string | false;
  yes: boolean;
  force: boolean;
  print: boolean;
}

function define(world: World): Command {
  return commandLine('init', world)
    .description(
      'Writes a starting pair, an agent and the bottle that it runs in, with comments.\nPrints the paths of both. Without a terminal it takes the flags, and the defaults with --yes.',
    )
    .option('--name <name>', "what both are called (default: this directory's name)")
    .addOption(
      new Option(
        '--template <name>',
        `what runs: ${Object.keys(templates).join(', ')} (default: claude)`,
      ).choices(Object.keys(templates)),
    )
    .addOption(
      new Option(
        '--preset <name>',
        `hosts that it may reach: ${presetNames.join(', ')}; may be repeated (default: what the template needs)`,
      )
        .argParser((value: string, previous: string[]) => {
          if (presetNames.includes(value)) return [...previous, value];
          throw new BadValue({
            what: '--preset',
            value,
            expected: presetNames.join(', '),
            help: 'claude-bottle init --help',
          });
        })
        .default([]),
    )
    .option('--dockerfile <file>', 'what its image is built from (default: Dockerfile, where there is one)')
    .option('--no-dockerfile', "take the template's own image")
    .option('--yes', 'ask nothing, take the defaults', false)
    .option('--force', 'overwrite files that are there', false)
    .option('--print', 'print both files and write nothing', false);
}

/** `claude-bottle init`. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = define(world);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<InitFlags>();
  const starter = await starterOf(flags, world);
  const files = starterFiles(starter);
  const { stdout, stderr } = world.terminal;
  if (flags.print) {
    stdout.write(files.map(({ path, text }) => `==> ~/${path} <==\n${text}`).join('\n'));
    return 0;
  }
  const home = nonEmpty(world.environment['HOME']) ?? homedir();
  for (const path of await writeStarter(home, files, { force: flags.force })) stdout.write(`${path}\n`);
  stderr.write(`→ read both, then: claude-bottle start ${starter.name}\n`);
  return 0;
}

async function starterOf(flags: InitFlags, world: World): Promise<Starter> {
  if (flags.name !== undefined && !definitionName.test(flags.name)) {
    throw new BadValue({
      what: '--name',
      value: flags.name,
      expected: 'lower-case letters, digits and -, beginning with a letter',
      help: 'claude-bottle init --help',
    });
  }
  if (typeof flags.dockerfile === 'string' && !(await isFile(flags.dockerfile))) {
    throw new BadValue({
      what: '--dockerfile',
      value: flags.dockerfile,
      expected: 'the path of a file that is there',
      help: 'claude-bottle init --help',
    });
  }
  await using questions = flags.yes ? undefined : openQuestions(world.signal);
  const root = await repositoryRoot();
  const hasDockerfile = await isFile(join(root, 'Dockerfile'));
  if (!flags.yes && questions === undefined) refuseToGuess(flags, hasDockerfile);
  const name = flags.name ?? (await askName(questions));
  const template = flags.template ?? (await askTemplate(questions));
  const presets = flags.preset.length > 0 ? flags.preset : await askPresets(questions, template);
  const usual = hasDockerfile ? join(root, 'Dockerfile') : false;
  const dockerfile = flags.dockerfile ?? (hasDockerfile && (await askDockerfile(questions)) ? usual : false);
  return {
    name,
    template,
    presets: [...new Set(presets)],
    ...(dockerfile === false ? {} : { dockerfile: asWritten(root, dockerfile) }),
  };
}

function refuseToGuess({ name, template, preset, dockerfile }: InitFlags, hasDockerfile: boolean): void {
  const open = [
    ...(name === undefined ? ['--name'] : []),
    ...(template === undefined ? ['--template'] : []),
    ...(preset.length === 0 ? ['--preset'] : []),
    ...(dockerfile === undefined && hasDockerfile ? ['--dockerfile or --no-dockerfile'] : []),
  ];
  if (open.length === 0) return;
  throw new BadUsage({
    problem: `there is no terminal to ask at, and no word on ${open.join(', ')}`,
    hint: 'say it with these flags, or take the defaults: claude-bottle init --yes',
  });
}

async function askName(questions: Questions | undefined): Promise<string> {
  const here = basename(process.cwd())
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '');
  const usual = definitionName.test(here) ? here : 'agent';
  if (questions === undefined) return usual;
  return questions.ask('Name of the agent and its bottle', {
    default: usual,
    check: (name) =>
      definitionName.test(name)
        ? undefined
        : 'lower-case letters, digits and -, beginning with a letter, please',
  });
}

async function askTemplate(questions: Questions | undefined): Promise<Template> {
  if (questions === undefined) return 'claude';
  const choices = Object.entries(templates).map(([name, { about }]) => ({ name, about }));
  return (await questions.choose('What runs in it', choices, { default: 'claude' })) as Template;
}

async function askPresets(questions: Questions | undefined, template: Template): Promise<string[]> {
  const usual = templates[template].preset;
  if (questions === undefined) return [usual];
  const split = (answer: string) => answer.split(/[\s,]+/).filter((preset) => preset !== '');
  const answer = await questions.ask(`Hosts that it may reach (${presetNames.join(', ')})`, {
    default: usual,
    check: (typed) => {
      const unknown = split(typed).find((preset) => !presetNames.includes(preset));
      return unknown === undefined ? undefined : `there is no ${unknown}; several are separated by blanks`;
    },
  });
  return split(answer);
}

async function askDockerfile(questions: Questions | undefined): Promise<boolean> {
  return (
    questions === undefined || questions.confirm('Build its image from ./Dockerfile?', { default: true })
  );
}

/** Where relative paths of bottles start: the repository that we are in, or this directory. */
async function repositoryRoot(): Promise<string> {
  const here = process.cwd();
  for (let place = here; ; place = dirname(place)) {
    if (await stat(join(place, '.git')).catch(() => undefined)) return place;
    if (place === dirname(place)) return here;
  }
}

/** Below the repository it is relative, so that it is there in another repository too. */
function asWritten(root: string, path: string): string {
  const below = relative(root, resolve(path));
  return below.startsWith('..') || isAbsolute(below) ? resolve(path) : below;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
