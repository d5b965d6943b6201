import { openQuestions } from '../../src/terminal/ask.ts';

// Asks for a secret and for a line, and says what it got.

const questions = openQuestions(new AbortController().signal);
if (questions === undefined) throw new Error('no terminal');
try {
  const answers = [await questions.askSecret('Secret'), await questions.ask('Line')];
  process.stdout.write(`got=${JSON.stringify(answers)}\n`);
} catch (error) {
  process.stdout.write(`got=${JSON.stringify(error instanceof Error ? error.name : 'unknown')}\n`);
  process.exitCode = 9;
}
await questions[Symbol.asyncDispose]();
