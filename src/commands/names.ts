/** The commands, in the order in which help lists them. */
export const commandNames = [
  'start',
  'list',
  'attach',
  'exec',
  'logs',
  'allow',
  'deny',
  'collect',
  'stop',
  'cleanup',
  'init',
  'pack',
  'cache',
  'doctor',
  'completion',
] as const;

export type CommandName = (typeof commandNames)[number];
