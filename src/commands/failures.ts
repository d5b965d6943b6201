import { AnyFailure } from '../failure.ts';
import type { Message } from '../terminal/message.ts';
import { agentWords } from './words/agents.ts';
import { backendWords } from './words/backends.ts';
import { bottlesWords } from './words/bottles.ts';
import { commandWords } from './words/command.ts';
import { definitionWords } from './words/definitions.ts';
import { engineWords } from './words/engine.ts';
import { gateWords } from './words/gate.ts';
import { ociWords } from './words/oci.ts';
import { processWords } from './words/process.ts';
import { smolmachineWords } from './words/smolmachine.ts';
import { smolvmWords } from './words/smolvm.ts';
import { workspaceWords } from './words/workspace.ts';
import { terminalWords } from './words/terminal.ts';

/** Every failure in words: what happened, why, what to do; a file for each layer. */
const words = {
  ...commandWords,
  ...processWords,
  ...engineWords,
  ...ociWords,
  ...smolvmWords,
  ...smolmachineWords,
  ...workspaceWords,
  ...definitionWords,
  ...agentWords,
  ...terminalWords,
  ...backendWords,
  ...bottlesWords,
  ...gateWords,
};

/** Turns whatever was thrown into words. What is no failure of ours is a bug, and says so. */
export function explain(error: unknown): Message {
  if (error instanceof AnyFailure && Object.hasOwn(words, error.tag)) {
    // The tables are exhaustive over the tags, so the entry found by a failure's tag takes that failure's fields.
    const word = words[error.tag as keyof typeof words] as (fields: object) => Message;
    return word(error.fields);
  }
  if (error instanceof SuppressedError) {
    // What went wrong first is the news; that cleaning up failed too comes with it.
    const first = explain(error.suppressed);
    const then = explain(error.error);
    return { ...first, why: [first.why, `Then cleaning up failed: ${then.what}`].filter(Boolean).join('\n') };
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { what: 'something happened that should not: a bug in claude-bottle', why: detail, exitCode: 1 };
}
