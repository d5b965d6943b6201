import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** What HTTP Basic carries (RFC 7617). The password is a secret: never logged, never in a failure. */
export interface Credential {
  readonly username: string;
  readonly password: string;
}

/** A credential nobody can guess: 192 random bits, in characters that every config file and URL takes as they are. */
export function newCredential(username: string): Credential {
  return { username, password: randomBytes(24).toString('hex') };
}

/** The credential in an `Authorization: Basic` header; `undefined` when there is none or it is malformed. */
export function parseBasic(header: string | undefined): Credential | undefined {
  const encoded = /^basic +([A-Za-z0-9+/]+=*)$/i.exec(header ?? '')?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon < 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** Compares in a time that does not depend on where, or in what length, the two differ. */
export function sameCredential(a: Credential, b: Credential): boolean {
  return timingSafeEqual(fingerprint(a), fingerprint(b));
}

function fingerprint({ username, password }: Credential): Buffer {
  return createHash('sha256').update(`${username}:${password}`).digest();
}
