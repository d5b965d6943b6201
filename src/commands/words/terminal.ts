import type { TerminalFailure } from '../../terminal/errors.ts';
import { interrupted, type Words } from './words.ts';

export const terminalWords: Words<TerminalFailure> = {
  AnswerMissing: ({ question }) => ({
    what: `interrupted: there was no answer to "${question}"`,
    exitCode: interrupted,
  }),
};
