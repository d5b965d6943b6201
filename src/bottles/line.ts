import type { Readable, Writable } from 'node:stream';
import { AnyFailure } from '../failure.ts';

/** Longer than any message of ours: a prompt or an environment may be in one. */
const maxLine = 16 * 1024 * 1024;

/** JSON messages, a line each, over any pair of streams. What cannot be read is left out: it is not of ours. */
export class MessageLine {
  /** Resolves when the other side is gone. */
  readonly closed: Promise<void>;
  readonly #output: Writable;
  #listener: ((message: unknown) => void) | undefined;
  #early: unknown[] = [];
  #text = '';

  constructor(input: Readable, output: Writable) {
    this.#output = output;
    output.on('error', () => undefined);
    input.setEncoding('utf8');
    input.on('data', (text: string) => this.#read(text));
    this.closed = new Promise((resolve) => {
      for (const event of ['end', 'close', 'error']) input.once(event, () => resolve());
    });
  }

  /** Whoever listens gets everything, also what came before. */
  listen(listener: (message: unknown) => void): void {
    this.#listener = listener;
    for (const message of this.#early.splice(0)) listener(message);
  }

  send(message: object): void {
    if (!this.#output.destroyed && !this.#output.writableEnded)
      this.#output.write(`${JSON.stringify(message)}\n`);
  }

  /** Resolves when everything that was sent is out of our hands, or the other side is gone. */
  async flush(): Promise<void> {
    if (this.#output.destroyed) return;
    await new Promise<void>((resolve) => this.#output.write('', () => resolve()));
  }

  #read(text: string): void {
    this.#text += text;
    for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
      const message = parseJson(this.#text.slice(0, end));
      this.#text = this.#text.slice(end + 1);
      if (message === undefined) continue;
      if (this.#listener === undefined) this.#early.push(message);
      else this.#listener(message);
    }
    if (this.#text.length > maxLine) this.#text = '';
  }
}

/** A failure on its way to another process of ours. A bug travels as its stack. */
export interface FailureMessage {
  readonly tag: string;
  readonly fields: object;
}

export function toMessage(error: unknown): FailureMessage {
  if (error instanceof AnyFailure) return { tag: error.tag, fields: error.fields };
  if (error instanceof SuppressedError) return toMessage(error.suppressed);
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { tag: bugTag, fields: { stack } };
}

const bugTag = 'Bug';

/** A failure that another process of ours met; it is explained like one of our own. */
class RemoteFailure extends AnyFailure {
  readonly tag: string;
  readonly fields: object;
  constructor({ tag, fields }: FailureMessage) {
    super(`${tag} ${JSON.stringify(fields)}`);
    this.tag = tag;
    this.fields = fields;
  }
}

export function fromMessage(message: FailureMessage): Error {
  if (message.tag !== bugTag) return new RemoteFailure(message);
  const bug = new Error('the supervisor met a bug');
  bug.stack = String((message.fields as { stack?: unknown }).stack);
  return bug;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
