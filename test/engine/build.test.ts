import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { buildImage } from '../../src/engine/build.ts';
import { BuildLog } from '../../src/engine/build-log.ts';
import { BuildFailed, DockerfileMissing } from '../../src/engine/errors.ts';
import { fakeEngine } from './fake-engine.ts';

const id = `sha256:${'cd'.repeat(32)}`;
const other = `sha256:${'ef'.repeat(32)}`;
const notice = `DEPRECATED: The legacy builder is deprecated and will be removed in a future release.
            Install the buildx component to build images with BuildKit:
            https://docs.docker.com/go/buildx/
`;

// As the builders printed it: docker 20.10 and 28.2 (classic), BuildKit 0.8 in 20.10, podman 4.3. The newer BuildKit
// form is the one of its documentation.
const outputs: Record<string, { text: string; step?: string; command?: string; words: string }> = {
  'classic, a command that fails': {
    text: `${notice}
Sending build context to Docker daemon  5.632kB
Step 1/2 : FROM debian:bookworm-slim AS base
 ---> 439bbfe0aa8a
Step 2/2 : RUN echo hello &&    exit 7
 ---> Running in 354a260d13ac
\u001b[91mboo
\u001b[0mhello
The command '/bin/sh -c echo hello &&    exit 7' returned a non-zero code: 7`,
    step: '2/2',
    command: 'RUN echo hello &&    exit 7',
    words: "The command '/bin/sh -c echo hello &&    exit 7' returned a non-zero code: 7",
  },
  'classic, a file that is not there': {
    text: `Step 1/2 : FROM debian:bookworm-slim
 ---> 439bbfe0aa8a
Step 2/2 : COPY nothere /x
${notice}
COPY failed: file not found in build context or excluded by .dockerignore: stat nothere: file does not exist`,
    step: '2/2',
    command: 'COPY nothere /x',
    words:
      'COPY failed: file not found in build context or excluded by .dockerignore: stat nothere: file does not exist',
  },
  'classic, an unknown instruction': {
    text: `${notice}
Error response from daemon: dockerfile parse error line 2: unknown instruction: FOO`,
    words: 'Error response from daemon: dockerfile parse error line 2: unknown instruction: FOO',
  },
  'BuildKit, a command that fails': {
    text: `#1 [internal] load build definition from Dockerfile
#1 sha256:7acae19f19fc5bd6811f63fa1162c499e69baf31c1fe8476ea1d757a26e283b5
#1 transferring dockerfile: 121B done
#1 DONE 0.0s

#4 [base 1/2] FROM docker.io/library/debian:bookworm-slim
#4 DONE 0.0s

#5 [base 2/2] RUN echo hello &&    exit 7
#5 0.236 hello
#5 ERROR: process "/bin/sh -c echo hello &&    exit 7" did not complete successfully: exit code: 7
------
 > [base 2/2] RUN echo hello &&    exit 7:
0.236 hello
------
Dockerfile:2
--------------------
   1 |     FROM debian:bookworm-slim AS base
   2 | >>> RUN echo hello &&    exit 7
--------------------
ERROR: failed to solve: process "/bin/sh -c echo hello &&    exit 7" did not complete successfully: exit code: 7`,
    step: 'base 2/2',
    command: 'RUN echo hello &&    exit 7',
    words:
      'ERROR: failed to solve: process "/bin/sh -c echo hello &&    exit 7" did not complete successfully: exit code: 7',
  },
  'BuildKit in 20.10, steps at once: the one that failed, not the one that spoke last': {
    text: `#5 [a 2/2] RUN false
#6 [b 2/2] RUN sleep 9
#6 0.5 working
#5 ERROR: executor failed running [/bin/sh -c false]: exit code: 1
#6 [b 2/2] RUN sleep 9
#6 CANCELED
------
 > [a 2/2] RUN false:
------
executor failed running [/bin/sh -c false]: exit code: 1`,
    step: 'a 2/2',
    command: 'RUN false',
    words: 'executor failed running [/bin/sh -c false]: exit code: 1',
  },
  'podman, a command that fails': {
    text: `STEP 1/2: FROM debian:bookworm-slim AS base
STEP 2/2: RUN echo hello &&    exit 7
hello
boo
subprocess exited with status 7
Error: building at STEP "RUN echo hello &&    exit 7": exit status 7`,
    step: '2/2',
    command: 'RUN echo hello &&    exit 7',
    words: 'exit status 7',
  },
  'podman, a file that is not there': {
    text: `STEP 1/2: FROM debian:bookworm-slim
STEP 2/2: COPY nothere /x
Error: building at STEP "COPY nothere /x": checking on sources under "/c": copier: stat: "/nothere": no such file or directory`,
    step: '2/2',
    command: 'COPY nothere /x',
    words: 'checking on sources under "/c": copier: stat: "/nothere": no such file or directory',
  },
  'podman, a base that cannot be pulled': {
    text: `STEP 1/1: FROM nosuch.invalid/foo:1
Trying to pull nosuch.invalid/foo:1...
Error: creating build container: initializing source docker://nosuch.invalid/foo:1: no such host`,
    step: '1/1',
    command: 'FROM nosuch.invalid/foo:1',
    words: 'Error: creating build container: initializing source docker://nosuch.invalid/foo:1: no such host',
  },
};

describe('where a build stopped is read from what it printed', () => {
  for (const [what, { text, step, command, words }] of Object.entries(outputs)) {
    test(what, () => {
      const log = new BuildLog();
      for (const line of text.split('\n')) log.line(line);
      const stop = log.stop();
      assert.equal(stop.step, step);
      assert.equal(stop.command, command);
      assert.equal(stop.words, words);
      assert.ok(stop.tail.length > 0 && stop.tail.length <= 20);
      assert.doesNotMatch(
        stop.tail.join('\n'),
        /DEPRECATED|buildx|\u001b|^$|Sending build context|sha256:7acae/m,
      );
    });
  }

  test('a long build keeps its end only', () => {
    const log = new BuildLog();
    for (let at = 0; at < 10_000; at++) log.line(`line ${at}`);
    assert.deepEqual(log.stop().tail.at(-1), 'line 9999');
    assert.equal(log.stop().tail.length, 20);
  });
});

describe('a build', () => {
  const writesId = (written: string) =>
    `build\\ *) while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && printf %s ${written} >"$2"; shift; done; env >$FAKE/env ;;`;

  async function context(directory: string): Promise<string> {
    const path = join(directory, 'context');
    await mkdir(path);
    await writeFile(join(path, 'Dockerfile'), 'FROM scratch\n');
    return path;
  }

  test('gives the id of this build, though the tag has moved on meanwhile', async () => {
    await using fake = await fakeEngine(`${writesId(id)}
      image\\ inspect\\ *${id}) echo ${id} ;; image\\ inspect\\ *) echo ${other} ;;`);
    const path = await context(fake.directory);
    const engine = await fake.connect();
    assert.equal(await buildImage(engine, { context: path, tag: 'x:1', scratch: fake.scratch }), id);
  });

  test('gives the id behind the tag where the containerd store does not know the written one', async () => {
    const info = JSON.stringify({
      ServerVersion: '28.5.2',
      Driver: 'overlayfs',
      DriverStatus: [['driver-type', 'io.containerd.snapshotter.v1']],
    });
    await using fake = await fakeEngine(`${writesId(id)} info\\ *) echo '${info}' ;;
      image\\ inspect\\ *${id}) echo 'Error: No such image' >&2; exit 1 ;; image\\ inspect\\ *) echo ${other} ;;`);
    const path = await context(fake.directory);
    const engine = await fake.connect();
    assert.equal(await buildImage(engine, { context: path, tag: 'x:1', scratch: fake.scratch }), other);
  });

  test('gives the id behind the tag where the builder wrote none', async () => {
    await using fake = await fakeEngine(`image\\ inspect\\ *) echo ${other} ;;`);
    const path = await context(fake.directory);
    const engine = await fake.connect();
    assert.equal(await buildImage(engine, { context: path, tag: 'x:1', scratch: fake.scratch }), other);
  });

  test('passes on everything, and keeps provenance out of the identity', async () => {
    await using fake = await fakeEngine(`${writesId(id)} image\\ *) echo ${id} ;;`);
    const path = await context(fake.directory);
    const lines: string[] = [];
    await buildImage(await fake.connect(), {
      context: path,
      tag: 'x:1',
      target: 'agent',
      noCache: true,
      platform: 'linux/arm64',
      buildArgs: [
        { name: 'A', value: 'b c=d' },
        { name: 'http_proxy', value: 'x' },
      ],
      scratch: fake.scratch,
      onLine: (line) => lines.push(line),
    });
    const [call = ''] = await fake.calls();
    for (const flag of [
      `--file=${path}/Dockerfile`,
      '--tag=x:1',
      '--target=agent',
      '--no-cache',
      '--platform=linux/arm64',
      '--build-arg=A',
      '--build-arg=http_proxy=x',
      '--force-rm',
    ]) {
      assert.ok(call.includes(` ${flag} `), `${flag} in ${call}`);
    }
    assert.ok(call.endsWith(` ${path}`));
    assert.ok(!call.includes('provenance'));
    assert.ok(!call.includes('b c=d'), 'a value is on no command line');
    assert.match(await readFile(join(fake.directory, 'env'), 'utf8'), /^A=b c=d$/m);
  });

  test('that fails says at which step, with the end of what it printed', async () => {
    await using fake = await fakeEngine(
      `build\\ *) echo 'Step 1/1 : RUN false'; echo "The command 'false' returned a non-zero code: 1" >&2; exit 1 ;;`,
    );
    const path = await context(fake.directory);
    const built = buildImage(await fake.connect(), { context: path, tag: 'x:1', scratch: fake.scratch });
    await assert.rejects(built, (error: unknown) => {
      assert.ok(error instanceof BuildFailed);
      assert.equal(error.fields.step, '1/1');
      assert.equal(error.fields.command, 'RUN false');
      assert.equal(error.fields.exitCode, 1);
      assert.equal(error.fields.dockerfile, join(path, 'Dockerfile'));
      return true;
    });
  });

  test('without anything to build from starts nothing', async () => {
    await using fake = await fakeEngine('');
    const path = await context(fake.directory);
    const engine = await fake.connect();
    const reasonOf = async (source: { context: string; dockerfile?: string }) => {
      try {
        await buildImage(engine, { ...source, tag: 'x:1', scratch: fake.scratch });
      } catch (error) {
        assert.ok(error instanceof DockerfileMissing);
        return error.fields.reason;
      }
      return undefined;
    };
    assert.equal(await reasonOf({ context: join(path, 'absent') }), 'no-context');
    assert.equal(await reasonOf({ context: join(path, 'Dockerfile') }), 'no-context');
    assert.equal(await reasonOf({ context: fake.directory }), 'no-file');
    assert.equal(await reasonOf({ context: path, dockerfile: fake.directory }), 'not-a-file');
    await assert.rejects(
      fake.calls().then((calls) => calls.at(0) ?? Promise.reject(new Error('no call'))),
      /no call/,
    );
  });
});
