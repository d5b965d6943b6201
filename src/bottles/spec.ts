import type { ComposedAgent } from '../agents/compose.ts';
import { type BottleSpec, inside } from '../backends/backend.ts';
import { currentOwner } from '../process/owner.ts';
import { initProgram } from './init-program.ts';
import type { LaunchOrder } from './messages.ts';
import type { BottlePlaces } from './places.ts';

const proxy = `http://127.0.0.1:${inside.proxyPort}`;
const noProxy = 'localhost,127.0.0.1,::1';

/**
 * How programs are told of the gate. Both spellings, since some read only the one (curl's http_proxy) and some only the
 * other. Node's own fetch wants to be asked (nodejs.org/api/cli.html, NODE_USE_ENV_PROXY).
 */
const gateEnv: Readonly<Record<string, string>> = {
  HTTP_PROXY: proxy,
  HTTPS_PROXY: proxy,
  http_proxy: proxy,
  https_proxy: proxy,
  NO_PROXY: noProxy,
  no_proxy: noProxy,
  NODE_USE_ENV_PROXY: '1',
};

/** What the backend makes of an order. */
export async function specOf(
  order: LaunchOrder,
  places: BottlePlaces,
  agent: ComposedAgent,
  probes: readonly string[],
): Promise<BottleSpec> {
  return {
    slug: order.slug,
    image: order.image.prepared,
    imageDefaults: order.image.defaults,
    ...(order.user === undefined ? {} : { user: order.user }),
    command: agent.command,
    workdir: order.workspace === undefined ? '/' : inside.workspace,
    terminal: order.terminal,
    // An agent that works on a prompt would wait for what is never typed.
    stdin: order.terminal || (order.headlessPrompt === undefined && !order.detach),
    env: { ...agent.env, ...order.env, ...gateEnv, CLAUDE_BOTTLE: order.slug },
    resources: order.resources,
    ...(order.runtime === undefined ? {} : { runtime: order.runtime }),
    initProgram: await initProgram(),
    runDirectory: places.mounted,
    probes,
    mounts: order.mounts,
    owner: await currentOwner(),
  };
}
