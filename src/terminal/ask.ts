import { closeSync, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { StringDecoder } from 'node:string_decoder';
import { AnswerMissing } from './errors.ts';
import { withoutControls } from './terminal.ts';

export interface Choice {
  readonly name: string;
  /** A few words beside it. */
  readonly about?: string;
}

/**
 * Opens the terminal for questions; `undefined` where there is nobody to ask: standard input or standard error is none,
 * or no terminal is ours. It is opened apart from standard input, which stays untouched for what runs next.
 */
export function openQuestions(signal: AbortSignal): Questions | undefined {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  try {
    const output = openSync('/dev/tty', 'w');
    try {
      return new Questions(new ReadStream(openSync('/dev/tty', 'r')), output, signal);
    } catch (error) {
      closeSync(output);
      throw error;
    }
  } catch {
    return undefined;
  }
}

/**
 * Questions to the person at the terminal. Every call rejects with the signal's reason when that fires, and with
 * AnswerMissing at the end of input. The terminal is as it was after each of them.
 */
export class Questions implements AsyncDisposable {
  readonly #input: ReadStream;
  readonly #output: number;
  readonly #signal: AbortSignal;
  readonly #decoder = new StringDecoder('utf8');
  /** Typed, and not yet asked for. */
  #ahead = '';

  constructor(input: ReadStream, output: number, signal: AbortSignal) {
    this.#input = input.pause();
    this.#output = output;
    this.#signal = signal;
  }

  /** A line, without blanks around it. Nothing stands for the default; without one it is asked again. */
  async ask(
    question: string,
    options: {
      readonly default?: string;
      /** What is wrong with an answer; it is then asked again. */
      readonly check?: (answer: string) => string | undefined;
    } = {},
  ): Promise<string> {
    const { default: usual, check } = options;
    for (;;) {
      this.#say(`${question}${usual === undefined || usual === '' ? '' : ` [${usual}]`}: `);
      const typed = (await this.#line(question)).trim();
      const answer = typed === '' ? usual : typed;
      if (answer === undefined) continue;
      const problem = check?.(answer);
      if (problem === undefined) return answer;
      this.#say(`  ${problem}\n`);
    }
  }

  /** Yes or no. Nothing stands for the default, which is no. */
  async confirm(question: string, options: { readonly default?: boolean } = {}): Promise<boolean> {
    const usual = options.default ?? false;
    for (;;) {
      this.#say(`${question} ${usual ? '[Y/n]' : '[y/N]'} `);
      const typed = (await this.#line(question)).trim().toLowerCase();
      if (typed === '') return usual;
      if (typed === 'y' || typed === 'yes') return true;
      if (typed === 'n' || typed === 'no') return false;
    }
  }

  /** One of several, by its number or its name. */
  async choose(
    question: string,
    choices: readonly Choice[],
    options: { readonly default?: string } = {},
  ): Promise<string> {
    const width = Math.max(...choices.map(({ name }) => name.length));
    const lines = choices.map(
      ({ name, about = '' }, index) => `  ${index + 1}  ${name.padEnd(width)}  ${about}`.trimEnd() + '\n',
    );
    this.#say(lines.join(''));
    const chosen = (answer: string) =>
      choices.find(({ name }, index) => name === answer || String(index + 1) === answer)?.name;
    const answer = await this.ask(question, {
      ...options,
      check: (typed) =>
        chosen(typed) === undefined ? 'a number or a name from the list, please' : undefined,
    });
    return chosen(answer) ?? answer;
  }

  /** A line that is not shown while it is typed, as it was typed. */
  async askSecret(question: string): Promise<string> {
    this.#signal.throwIfAborted();
    // Before the question is seen: what is typed from then on shows nowhere.
    this.#input.setRawMode(true);
    try {
      this.#say(`${question}: `);
      return await this.#unseen(question);
    } finally {
      this.#input.setRawMode(false);
      this.#say('\n');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#input.once('close', resolve));
    this.#input.destroy();
    await closed;
    closeSync(this.#output);
  }

  async #line(question: string): Promise<string> {
    for (;;) {
      const end = this.#ahead.search(/[\r\n]/);
      if (end >= 0) {
        const line = this.#ahead.slice(0, end);
        this.#ahead = this.#ahead.slice(end + 1);
        return line;
      }
      this.#ahead += await this.#typed(question);
    }
  }

  /** The terminal edits nothing for us while it shows nothing. */
  async #unseen(question: string): Promise<string> {
    let secret: string[] = [];
    for (;;) {
      const keys = [...this.#ahead.replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)/g, '')];
      this.#ahead = '';
      for (const [index, key] of keys.entries()) {
        if (key === '\r' || key === '\n') {
          this.#ahead = keys.slice(index + 1).join('');
          return secret.join('');
        }
        if (key === '\x03' || (key === '\x04' && secret.length === 0)) throw new AnswerMissing({ question });
        if (key === '\x7f' || key === '\b') secret.pop();
        else if (key === '\x15') secret = [];
        else if (key >= ' ') secret.push(key);
      }
      this.#ahead = await this.#typed(question);
    }
  }

  /** What is typed next. */
  #typed(question: string): Promise<string> {
    const input = this.#input;
    const signal = this.#signal;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const onData = (data: Buffer) => resolve(this.#decoder.write(data));
    const onEnd = () => reject(new AnswerMissing({ question }));
    const onAbort = () => reject(signal.reason);
    input.on('data', onData).on('end', onEnd).on('error', onEnd);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    else input.resume();
    return promise.finally(() => {
      input.pause().off('data', onData).off('end', onEnd).off('error', onEnd);
      signal.removeEventListener('abort', onAbort);
    });
  }

  #say(text: string): void {
    try {
      writeSync(this.#output, withoutControls(text));
    } catch {
      // A terminal that is gone says so where the answer is read.
    }
  }
}
