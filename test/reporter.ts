import type { TestEvent } from 'node:test/reporters';
import { relative } from 'node:path';
import { inspect } from 'node:util';

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * A reporter for `node --test`: what tests print, every failure whole, every skip with its reason, a line a file as it
 * ends, and at the very end `N passed, N failed, N skipped`.
 */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const total: Tally = { passed: 0, failed: 0, skipped: 0 };
  const files = new Map<string, Tally>();
  const started = performance.now();
  for await (const event of source) {
    if (event.type === 'test:stdout') yield event.data.message;
    if (event.type === 'test:summary' && event.data.file !== undefined) yield lineOf(event.data.file, files);
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { file = '', name, details, skip, todo } = event.data;
    // A describe block is not a test of its own.
    if ((details as { type?: string }).type === 'suite') continue;
    const tally = files.get(file) ?? { passed: 0, failed: 0, skipped: 0 };
    files.set(file, tally);
    const where = relative(process.cwd(), file);
    const reason = skip ?? todo;
    if (reason !== undefined && reason !== false) {
      tally.skipped += 1;
      total.skipped += 1;
      yield `- ${where}: ${name} (skipped: ${reason === true ? 'no reason given' : reason})\n`;
    } else if (event.type === 'test:pass') {
      tally.passed += 1;
      total.passed += 1;
    } else {
      tally.failed += 1;
      total.failed += 1;
      const { error } = event.data.details;
      const { cause } = error as { cause?: unknown };
      const told = cause instanceof Error ? cause.stack : inspect(cause ?? error);
      yield `✗ ${where}: ${name}\n${indent(told ?? '')}\n`;
    }
  }
  yield `${((performance.now() - started) / 1000).toFixed(1)} s\n`;
  yield `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`;
}

function lineOf(file: string, files: ReadonlyMap<string, Tally>): string {
  const { passed, failed } = files.get(file) ?? { passed: 0, failed: 0 };
  return `${failed > 0 ? '✗' : '✓'} ${relative(process.cwd(), file)} ${passed}\n`;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ');
}
