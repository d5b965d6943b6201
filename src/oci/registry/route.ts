import { Refusal } from './refusal.ts';

/** What a path names (distribution-spec, Endpoints). */
export type Route =
  | { readonly kind: 'base' }
  | { readonly kind: 'manifest'; readonly repository: string; readonly reference: string }
  | { readonly kind: 'blob'; readonly repository: string; readonly digest: string }
  | { readonly kind: 'uploads'; readonly repository: string }
  | { readonly kind: 'upload'; readonly repository: string; readonly id: string }
  | { readonly kind: 'tags'; readonly repository: string }
  | { readonly kind: 'referrers'; readonly repository: string; readonly digest: string };

export interface Target {
  readonly path: string;
  readonly query: URLSearchParams;
}

/**
 * Splits a request target. Only the origin form is taken, and only a path that has one spelling: nothing percent-encoded,
 * no empty, `.` or `..` segment. So what is checked is what is meant.
 * @throws Refusal 400
 */
export function parseTarget(url: string): Target {
  const mark = url.indexOf('?');
  const path = mark < 0 ? url : url.slice(0, mark);
  const plain = /^\/[A-Za-z0-9._~:@+=/-]*$/.test(path);
  if (!plain || path.includes('//') || path.split('/').some((part) => part === '.' || part === '..')) {
    throw new Refusal(400, 'NAME_INVALID', 'the path is not in its plain form');
  }
  return { path, query: new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1)) };
}

const patterns = [
  [/^\/v2\/(.+)\/blobs\/uploads\/?$/, (repository: string) => ({ kind: 'uploads', repository })],
  [
    /^\/v2\/(.+)\/blobs\/uploads\/([^/]+)$/,
    (repository: string, id: string) => ({ kind: 'upload', repository, id }),
  ],
  [
    /^\/v2\/(.+)\/blobs\/([^/]+)$/,
    (repository: string, digest: string) => ({ kind: 'blob', repository, digest }),
  ],
  [
    /^\/v2\/(.+)\/manifests\/([^/]+)$/,
    (repository: string, reference: string) => ({ kind: 'manifest', repository, reference }),
  ],
  [/^\/v2\/(.+)\/tags\/list$/, (repository: string) => ({ kind: 'tags', repository })],
  [
    /^\/v2\/(.+)\/referrers\/([^/]+)$/,
    (repository: string, digest: string) => ({ kind: 'referrers', repository, digest }),
  ],
] as const satisfies readonly (readonly [RegExp, (repository: string, last: string) => Route])[];

/** The route of a path; `undefined` for one that no registry, or not this one, has (`/v2/_catalog`). */
export function parseRoute(path: string): Route | undefined {
  if (path === '/v2' || path === '/v2/') return { kind: 'base' };
  for (const [pattern, make] of patterns) {
    const match = pattern.exec(path);
    if (match !== null) return make(match[1] ?? '', match[2] ?? '');
  }
  return undefined;
}

/** Whether the text has the shape of a digest, of any algorithm (image-spec, descriptor.md §Digests). */
export function looksLikeDigest(text: string): boolean {
  return /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[A-Za-z0-9=_-]+$/.test(text);
}
