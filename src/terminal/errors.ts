import { failure } from '../failure.ts';

/** Whoever was asked ended the question (Ctrl-C, Ctrl-D), or their terminal went away. */
export class AnswerMissing extends failure('AnswerMissing')<{ question: string }> {}

export type TerminalFailure = AnswerMissing;
