import { styleText } from 'node:util';

/** The two streams a command writes to, and what may be done on them. */
export interface Terminal {
  /** Data only: what a pipe is for. */
  readonly stdout: NodeJS.WritableStream;
  /** Everything said to a person. */
  readonly stderr: NodeJS.WritableStream;
  /** Whether standard error may be redrawn: a terminal that is no CI log. */
  readonly animated: boolean;
  readonly colored: boolean;
  /** Columns of standard error. */
  readonly columns: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads the terminal of this process: NO_COLOR (no-color.org), TERM=dumb and CI are honoured. */
export function openTerminal(environment: Environment): Terminal {
  const set = (name: string) => (environment[name] ?? '') !== '';
  const interactive = process.stderr.isTTY && environment['TERM'] !== 'dumb';
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    animated: interactive && !set('CI'),
    colored: interactive && !set('NO_COLOR'),
    columns: process.stderr.isTTY ? process.stderr.columns : 80,
  };
}

/** Colours text when the terminal wants colours. */
export function paint(terminal: Terminal, style: Parameters<typeof styleText>[0], text: string): string {
  return terminal.colored ? styleText(style, text, { validateStream: false }) : text;
}

/**
 * Makes text from outside safe to show: escape sequences and control characters other than newline and tab are
 * replaced, so that a build log cannot move the cursor or set the title; so are the characters that turn the direction
 * of writing, which would make a line read as something else than it is (Unicode, UAX 9).
 */
export function withoutControls(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
      .replace(/\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g, '')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
      .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
  );
}
