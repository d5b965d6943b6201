import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { AnyFailure } from '../../failure.ts';
import { type Digest, isDigest } from '../../oci/digest.ts';
import { headSize, looksLikeDocument } from '../../oci/document.ts';
import { TarMalformed } from '../../oci/errors.ts';
import type { FedImage } from '../../oci/image.ts';
import { parseDiffIds, parseImageConfig } from '../../oci/image-config.ts';
import type { LayerStore } from '../../oci/layer-store.ts';
import { type Manifest, parseManifest, pickImage } from '../../oci/registry/pushed-image.ts';
import { ifFits } from '../../schema.ts';
import { signalOf } from '../engine.ts';
import { ArchiveDamaged } from '../errors.ts';
import type { InspectedImage } from '../image.ts';
import { type Member, readMembers } from './archive.ts';

/** A manifest, an index or a configuration; what is larger is a layer. */
const documentLimit = 4 * 1024 * 1024;
/** All of them together, so that a hostile archive fills no memory. */
const documentsLimit = 16 * 1024 * 1024;
const maxLinks = 16;

/** `manifest.json` of an archive (moby, image/tarexport/tarexport.go, manifestItem). */
const Manifests = v.array(v.object({ Config: v.string(), Layers: v.nullish(v.array(v.string())) }));

export interface SavedImageOptions {
  readonly image: InspectedImage;
  readonly store: LayerStore;
  /** A directory on the store's file system. */
  readonly scratch: string;
  readonly signal?: AbortSignal;
}

/** What has passed by. */
interface Contents {
  readonly documents: Map<string, Buffer>;
  readonly layers: Map<string, Digest>;
  readonly links: Map<string, string>;
}

/**
 * Takes the archive of one image apart while it streams by: of Docker up to 24 (`<id>/layer.tar`), from 25 on and with
 * the containerd store (`blobs/sha256/<digest>`, plain or compressed), and of podman (`<diff id>.tar`). Layers go to the
 * store as they come, those that it has are passed over, and what says how they belong together is kept until the end,
 * where most engines put it.
 * @throws ArchiveDamaged when it is not whole, not one image, or not the image that the engine described; and what the
 *   store throws.
 */
export async function readSavedImage(
  archive: AsyncIterable<Buffer>,
  options: SavedImageOptions,
): Promise<FedImage> {
  const { image } = options;
  const damaged = (reason: string, cause?: unknown) =>
    new ArchiveDamaged({ reference: image.reference, reason }, { cause });
  const contents: Contents = { documents: new Map(), layers: new Map(), links: new Map() };
  let documentBytes = 0;
  const members = readMembers(archive);
  for (;;) {
    const next = await members.next().catch((error: unknown) => {
      throw error instanceof TarMalformed ? damaged(error.fields.reason, error) : error;
    });
    if (next.done === true) break;
    documentBytes += await keep(next.value, contents, options);
    if (documentBytes > documentsLimit) throw damaged('it describes itself in more than 16 MiB');
  }
  const fed = await assemble(contents, options, damaged);
  if (
    fed.layers.length !== image.layers.length ||
    fed.layers.some((layer, at) => layer !== image.layers[at])
  ) {
    throw damaged(`it holds other layers than the engine says: ${fed.layers.join(' ')}`);
  }
  return fed;
}

/** @returns how many bytes of it stay in memory. */
async function keep(member: Member, contents: Contents, options: SavedImageOptions): Promise<number> {
  if (member.type === 'link') contents.links.set(member.path, member.target ?? '');
  if (member.type !== 'file' || member.size === 0) return 0;
  // Beside each layer Docker up to 24 puts its format version, `1.0`.
  if (/(^|\/)VERSION$/.test(member.path)) return 0;
  const name = digestIn(member.path);
  const known = name === undefined ? undefined : await options.store.receivedAs(name.digest);
  if (known !== undefined) {
    contents.layers.set(member.path, known.diffId);
    return 0;
  }
  const body = member.body();
  const head = await headOf(body);
  const bytes = joined(head, body);
  if (member.size <= documentLimit && looksLikeDocument(head)) {
    const document = await collect(bytes);
    contents.documents.set(member.path, document);
    return document.length;
  }
  const { diffId } = await options.store.ingest(bytes, {
    scratch: options.scratch,
    expect: {
      size: member.size,
      ...(name?.kind === 'blob' ? { digest: name.digest } : {}),
      ...(name?.kind === 'layer' ? { diffId: name.digest } : {}),
    },
    ...signalOf(options.signal),
  });
  contents.layers.set(member.path, diffId);
  return 0;
}

async function assemble(
  contents: Contents,
  { image, store }: SavedImageOptions,
  damaged: (reason: string, cause?: unknown) => ArchiveDamaged,
): Promise<FedImage> {
  const listing = find(contents.documents, contents.links, 'manifest.json');
  if (listing === undefined) return assembleLayout(contents, image, store, damaged);
  const manifests = ifFits(Manifests, jsonOf(listing));
  if (manifests === undefined) throw damaged('its manifest.json is not what an engine writes');
  const [manifest, ...more] = manifests;
  if (manifest === undefined || more.length > 0)
    throw damaged(`it holds ${manifests.length} images, not one`);
  const config = find(contents.documents, contents.links, manifest.Config);
  if (config === undefined) throw damaged(`its configuration ${manifest.Config} is missing`);
  const written = /(?:^|\/)([0-9a-f]{64})(?:\.json)?$/.exec(manifest.Config)?.[1];
  if (written !== undefined && written !== sha256(config)) {
    throw damaged(`its configuration ${manifest.Config} is not what its name says`);
  }
  const layers = (manifest.Layers ?? []).map((path) => {
    const layer = find(contents.layers, contents.links, path);
    if (layer === undefined) throw damaged(`its layer ${path} is missing`);
    return layer;
  });
  const expected = parseDiffIds(config);
  if (expected.length !== layers.length || expected.some((diffId, at) => diffId !== layers[at])) {
    throw damaged('its layers are not those of its configuration');
  }
  return { config: parseImageConfig(config), layers };
}

/** An archive without Docker's own listing is a plain OCI layout: an index, nested or not, over manifests. */
async function assembleLayout(
  { documents }: Contents,
  image: InspectedImage,
  store: LayerStore,
  damaged: (reason: string, cause?: unknown) => ArchiveDamaged,
): Promise<FedImage> {
  const index = documents.get('index.json');
  if (index === undefined) throw damaged('it has neither a manifest.json nor an index.json');
  const blobs = new Map<Digest, Buffer>();
  const manifests = new Map<Digest, Manifest>();
  for (const document of documents.values()) {
    const digest: Digest = `sha256:${sha256(document)}`;
    blobs.set(digest, document);
    const manifest = parseManifest(document);
    if (manifest !== undefined) manifests.set(digest, manifest);
  }
  const { os, architecture, variant } = image;
  const wanted = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  const pushed = { reference: image.reference, manifests, documents: blobs, store };
  try {
    return await pickImage(pushed, `sha256:${sha256(index)}`, wanted);
  } catch (error) {
    if (error instanceof AnyFailure) throw damaged(`its index leads nowhere: ${error.message}`, error);
    throw error;
  }
}

/** Follows the links among the members: Docker up to 24 and podman write a layer once and link to it. */
function find<T>(
  among: ReadonlyMap<string, T>,
  links: ReadonlyMap<string, string>,
  path: string,
): T | undefined {
  let at = path;
  for (let depth = 0; depth < maxLinks; depth++) {
    const found = among.get(at);
    if (found !== undefined) return found;
    const next = links.get(at);
    if (next === undefined) return undefined;
    at = next;
  }
  return undefined;
}

/** What the name of a member promises: the digest of its bytes, or of the plain layer in it. */
function digestIn(path: string): { kind: 'blob' | 'layer'; digest: Digest } | undefined {
  const [, blob, layer] = /^(?:blobs\/sha256\/([0-9a-f]{64})|([0-9a-f]{64})\.tar)$/.exec(path) ?? [];
  const hex = blob ?? layer;
  const digest = `sha256:${hex}`;
  if (hex === undefined || !isDigest(digest)) return undefined;
  return { kind: blob === undefined ? 'layer' : 'blob', digest };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** At least as many bytes as tell what it is, where there are as many; the rest is left in `body`. */
async function headOf(body: AsyncIterator<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let length = 0; length < headSize;) {
    const next = await body.next();
    if (next.done === true) break;
    // A copy, since the source may use its buffer again.
    pieces.push(Buffer.from(next.value));
    length += next.value.length;
  }
  return Buffer.concat(pieces);
}

async function* joined(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

async function collect(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
