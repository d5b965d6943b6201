import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findAccount } from '../../../src/backends/docker/account.ts';

const passwd = [
  'root:x:0:0:root:/root:/bin/bash',
  'broken:x:one:1::/broken:',
  'node:x:1000:1001::/home/node:/bin/sh',
  'homeless:x:1002:1002:::',
  ':x:1003:1003::/nameless:',
].join('\n');
const group = ['root:x:0:', 'staff:x:50:node', 'odd:x:x:', 'wheel:x:10:'].join('\n');
const found = (spec: string, users = passwd) => {
  const result = findAccount(spec, users, group);
  return 'account' in result ? result.account : result.problem;
};

const problemOf = (spec: string) => {
  const result = found(spec);
  return typeof result === 'string' ? result : '';
};

describe('an account', () => {
  test('is found by name and by number', () => {
    const node = { uid: 1000, gid: 1001, home: '/home/node' };
    assert.deepEqual(found('node'), node);
    assert.deepEqual(found('1000'), node);
    assert.deepEqual(found(''), { uid: 0, gid: 0, home: '/root' });
    assert.deepEqual(found('homeless'), { uid: 1002, gid: 1002, home: '/' });
  });

  test('has group 0 and home / when its number has no entry', () => {
    assert.deepEqual(found('4242'), { uid: 4242, gid: 0, home: '/' });
    assert.deepEqual(found('4242:7'), { uid: 4242, gid: 7, home: '/' });
    assert.deepEqual(found('0', ''), { uid: 0, gid: 0, home: '/' });
  });

  test('takes the group that is given', () => {
    assert.deepEqual(found('node:staff'), { uid: 1000, gid: 50, home: '/home/node' });
    assert.deepEqual(found('node:10'), { uid: 1000, gid: 10, home: '/home/node' });
    assert.deepEqual(found(':wheel'), { uid: 0, gid: 10, home: '/root' });
  });

  test('is not made up', () => {
    assert.match(problemOf('nobody-here'), /no such user/);
    assert.match(problemOf('broken'), /no such user/);
    assert.match(problemOf('node:nogroup'), /no such group/);
    assert.match(problemOf('node:odd'), /no such group/);
    assert.match(problemOf('2147483648'), /over 2147483647/);
    assert.match(problemOf('node:2147483648'), /over 2147483647/);
  });
});
