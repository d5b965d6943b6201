import { randomBytes } from 'node:crypto';
import { type Credential, newCredential, sameCredential } from './credential.ts';

/**
 * Shows whether somebody else, an engine's daemon, reaches this registry at its loopback address. Ask the daemon about
 * `<host>/<repository>:x`, with `credential` as the registry's: any request that then arrives here with that name or
 * that credential is the proof.
 */
export interface Probe extends Disposable {
  /** A repository that nobody can guess. */
  readonly repository: string;
  /**
   * What the daemon is to log in with. Without one, Docker 20.10 stops at the challenge and never names the
   * repository. It opens nothing.
   */
  readonly credential: Credential;
  readonly seen: boolean;
  /** Resolves to true as soon as it is seen, or to false after `ms` milliseconds. */
  waitSeen(ms: number): Promise<boolean>;
}

export class LoopbackProbe implements Probe {
  readonly repository: string;
  readonly credential: Credential;
  readonly #seen = Promise.withResolvers<void>();
  readonly #onDispose: (probe: LoopbackProbe) => void;
  #isSeen = false;

  constructor(onDispose: (probe: LoopbackProbe) => void) {
    const nonce = randomBytes(16).toString('hex');
    this.repository = `probe-${nonce}/x`;
    this.credential = newCredential(`probe-${nonce}`);
    this.#onDispose = onDispose;
  }

  get seen(): boolean {
    return this.#isSeen;
  }

  async waitSeen(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([this.#seen.promise, late]);
    clearTimeout(timer);
    return this.#isSeen;
  }

  /** Looks at a request. Whether it carries the probe's credential. */
  see(path: string, credential: Credential | undefined): boolean {
    const authenticated = credential !== undefined && sameCredential(credential, this.credential);
    if (authenticated || path.startsWith(`/v2/${this.repository}/`)) {
      this.#isSeen = true;
      this.#seen.resolve();
    }
    return authenticated;
  }

  [Symbol.dispose](): void {
    this.#onDispose(this);
  }
}
