import type { ImageStore } from '../info.ts';
import type { FeederName } from './feeder.ts';

/** What decides which way out of the engine is quickest. */
export interface FeedFacts {
  readonly store: ImageStore;
  /** The engine's version, as it says it. */
  readonly version: string;
  /** The engine's daemon reaches what listens on our loopback. */
  readonly sharesLoopback: boolean;
  /** How many of the image's layers the store has, and how many there are. */
  readonly knownLayers: number;
  readonly layers: number;
  /** How many different images this source has given, this one included. */
  readonly builds: number;
  /** The image has a name. One without would be gone once the name that a push needs is taken away. */
  readonly tagged: boolean;
}

export interface FeederChoice {
  /** The first that works is taken. */
  readonly order: readonly FeederName[];
  readonly reason: string;
}

interface Row extends FeederChoice {
  readonly when: (facts: FeedFacts) => boolean;
}

/** The last release whose graph drivers were measured to export faster than they save. */
const lastQuickExport = 26;

/**
 * The first row that holds. Figures: an image of 698 MB (331 MB as gzip) in five layers, seconds until all bytes are
 * here. Docker 20.10 and 26.1 with a graph driver: export 6-8, save 8-11, push 22-25 (it compresses), pushed again 0.1.
 * Docker 28.5 with a graph driver: save and push 8, export 22. Docker with the containerd store: push 2, save 10-20,
 * export 22. Podman 4.3, an image of 180 MB in three layers: save 3, export 5, push 7; push 0.2 of layers that are here,
 * by whatever way they came: unlike Docker it asks for a layer by its plain digest first.
 */
const table: readonly Row[] = [
  {
    when: ({ knownLayers, layers }) => knownLayers === layers,
    order: ['known', 'save', 'push', 'export'],
    reason: 'every layer is in the store already',
  },
  {
    when: ({ sharesLoopback }) => !sharesLoopback,
    order: ['save', 'export'],
    reason: 'the engine does not reach our loopback, so it cannot push to us',
  },
  {
    when: ({ store, knownLayers }) => store === 'podman' && knownLayers > 0,
    order: ['push', 'save', 'export'],
    reason: 'some layers are in the store, and podman pushes only the others',
  },
  {
    when: ({ store }) => store === 'podman',
    order: ['save', 'push', 'export'],
    reason: 'nothing is known of this image yet, and podman compresses what it pushes',
  },
  {
    when: ({ store, tagged }) => store === 'containerd' && tagged,
    order: ['push', 'save', 'export'],
    reason: 'the containerd image store pushes the blobs it keeps, and saves and exports slowly',
  },
  {
    when: ({ builds, tagged }) => builds >= 2 && tagged,
    order: ['push', 'save', 'export'],
    reason: 'this source changes, and a push sends only layers that are new',
  },
  {
    when: ({ store, version }) => store === 'graph-driver' && majorOf(version) <= lastQuickExport,
    order: ['export', 'save', 'push'],
    reason: 'nothing is known of this image yet, and this engine is quickest at exporting',
  },
  {
    when: () => true,
    order: ['save', 'push', 'export'],
    reason: 'nothing is known of this image yet, and this engine exports slowly',
  },
];

/** Which feeders to try, in order, and why. */
export function chooseFeeders(facts: FeedFacts): FeederChoice {
  const row = table.find(({ when }) => when(facts));
  if (row === undefined) throw new TypeError('the last row of the feeder table holds always');
  // Podman pushes by id.
  const canPush = facts.sharesLoopback && (facts.tagged || facts.store === 'podman');
  return { order: row.order.filter((name) => name !== 'push' || canPush), reason: row.reason };
}

/** Unknown versions count as new. */
function majorOf(version: string): number {
  const major = Number.parseInt(version, 10);
  return Number.isNaN(major) ? Number.POSITIVE_INFINITY : major;
}
