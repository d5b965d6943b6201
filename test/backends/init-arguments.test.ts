import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { execArguments, initArguments, isRoot } from '../../src/backends/init-arguments.ts';

const spec = { command: ['claude', '--x'], workdir: '/workspace', probes: ['a=proxy:http://x/'] };

describe('the arguments of bottle-init', () => {
  test('have the control socket, the relay to the gate, the probes and the command', () => {
    assert.deepEqual(initArguments(spec, { user: 'node', keepsHome: false }), [
      '--control',
      '/run/claude-bottle/control.sock',
      '--relay',
      '127.0.0.1:3128=/run/claude-bottle/gate.sock',
      '--probe',
      'a=proxy:http://x/',
      '--user',
      'node',
      '--drop-caps',
      '--workdir',
      '/workspace',
      '--',
      'claude',
      '--x',
    ]);
  });

  test('leave root what a developer needs, and nobody else anything', () => {
    const kept = ['--keep-caps', 'chown,dac_override,fowner,fsetid,kill,setgid,setuid'].join(' ');
    const argumentsOf = (user: string) => initArguments(spec, { user, keepsHome: false }).join(' ');
    for (const user of ['root', '0', '0:0', 'root:staff', '00', '']) {
      assert.ok(isRoot(user) && argumentsOf(user).includes(kept), user);
    }
    for (const user of ['node', '1000', '1000:0', 'roots', '10', ':0x'.slice(1)]) {
      assert.ok(!isRoot(user) && argumentsOf(user).includes('--drop-caps'), user);
    }
  });

  test('say when HOME is somebody else’s business', () => {
    assert.ok(initArguments(spec, { user: 'node', keepsHome: true }).includes('--keep-home'));
  });

  test('put a further program under the bottle’s user, or under root with no more than the bottle has', () => {
    const identity = { user: 'node:staff', keepsHome: true };
    assert.deepEqual(execArguments(['git', 'log'], identity, { workdir: '/w', tied: true }), [
      'exec',
      '--tied',
      '--user',
      'node:staff',
      '--keep-home',
      '--drop-caps',
      '--workdir',
      '/w',
      '--',
      'git',
      'log',
    ]);
    assert.deepEqual(execArguments(['id'], identity, { as: 'root', tied: false }).slice(0, 5), [
      'exec',
      '--user',
      '0:0',
      '--keep-caps',
      'chown,dac_override,fowner,fsetid,kill,setgid,setuid',
    ]);
  });

  test('say what the streams of a session are', () => {
    const identity = { user: 'node', keepsHome: false };
    assert.deepEqual(initArguments(spec, identity, 'terminal').slice(0, 2), ['--session', 'terminal']);
    assert.deepEqual(execArguments(['id'], identity, { session: 'pipes', asksVariables: true }).slice(0, 5), [
      'exec',
      '--session',
      'pipes',
      '--variables',
      '/run/claude-bottle/variables.sock',
    ]);
  });
});
