/** The distribution spec's error codes (spec.md, Error Codes), and the two that registries added for ranges and bursts. */
export type ErrorCode =
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'BLOB_UPLOAD_UNKNOWN'
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'RANGE_INVALID'
  | 'SIZE_INVALID'
  | 'TOOMANYREQUESTS'
  | 'UNAUTHORIZED'
  | 'UNKNOWN'
  | 'UNSUPPORTED';

/** A request that is answered with an error. Thrown by a handler, written out in one place. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: ErrorCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: ErrorCode,
    message: string,
    headers: Readonly<Record<string, string>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'Refusal';
    this.status = status;
    this.code = code;
    this.headers = headers;
  }

  /** The spec's error document. */
  body(): Buffer {
    return Buffer.from(
      JSON.stringify({ errors: [{ code: this.code, message: this.message, detail: {} }] }),
      'utf8',
    );
  }
}

/** The answer to a method that the resource never takes, or not now. */
export function methodNotAllowed(allow: string): Refusal {
  return new Refusal(405, 'UNSUPPORTED', 'the operation is unsupported', { Allow: allow });
}
