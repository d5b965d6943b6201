import type { OciFailure } from '../../oci/errors.ts';
import type { RegistryFailure } from '../../oci/registry/errors.ts';
import { formatBytes } from '../../terminal/units.ts';
import { again, anotherFeeder, failed, type Words } from './words.ts';

export const ociWords: Words<OciFailure | RegistryFailure> = {
  LayerMissing: ({ diffId }) => ({
    what: `layer ${diffId} is not in the cache any more`,
    hint: again,
    exitCode: failed,
  }),
  LayerDamaged: ({ diffId, reason }) => ({
    what: `the cached layer ${diffId} is damaged`,
    why: reason,
    hint: 'remove damaged layers: claude-bottle cache verify --fix',
    exitCode: failed,
  }),
  DigestMismatch: ({ subject, expected, actual }) => ({
    what: `a ${subject} from the engine is not what it was announced as`,
    why: `expected ${expected}\ngot ${actual}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  SizeMismatch: ({ expected, actual }) => ({
    what: `a layer from the engine was announced with ${expected} bytes, but had ${actual}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  LayerInflates: ({ received, limit }) => ({
    what: `a layer of ${formatBytes(received)} unpacks to more than ${formatBytes(limit)}`,
    why: 'Nothing honest compresses that well, so it was not unpacked any further.',
    exitCode: failed,
  }),
  LayerUndecodable: ({ format, reason }) => ({
    what: `a ${format} layer cannot be unpacked`,
    why: reason,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  TarMalformed: ({ reason, offset }) => ({
    what: `a layer is no well-formed tar archive at byte ${offset}`,
    why: reason,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  TarUnsupported: ({ feature, path }) => ({
    what: `a layer holds something that cannot be carried over truthfully: ${feature}`,
    why: `at ${path}`,
    exitCode: failed,
  }),
  PathEscapes: ({ path }) => ({
    what: `a layer names a path outside of the image: ${path}`,
    why: 'No build does that; the image is refused.',
    exitCode: failed,
  }),
  PathTooLong: ({ path, bytes, limit }) => ({
    what: `a layer holds a name of ${bytes} bytes, where Linux takes ${limit}: ${path}`,
    why: 'No engine could unpack it; the image is refused.',
    exitCode: failed,
  }),
  PathsSprawl: ({ path, limit }) => ({
    what: `the names in the image come to more than ${formatBytes(limit)} of directories that no layer describes`,
    why: `It went over at ${path}. No build makes such an image; it is refused.`,
    exitCode: failed,
  }),
  SymlinkLoop: ({ path }) => ({
    what: `symbolic links in the image lead round in a circle at ${path}`,
    exitCode: failed,
  }),
  HardlinkBroken: ({ path, target, reason }) => ({
    what: `the hard link ${path} points to ${target}, which is ${reason === 'missing' ? 'not there' : 'a directory'}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  ConfigUnreadable: ({ reason }) => ({
    what: "the image's configuration cannot be read",
    why: reason,
    exitCode: failed,
  }),
  LayoutDamaged: ({ path, reason }) => ({
    what: `the OCI layout ${path} is damaged`,
    why: reason,
    hint: again,
    exitCode: failed,
  }),
  PushIncomplete: ({ reference, missing: what }) => ({
    what: `the engine's push of ${reference} ended without ${what}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  PushedPlatformUnclear: ({ reference, wanted, offered }) => ({
    what: `the engine pushed no single image${wanted === undefined ? '' : ` for ${wanted}`} as ${reference}`,
    why: `It offered: ${offered.join(', ') || 'nothing'}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  PushedLayersDiffer: ({ reference }) => ({
    what: `the layers pushed as ${reference} are not those that its configuration names`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
};
