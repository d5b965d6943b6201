import { type ComposedAgent, composeAgent } from '../agents/compose.ts';
import { stageSkills } from '../agents/skills.ts';
import { template } from '../agents/templates.ts';
import { inside } from '../backends/backend.ts';
import type { LaunchOrder } from './messages.ts';

/**
 * What the order's agent comes to: its command, the files it starts with, its variables. A command that the user typed is
 * run as it is; what begins with a dash goes on with the agent's own.
 * @throws what `composeAgent` and `stageSkills` do
 */
export async function agentOf(order: LaunchOrder): Promise<ComposedAgent> {
  const { agent, command, skillsRoot } = order;
  const known = order.template === undefined ? undefined : template(order.template);
  const skills =
    known?.program === undefined || agent.skills.length === 0
      ? { files: [], warnings: [] }
      : await stageSkills(agent.skills, { skillsRoot });
  const isArguments = command[0]?.startsWith('-') === true;
  const composed = composeAgent({
    definition: command.length > 0 && !isArguments && known === undefined ? { ...agent, command } : agent,
    ...(known === undefined ? {} : { template: known }),
    isRoot: order.isRoot,
    systemPromptPath: inside.systemPrompt,
    workspace: inside.workspace,
    ...(order.headlessPrompt === undefined ? {} : { headlessPrompt: order.headlessPrompt }),
    bypass: order.bypass,
    extraArgs: isArguments ? command : [],
    variables: Object.keys(order.secretEnv),
    skills: skills.files,
  });
  return {
    ...composed,
    command: command.length > 0 && !isArguments ? command : composed.command,
    warnings: [...skills.warnings, ...composed.warnings],
  };
}
