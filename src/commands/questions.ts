import { openQuestions, type Questions } from '../terminal/ask.ts';
import { NobodyToAsk } from './errors.ts';

interface Asking {
  /** What answers the question on the command line. */
  readonly flag: string;
  readonly signal: AbortSignal;
}

/** Asks yes or no; nothing typed is no. @throws NobodyToAsk where there is no terminal */
export function confirm(question: string, asking: Asking): Promise<boolean> {
  return withTerminal(question, asking, (questions) => questions.confirm(question));
}

/** Asks for what must not be shown. @throws NobodyToAsk where there is no terminal */
export function askSecret(question: string, asking: Asking): Promise<string> {
  return withTerminal(question, asking, (questions) => questions.askSecret(question));
}

async function withTerminal<T>(
  question: string,
  { flag, signal }: Asking,
  work: (questions: Questions) => Promise<T>,
): Promise<T> {
  await using questions = openQuestions(signal);
  if (questions === undefined) throw new NobodyToAsk({ question, flag });
  return await work(questions);
}
