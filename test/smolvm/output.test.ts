import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { causeOf, quoteFailure, readProgress, readPruned } from '../../src/smolvm/output.ts';

describe('a line of pack create', () => {
  const cases: readonly (readonly [string, ReturnType<typeof readProgress>])[] = [
    ['Starting agent VM...', { phase: 'starting' }],
    ['Pulling image 127.0.0.1:5/a:b...', { phase: 'pulling' }],
    ['Pulling image 127.0.0.1:5/a:b... [==========>         ] 50%', { phase: 'pulling', percent: 50 }],
    ['Pulling image a... [====================] 100% — syncing...', { phase: 'pulling', percent: 100 }],
    ['Pulling image 127.0.0.1:5/a:b... done.                     ', undefined],
    [
      'Image: 127.0.0.1:5/a:b (3 layers, 734003200 bytes)',
      { phase: 'pulled', layers: 3, bytes: 734_003_200 },
    ],
    ['Collecting agent rootfs...', { phase: 'collecting' }],
    ['Merging 3 layers in VM (one-time cost)...', { phase: 'merging', layers: 3 }],
    ['  Layer 1/1: sha256:0123456789ab...', { phase: 'exporting' }],
    ['  Layer 1/1: sha256:0123456789ab... 16 MB', { phase: 'exporting', bytes: 16 * 1024 ** 2 }],
    ['  Layer 1/1: sha256:0123456789ab... 700 MB done', { phase: 'exporting', bytes: 700 * 1024 ** 2 }],
    ['\u001b[K⠙ Assembling packed binary\u001b[K', { phase: 'assembling' }],
    ['\u001b[KAssembling packed binary done', undefined],
    ['Packed: /x/out (stub: 10KB, total: 20KB)', { phase: 'packed' }],
    ['Run with: /x/out', undefined],
    ['', undefined],
  ];
  for (const [line, expected] of cases) {
    test(`${JSON.stringify(line)} tells ${expected?.phase ?? 'nothing'}`, () =>
      assert.deepEqual(readProgress(line), expected));
  }

  test('never makes the reader throw', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (line) => void readProgress(line)));
  });
});

describe('the quote of a failure', () => {
  test('starts at the error and leaves the progress out', () => {
    const stderr =
      '\rPulling image a... [>    ] 0%\rPulling image a... done.      \nError: agent operation failed: x\n  more\n';
    assert.equal(quoteFailure('', stderr), 'Error: agent operation failed: x\nmore');
  });

  test('takes the last words of a program that died without an error line', () => {
    assert.equal(
      quoteFailure('', "thread 'main' panicked at x\nindex out of bounds\n"),
      "thread 'main' panicked at x\nindex out of bounds",
    );
    assert.equal(quoteFailure('Starting agent VM...\noops\n', ''), 'oops');
  });

  test('is bounded and free of control characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 6000 }), (text) => {
        const quote = quoteFailure('', `Error: \u001b[31m${text}`);
        assert.ok(quote.length <= 2001);
        assert.doesNotMatch(quote, /(?!\n)\p{Cc}/u);
      }),
    );
  });
});

describe('the last words of pack prune', () => {
  const cases: readonly (readonly [string, ReturnType<typeof readPruned>])[] = [
    ['No cached entries to remove.\n', { entries: 0, bytes: 0 }],
    [
      '  retaining 1 artifact cache entry referenced by machines\nNo cached entries to remove.\n',
      { entries: 0, bytes: 0 },
    ],
    [
      '  removed artifact cache 5aaa: /h/_shared/01234567 (9.9 GB)\nRemoved 2 cached entries, freed 1.5 GB\n',
      { entries: 2, bytes: 1_610_612_736 },
    ],
    ['Removed 1 cached entries, freed 12 B', { entries: 1, bytes: 12 }],
    ['Would remove 3 cached entries (10.0 MB)', { entries: 3, bytes: 10_485_760 }],
    ['Would remove 1 cached entry (1.0 KB)', { entries: 1, bytes: 1024 }],
    ['', undefined],
    ['Removed 2 entries', undefined],
    ['Removed 2 cached entries, freed lots', undefined],
    ['Removed 2 cached entries, freed 1.5 XB', undefined],
    ['Removed 2 cached entries, freed 1.5 GB\nand then something else', undefined],
  ];
  for (const [words, told] of cases) {
    test(JSON.stringify(words.slice(-60)), () => assert.deepEqual(readPruned(words), told));
  }
});

describe('the cause of a failure', () => {
  const cases = {
    'no-kvm': 'Error: kvm not available: KVM not available. Ensure KVM kernel module is loaded.',
    'kvm-permission': 'Error: kvm permission denied: Cannot access /dev/kvm (permission denied).',
    'no-space':
      'Error: agent operation failed: pack binary: I/O error: No space left on device (os error 28)',
    blob: 'Error: agent operation failed: pull image: crane blob failed for layer sha256:00',
    auth: 'Error: agent operation failed: pull image: crane manifest failed: GET http://x/: UNAUTHORIZED: authentication required',
    manifest:
      'Error: agent operation failed: pull image: crane manifest failed: MANIFEST_UNKNOWN: manifest unknown',
    'too-large':
      'Error: agent operation failed: export layer: guest streamed 5 bytes, exceeding the 4 byte cap',
    timeout: 'Error: agent operation failed: wait for ready: agent did not become ready within 30 seconds',
    'output-name':
      'Error: config operation failed: pack create: --output names the executable stub, not the .smolmachine sidecar',
    unknown: 'Error: something else',
  };
  for (const [cause, words] of Object.entries(cases)) {
    test(`${cause} is told from smolvm's words`, () => assert.equal(causeOf(words), cause));
  }

  test('is the full disk, not the layer that it broke', () => {
    assert.equal(causeOf('crane blob failed for layer sha256:00: no space left on device'), 'no-space');
  });
});
