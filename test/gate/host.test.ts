import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseAuthority, parseHost, parseWrittenHost } from '../../src/gate/host.ts';

describe('a host has one spelling', () => {
  const same: [string, string][] = [
    ['EXAMPLE.com', 'example.com'],
    ['example.com.', 'example.com'],
    ['münchen.example', 'xn--mnchen-3ya.example'],
    ['a_b.example', 'a_b.example'],
    ['127.0.0.1', '127.0.0.1'],
    ['[::1]', '::1'],
    ['[0:0:0:0:0:0:0:1]', '::1'],
    ['[::FFFF:127.0.0.1]', '::ffff:7f00:1'],
  ];
  for (const [written, normal] of same) {
    test(`${written} is ${normal}`, () => assert.equal(parseHost(written)?.text, normal));
  }
  test('an address in a rule needs no brackets', () =>
    assert.equal(parseWrittenHost('fd00::1')?.text, 'fd00::1'));
});

describe('what has more than one reading is no host', () => {
  const tricks = [
    '',
    '.',
    'example.com..',
    'a..b',
    '.example.com',
    'ex%61mple.com',
    '%31%32%37.0.0.1',
    '0x7f.1',
    '0x7f000001',
    '2130706433',
    '017700000001',
    '0177.0.0.1',
    '127.1',
    '127.0.0.1.',
    '127.0.0.01',
    '１２７.０.０.１',
    'example.com\\@evil.example',
    'example.com/evil',
    'example.com#evil',
    'example.com?evil',
    'user@example.com',
    'exa mple.com',
    'exa\tmple.com',
    'exa\0mple.com',
    'example.com\r\n',
    'example.com\n',
    '[::1%25lo]',
    '[fe80::1%eth0]',
    '[::1',
    '::1',
    '[127.0.0.1]',
    '-a.example',
    `${'a'.repeat(64)}.example`,
    `${'a.'.repeat(127)}ab`,
    'a.0x',
    'foo.1',
  ];
  for (const trick of tricks)
    test(JSON.stringify(trick.slice(0, 40)), () => assert.equal(parseHost(trick), undefined));
});

test('whatever passes passes again as itself', () => {
  const part = fc.stringMatching(/^[A-Za-z0-9_.:%@\\[\]/é。-]{0,12}$/);
  fc.assert(
    fc.property(
      fc.oneof(
        part,
        fc.domain(),
        fc.ipV4Extended(),
        fc.ipV6().map((ip) => `[${ip}]`),
      ),
      (text) => {
        const host = parseHost(text);
        if (host === undefined) return;
        const again = parseHost(host.text.includes(':') ? `[${host.text}]` : host.text);
        assert.deepEqual(again, host);
        assert.match(host.text, /^[a-z0-9._:-]+$/);
      },
    ),
    { numRuns: 3000 },
  );
});

describe('an authority', () => {
  test('may have a port', () => assert.deepEqual(parseAuthority('a.example:8080')?.port, 8080));
  test('may be an address', () => assert.equal(parseAuthority('[::1]:80')?.host.text, '::1'));
  for (const bad of [
    'a:',
    'a:0',
    'a:080',
    'a:65536',
    'a:+80',
    'a:80:80',
    'a:８０',
    'a: 80',
    '[::1]80',
    '::1:80',
    'a:80 ',
  ]) {
    test(`is not ${bad}`, () => assert.equal(parseAuthority(bad), undefined));
  }
});
