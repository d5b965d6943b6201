import { join } from 'node:path';
import { claude } from './claude.ts';
import { codex } from './codex.ts';
import { TemplateUnknown } from './errors.ts';
import type { Program } from './program.ts';

/** A built-in way of running an agent: everything that a definition need not say. */
export interface Template {
  readonly name: string;
  /** One line, for lists. */
  readonly title: string;
  /** Absolute: a Dockerfile and what it copies. In a checkout and in the npm package alike. */
  readonly directory: string;
  readonly command: readonly string[];
  /** The gate's presets without which it is of no use. */
  readonly presets: readonly string[];
  /** A line for somebody's own Dockerfile that brings its program, where that has Node.js. */
  readonly install?: string;
  /** Its command is in its own image and in no other. */
  readonly needsOwnImage: boolean;
  /** Without one the command takes neither a prompt nor skills. */
  readonly program?: Program;
}

/** `src/agents` and `dist/agents` are equally far from it. */
const examples = join(import.meta.dirname, '../../examples');

const templates: Readonly<Record<string, Template>> = {
  claude: {
    name: 'claude',
    title: 'Claude Code',
    directory: join(examples, 'claude'),
    command: ['claude'],
    presets: ['anthropic'],
    install: 'RUN npm install --global @anthropic-ai/claude-code',
    needsOwnImage: false,
    program: claude,
  },
  codex: {
    name: 'codex',
    title: 'Codex',
    directory: join(examples, 'codex'),
    command: ['codex'],
    presets: ['openai'],
    install: 'RUN npm install --global @openai/codex',
    needsOwnImage: false,
    program: codex,
  },
  shell: {
    name: 'shell',
    title: 'a shell',
    directory: join(examples, 'shell'),
    command: ['bash', '-l'],
    presets: [],
    needsOwnImage: false,
  },
  demo: {
    name: 'demo',
    title: 'a scripted agent that commits a change and tries to get out',
    directory: join(examples, 'demo'),
    command: ['node', '/home/agent/agent.js'],
    presets: [],
    needsOwnImage: true,
  },
};

export const templateNames: readonly string[] = Object.keys(templates);

/** @throws TemplateUnknown */
export function template(name: string): Template {
  const found = Object.hasOwn(templates, name) ? templates[name] : undefined;
  if (found === undefined) throw new TemplateUnknown({ template: name, known: templateNames });
  return found;
}

/** Those whose program takes a prompt on its command line. */
export const headlessTemplates: readonly string[] = templateNames.filter(
  (name) => templates[name]?.program !== undefined,
);
