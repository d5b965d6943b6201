import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failureOfBottle } from '../../../src/backends/docker/failures.ts';
import { EngineCommandFailed } from '../../../src/engine/errors.ts';

test('what an engine says of a container that is going or gone means that the bottle is gone', () => {
  const said = [
    'Error response from daemon: No such container: claude-bottle-a-bcdef',
    'can not get logs from container which is dead or marked for removal',
  ];
  for (const words of said) {
    const error = new EngineCommandFailed({ command: 'docker logs', exitCode: 1, words });
    assert.equal((failureOfBottle(error, 'a-bcdef') as Error).name, 'BottleGone', words);
  }
});
