import { Writable } from 'node:stream';
import type { Terminal } from '../../src/terminal/terminal.ts';

/** A terminal that remembers what was written to it. */
export function recordingTerminal(
  options: Partial<Terminal> = {},
): Terminal & { said: () => string; data: () => string } {
  const sink = () => {
    let text = '';
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        text += chunk.toString();
        done();
      },
    });
    return { stream, text: () => text };
  };
  const stdout = sink();
  const stderr = sink();
  return {
    animated: false,
    colored: false,
    columns: 80,
    ...options,
    stdout: stdout.stream,
    stderr: stderr.stream,
    said: stderr.text,
    data: stdout.text,
  };
}
