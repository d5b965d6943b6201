import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type AddressKind, addressKind } from '../../src/gate/address.ts';

const table: [string, AddressKind][] = [
  ['93.184.215.14', 'public'],
  ['1.1.1.1', 'public'],
  ['9.255.255.255', 'public'],
  ['11.0.0.0', 'public'],
  ['2606:4700::1111', 'public'],
  ['127.0.0.1', 'loopback'],
  ['127.255.255.254', 'loopback'],
  ['::1', 'loopback'],
  ['0.0.0.0', 'unspecified'],
  ['0.1.2.3', 'unspecified'],
  ['::', 'unspecified'],
  ['10.0.0.1', 'private'],
  ['172.16.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['172.32.0.0', 'public'],
  ['172.15.255.255', 'public'],
  ['192.168.255.255', 'private'],
  ['fd12::1', 'private'],
  ['fc00::', 'private'],
  ['fec0::1', 'private'],
  ['169.254.1.1', 'link-local'],
  ['fe80::1', 'link-local'],
  ['fe80::1%eth0', 'link-local'],
  ['febf::1', 'link-local'],
  ['100.64.0.1', 'shared'],
  ['100.127.255.255', 'shared'],
  ['100.128.0.0', 'public'],
  ['169.254.169.254', 'metadata'],
  ['169.254.170.2', 'metadata'],
  ['100.100.100.200', 'metadata'],
  ['168.63.129.16', 'metadata'],
  ['fd00:ec2::254', 'metadata'],
  ['224.0.0.1', 'multicast'],
  ['239.255.255.255', 'multicast'],
  ['ff02::1', 'multicast'],
  ['255.255.255.255', 'broadcast'],
  ['240.0.0.1', 'reserved'],
  ['192.0.2.1', 'documentation'],
  ['198.51.100.1', 'documentation'],
  ['203.0.113.1', 'documentation'],
  ['2001:db8::1', 'documentation'],
  ['198.18.0.1', 'benchmarking'],
  ['198.19.255.255', 'benchmarking'],
  ['192.0.0.1', 'reserved'],
  ['::ffff:127.0.0.1', 'loopback'],
  ['::ffff:169.254.169.254', 'metadata'],
  ['::ffff:8.8.8.8', 'public'],
  ['64:ff9b::10.0.0.1', 'private'],
  ['64:ff9b::8.8.8.8', 'public'],
  ['64:ff9b:1::8.8.8.8', 'translated'],
  ['::127.0.0.1', 'translated'],
  ['::8.8.8.8', 'translated'],
  ['2002:7f00:1::', 'translated'],
  ['2001:0:4136:e378::', 'translated'],
  ['2001:10::1', 'reserved'],
  ['100::1', 'reserved'],
  ['4000::1', 'reserved'],
  ['not an address', 'reserved'],
];

describe('the kind of an address', () => {
  for (const [address, kind] of table)
    test(`${address} is ${kind}`, () => assert.equal(addressKind(address), kind));

  test('an address of this host is its own, also when embedded', () => {
    assert.equal(addressKind('198.200.1.1', ['198.200.1.1']), 'own');
    assert.equal(addressKind('192.168.1.5', ['192.168.1.5']), 'own');
    assert.equal(addressKind('2606:4700::1', ['2606:4700:0::1']), 'own');
    assert.equal(addressKind('::ffff:198.200.1.1', ['198.200.1.1']), 'own');
    assert.equal(addressKind('64:ff9b::198.200.1.1', ['198.200.1.1']), 'own');
  });

  test('every spelling of an IPv6 address is of one kind', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const canonical = new URL(`http://[${text}]/`).hostname.slice(1, -1);
        assert.equal(addressKind(text), addressKind(canonical));
      }),
    );
  });

  test('an IPv4 address is of one kind, embedded or not', () => {
    fc.assert(
      fc.property(fc.ipV4(), (text) => assert.equal(addressKind(`::ffff:${text}`), addressKind(text))),
    );
  });
});
