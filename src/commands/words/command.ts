import type { BadUsage } from '../command-line.ts';
import type { CommandFailure } from '../errors.ts';
import { codeOfSignal, failed, interrupted, missing, stoppedBy, usage, type Words } from './words.ts';

export const commandWords: Words<BadUsage | CommandFailure> = {
  BadUsage: ({ problem, hint }) => ({ what: problem, hint, exitCode: usage }),
  BadValue: ({ what, value, expected, help }) => ({
    what: `${what} cannot be ${JSON.stringify(value)}`,
    why: `It takes ${expected}.`,
    hint: help,
    exitCode: usage,
  }),
  OutputExists: ({ path }) => ({
    what: `${path} exists already, and nothing is ever overwritten`,
    hint: 'choose another --output, or move what is there out of the way',
    exitCode: usage,
  }),
  OutputUnwritable: ({ path, code }) => ({
    what: `cannot write ${path} (${code})`,
    hint: 'choose an --output in a directory that exists and that you may write to',
    exitCode: usage,
  }),
  CacheDamaged: ({ damaged }) => ({
    what: `${damaged} of the cache's entries ${damaged === 1 ? 'is' : 'are'} damaged`,
    hint: 'remove them; they are made anew when they are needed: claude-bottle cache verify --fix',
    exitCode: failed,
  }),
  ChecksFailed: ({ failed: count }) => ({
    what: `${count} ${count === 1 ? 'check' : 'checks'} failed`,
    hint: 'the lines above say what to do; what can be mended from here: claude-bottle doctor --fix',
    exitCode: missing,
  }),
  Declined: ({ what }) => ({ what: `${what}: you said no`, exitCode: interrupted }),
  StartInterrupted: ({ signal, slug, keptBecause, branch }) => ({
    what: `${stoppedBy(signal)}; ${
      keptBecause !== undefined
        ? `${slug} is kept`
        : branch === undefined
          ? 'nothing of the bottle is left'
          : `its work is the branch ${branch}, and nothing else of the bottle is left`
    }`,
    ...(keptBecause === undefined
      ? {}
      : {
          why: `Removing it would lose work: ${keptBecause}.`,
          hint: `claude-bottle collect ${slug} --uncommitted`,
        }),
    exitCode: codeOfSignal(signal),
  }),
  PackInterrupted: ({ signal, kept, output = '' }) => ({
    what: `${stoppedBy(signal)}; ${kept === undefined ? 'nothing was packed' : `nothing was copied to ${output}`}`,
    why:
      kept === undefined
        ? 'What was half made is removed. What the engine has built, and layers that were read whole, stay for the next time.'
        : `What was packed is in the cache: ${kept}`,
    exitCode: codeOfSignal(signal),
  }),
  NobodyToAsk: ({ question, flag }) => ({
    what: `there is no terminal to ask on: ${question}`,
    hint: `answer on the command line: ${flag}`,
    exitCode: usage,
  }),
};
