import type { GateFailure } from '../../gate/errors.ts';
import { failed, usage, type Words } from './words.ts';

/** As Node has them; the path and what to do about it are said besides. */
const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Something is there already.',
  ENAMETOOLONG: 'The path is longer than the 107 bytes that a Unix socket may have.',
  EACCES: 'This user may not.',
  EPERM: 'This user may not.',
  ENOENT: 'Its directory is not there.',
  ENOSPC: 'The disk is full.',
  EDQUOT: 'The disk quota is used up.',
  EROFS: 'The file system is read-only.',
  EMFILE: 'This process has no file descriptors left.',
  ENFILE: 'This machine has no file descriptors left.',
};

const because = (code: string) => reasons[code] ?? `The system says ${code}.`;

export const gateWords: Words<GateFailure> = {
  RuleInvalid: ({ rule, problem, origin }) => ({
    what: `${JSON.stringify(rule)} is not an egress rule (${origin})`,
    why: problem,
    hint: 'write a host as a.example, *.a.example (one label), **.a.example (any depth) or an address; a port as a.example:8080',
    exitCode: usage,
  }),
  RuleTooBroad: ({ rule, why, origin }) => ({
    what: `${JSON.stringify(rule)} would open the gate to names that anybody can get (${origin})`,
    why,
    hint: 'name the hosts that are needed, or say that it is meant: --i-know',
    exitCode: usage,
  }),
  PresetUnknown: ({ preset, known }) => ({
    what: `there is no egress preset ${JSON.stringify(preset)}`,
    hint: `use one of: ${known.join(', ')}`,
    exitCode: usage,
  }),
  GateSocketUnusable: ({ path, code }) => ({
    what: `the gate cannot listen on ${path}`,
    why: because(code),
    hint:
      code === 'ENAMETOOLONG'
        ? 'choose a shorter state directory: XDG_STATE_HOME or XDG_RUNTIME_DIR'
        : 'remove what dead bottles left: claude-bottle cleanup',
    exitCode: failed,
  }),
  AuditUnwritable: ({ path, code }) => ({
    what: `the gate closed, because its log ${path} could not be written`,
    why: `${because(code)} What cannot be written down does not leave a bottle.`,
    hint: 'make room or give back the rights, then start the bottle anew',
    exitCode: failed,
  }),
  AuditUnreadable: ({ path, code }) => ({
    what: `the gate's log ${path} cannot be read`,
    why: because(code),
    exitCode: failed,
  }),
  SealBroken: ({ missed }) => ({
    what: 'the bottle is not sealed, so the agent was not started',
    why:
      missed.length === 0
        ? 'There were no checks, which proves nothing.'
        : missed
            .map(({ check, expected, observed }) => `${check}: expected "${expected}", was "${observed}"`)
            .join('\n'),
    hint: 'check the engine and its networks: claude-bottle doctor',
    exitCode: failed,
  }),
};
