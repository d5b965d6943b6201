import type { CommandName } from './names.ts';
import type { World } from './world.ts';

export interface Command {
  run(argv: readonly string[], world: World): Promise<number>;
}

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

/** Every command. Each is loaded when it is called, so that none pays for another's imports. */
export const commands: Readonly<Record<CommandName, Entry>> = {
  start: { summary: 'run an agent in a new bottle', load: () => import('./start.ts') },
  list: { summary: 'the bottles of this host', load: () => import('./list.ts') },
  attach: { summary: 'come back to the terminal of a bottle', load: () => import('./attach.ts') },
  exec: { summary: 'run a further program in a bottle', load: () => import('./exec.ts') },
  logs: { summary: 'what the agent printed, or what its gate decided', load: () => import('./logs.ts') },
  allow: { summary: 'let a running bottle reach a host', load: () => import('./allow.ts') },
  deny: { summary: 'refuse a running bottle a host', load: () => import('./deny.ts') },
  collect: { summary: 'take the work out of a bottle, as a branch', load: () => import('./collect.ts') },
  stop: { summary: 'end bottles', load: () => import('./stop.ts') },
  cleanup: { summary: 'remove what no running bottle needs', load: () => import('./cleanup.ts') },
  init: { summary: 'write a first agent and bottle file', load: () => import('./init.ts') },
  pack: {
    summary: 'turn a Dockerfile or an image into a .smolmachine that smolvm boots',
    load: () => import('./pack.ts'),
  },
  cache: { summary: 'list, prune and verify what pack has kept', load: () => import('./cache.ts') },
  doctor: { summary: 'check that this host has what is needed', load: () => import('./doctor.ts') },
  completion: { summary: 'print a completion script for a shell', load: () => import('./completion.ts') },
};
