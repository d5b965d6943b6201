import type { InspectedImage } from '../engine/image.ts';
import { PlatformMismatch } from './errors.ts';

/** OCI's spelling of what this host runs: `linux/amd64`. */
export function hostPlatform(): string {
  return `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`;
}

/** `os/architecture` of an image. A variant is left out: smolvm records none. */
export function platformOf(image: InspectedImage): string {
  return `${image.os}/${image.architecture}`;
}

/** @throws PlatformMismatch for an image that a machine on this host could not run. */
export function requireOurPlatform(image: InspectedImage): void {
  if (platformOf(image) === hostPlatform()) return;
  throw new PlatformMismatch({ reference: image.reference, image: platformOf(image), host: hostPlatform() });
}
