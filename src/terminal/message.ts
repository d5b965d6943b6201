import { paint, type Terminal, withoutControls } from './terminal.ts';

/** A failure in words for the person who reads it. */
export interface Message {
  /** What happened, as one sentence without a full stop. */
  readonly what: string;
  /** Why, where there is more to say; may hold quoted lines of another program. */
  readonly why?: string;
  /** What to do about it; the command to type, where there is one. */
  readonly hint?: string;
  readonly exitCode: number;
}

/** Writes a message the way every command's failure looks. */
export function printMessage(terminal: Terminal, message: Message): void {
  const lines = [`${paint(terminal, ['red', 'bold'], 'error:')} ${withoutControls(message.what)}`];
  for (const line of withoutControls(message.why ?? '').split('\n'))
    if (line.trim() !== '') lines.push(`  ${line}`);
  for (const line of withoutControls(message.hint ?? '').split('\n'))
    if (line !== '') lines.push(`${paint(terminal, 'cyan', '→')} ${line}`);
  terminal.stderr.write(`${lines.join('\n')}\n`);
}
