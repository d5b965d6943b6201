import { backendTraits } from '../backends/names.ts';
import { describeRule } from '../gate/gate.ts';
import type { EnvValue } from '../definitions/definition.ts';
import type { ImagePlan, Plan } from '../bottles/plan.ts';
import { describeWorkspace } from './workspace-view.ts';
import { paint, type Terminal, withoutControls } from '../terminal/terminal.ts';
import { formatBytes } from '../terminal/units.ts';

/** The plan as a person reads it before saying yes. */
export function renderPlan(plan: Plan, envNames: readonly string[], terminal: Terminal): string {
  const rows = [
    ['bottle', bottleLine(plan)],
    ['command', commandLine(plan)],
    ['image', imageLine(plan.image)],
    ['made of', backendLine(plan), plan.backendReason],
    ['workspace', ...workspaceLines(plan)],
    ['may reach', ...egressLines(plan)],
    ['variables', ...envLines(plan, envNames)],
    ...(plan.choices.mounts.length === 0 ? [] : [['mounts', ...mountLines(plan)]]),
  ];
  const width = Math.max(...rows.map(([name = '']) => name.length));
  return rows
    .flatMap(([name = '', ...lines]) =>
      lines.map((line, index) => {
        const label = (index === 0 ? name : '').padEnd(width);
        return `  ${paint(terminal, 'dim', label)}  ${withoutControls(line)}\n`;
      }),
    )
    .join('');
}

function bottleLine({ slug, definitions: { agent, bottle } }: Plan): string {
  const from = {
    home: agent.path ?? '',
    repo: `${agent.path ?? ''}, of the repository`,
    'built-in': 'built in',
  };
  const files = bottle.names.length === 0 ? '' : `; bottle ${bottle.names.join(' + ')}`;
  return `${slug} (agent ${agent.name}, ${from[agent.source]}${files})`;
}

/** What is run, without what a template adds to it. */
function commandLine({ command, template }: Plan): string {
  const own = template?.command ?? [];
  const goesOn = command[0]?.startsWith('-') === true;
  const words = command.length === 0 ? own : goesOn ? [...own, ...command] : command;
  return words.length === 0 ? 'the image’s own' : words.map(quoted).join(' ');
}

function imageLine(image: ImagePlan | undefined): string {
  if (image === undefined) return 'none';
  return image.kind === 'image'
    ? `${image.reference} (${image.why})`
    : `built from ${image.dockerfile} (${image.why})`;
}

function backendLine({ backend, backendFacts, resources }: Plan): string {
  const { cpus, memoryBytes, pids, diskBytes } = resources;
  const disk = `${formatBytes(diskBytes)} of disk${backendFacts.diskLimit === 'watched' ? ' (watched)' : ''}`;
  const { thing, limitsPids } = backendTraits[backend];
  const limits = [
    `${cpus} cpus`,
    `${formatBytes(memoryBytes)} of memory`,
    ...(limitsPids ? [`${pids} processes`] : []),
    disk,
  ];
  return `a ${thing} (${backend}, ${backendFacts.runtime}): ${limits.join(', ')}`;
}

function workspaceLines({ workspace, choices }: Plan): string[] {
  if (workspace === undefined) return ['nothing goes in'];
  return describeWorkspace(workspace, choices.dirty);
}

function egressLines({ rules, presets }: Plan): string[] {
  const named = rules.map(describeRule);
  const fromImage = presets.length === 0 ? [] : [`presets: ${presets.join(', ')}`];
  const lines = [...fromImage, ...named];
  return lines.length === 0 ? ['nothing; claude-bottle allow opens the gate while it runs'] : lines;
}

/** Names and where the values come from, never values. */
function envLines({ definitions }: Plan, envNames: readonly string[]): string[] {
  const defined = Object.entries(definitions.bottle.env).map(
    ([name, value]) => `${name} (${originOf(value)})`,
  );
  const lines = [...defined, ...envNames.map((name) => `${name} (from here)`)];
  return [lines.length === 0 ? 'none' : lines.join(', ')];
}

function originOf(value: EnvValue): string {
  switch (value.kind) {
    case 'literal':
      return 'set';
    case 'host':
      return `from ${value.variable}`;
    case 'prompt':
      return 'asked for';
  }
}

function mountLines({ choices }: Plan): string[] {
  return choices.mounts.map(
    ({ source, target, readOnly }) =>
      `${source}${target === source ? '' : ` as ${target}`}${readOnly ? ', read-only' : ', and the agent can change it'}`,
  );
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
