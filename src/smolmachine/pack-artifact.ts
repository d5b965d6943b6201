import { homedir } from 'node:os';
import type { Digest } from '../oci/digest.ts';
import type { Credential } from '../oci/registry/credential.ts';
import { packCreate, packLeftovers } from '../smolvm/pack.ts';
import { formatVersion } from '../smolvm/version.ts';
import { type VerifiedArtifact, verifyArtifact } from './artifact-verify.ts';
import type { Conversion } from './conversion.ts';
import { hostPlatform } from './platform.ts';
import { asNoSpace } from './space.ts';

/** What smolvm is to pull, and what must come out. */
export interface Pullable {
  readonly reference: string;
  readonly registry?: Credential & { readonly host: string };
  /** Bytes of the largest layer, unpacked. */
  readonly layerBytes?: number;
  /** Told a listener, it tells that listener how many bytes of how many smolvm has fetched so far. */
  readonly onServed?: (listener: (bytes: number, totalBytes: number) => void) => void;
  /** Digest of the configuration that the artifact must name. */
  readonly configDigest?: Digest;
}

/** Lets smolvm make an artifact of a pullable image, and reads every byte of what it made. */
export async function packVerified(
  { smolvm: finding, observer, scratch, signal }: Conversion,
  pullable: Pullable,
): Promise<{ path: string; artifact: VerifiedArtifact; smolvmVersion: string }> {
  if (finding === undefined) throw new TypeError('packing needs smolvm');
  const smolvm = await finding;
  const { configDigest, onServed, ...image } = pullable;
  try {
    const { artifact: path } = await observer.step('pack', (report) => {
      onServed?.((bytes, totalBytes) => report({ bytes, totalBytes, pack: { phase: 'pulling' } }));
      return packCreate(smolvm, {
        ...image,
        stub: scratch.file('stub'),
        scratch,
        signal,
        onProgress: (progress) => report({ pack: progress }),
      });
    });
    const artifact = await observer.step('verify', (report) => {
      let bytes = 0;
      return verifyArtifact(path, {
        expected: {
          platform: hostPlatform(),
          ...(configDigest === undefined ? {} : { imageDigest: configDigest }),
        },
        signal,
        onBytes: (count) => report({ bytes: (bytes += count) }),
      });
    });
    return { path, artifact, smolvmVersion: formatVersion(smolvm.version) };
  } catch (error) {
    if (signal.aborted) {
      for (const what of packLeftovers(smolvm.version, process.platform, homedir())) {
        observer.note({ kind: 'may-remain', what });
      }
    }
    throw await asNoSpace(error, scratch.path, 'the artifact');
  }
}
