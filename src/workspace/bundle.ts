import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ByteReader } from '../tar/byte-reader.ts';
import { WorkRefused, WorkTooLarge } from './errors.ts';
import type { PlaceStream } from './place.ts';
import type { SizeLimit } from './size-limit.ts';
import { printable } from './printable.ts';

/** Bytes of a bundle's header: a line for each commit it builds on, and one for the commit it brings. */
const headerLimit = 1024 * 1024;

/**
 * Writes what a place sends to a file of ours.
 * @throws WorkTooLarge when it is over the limit, WorkRefused when the sender failed; the reason of `signal`.
 */
export async function receive(
  sent: PlaceStream,
  path: string,
  limit: SizeLimit,
  slug: string,
  signal?: AbortSignal,
): Promise<void> {
  const reader = new ByteReader(sent.stdout);
  await using file = await open(path, 'wx', 0o600);
  let size = 0;
  for await (const part of reader.body(Number.MAX_SAFE_INTEGER)) {
    signal?.throwIfAborted();
    size += part.length;
    if (size > limit.bytes) {
      throw new WorkTooLarge({ slug, limitBytes: limit.bytes, by: limit.by, directory: dirname(path) });
    }
    for (let at = 0; at < part.length;) at += (await file.write(part, at)).bytesWritten;
  }
  const { code, stderr } = await sent.done;
  if (code !== 0) {
    throw new WorkRefused({
      reason: 'unreadable',
      slug,
      detail: `exit code ${code}: ${printable(stderr.trim())}`,
    });
  }
}

/**
 * Checks that a bundle is of the one form that was asked for (gitformat-bundle(5)): one name, no filter, then a pack.
 * Everything in the pack is for git to check.
 * @throws WorkRefused
 */
export async function checkBundle(path: string, ref: string, slug: string): Promise<void> {
  const damaged = (detail: string) => new WorkRefused({ reason: 'damaged', slug, detail: printable(detail) });
  await using file = await open(path, 'r');
  const reader = new ByteReader(file.createReadStream({ autoClose: false, end: headerLimit + 4 }));
  const signature = await reader.line(100);
  if (signature !== '# v2 git bundle' && signature !== '# v3 git bundle')
    throw damaged('it is no git bundle');
  const names: string[] = [];
  for (let read = 0; ;) {
    const line = await reader.line(4096);
    if (line === undefined) throw damaged('its header does not end');
    if (line === '') break;
    read += line.length + 1;
    if (read > headerLimit) throw damaged('its header does not end');
    if (/^@object-format=sha(?:1|256)$/.test(line) || /^-[0-9a-f]{40,64}(?: |$)/.test(line)) continue;
    const name = /^[0-9a-f]{40,64} (.+)$/.exec(line)?.[1];
    if (name === undefined) throw damaged(`its header says: ${line}`);
    names.push(name);
    if (names.length > 1) break;
  }
  if (names.length !== 1 || names[0] !== ref)
    throw damaged(`it was to bring ${ref}, and brings ${names.join(', ')}`);
  if ((await reader.take(4)).toString('latin1') !== 'PACK') throw damaged('there is no pack in it');
}
